"""What runs a network: torch, with or without NNPACK, or ONNX Runtime, OpenVINO or ncnn on its ONNX form."""

import copy
import importlib
import io
import os
import re
import subprocess
import sys
import tempfile
import threading
import warnings
import weakref
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from srcx.errors import UsageError
from srcx.inference.model import Model
from srcx.inference.precision import likeness_db

__all__ = [
    "BACKENDS",
    "FORMATS",
    "LEAST_LIKENESS_DB",
    "Backend",
    "Run",
    "Way",
    "import_quietly",
    "installed",
    "is_out_of_memory",
    "opened",
    "to_onnx",
]

Backend = Literal["torch", "nnpack", "onnx", "openvino", "ncnn"]
BACKENDS: tuple[Backend, ...] = ("torch", "nnpack", "onnx", "openvino", "ncnn")
MODULES = {
    "torch": ("torch",),
    "nnpack": ("torch",),
    "onnx": ("onnxruntime",),
    "openvino": ("openvino",),
    "ncnn": ("ncnn", "pnnx"),
}
"""What each needs; the first runs networks."""
FORMATS: dict[Backend, tuple[str, ...]] = {
    "torch": ("fp32", "bf16", "fp16"),
    "nnpack": ("fp32",),
    "onnx": ("fp32",),
    "openvino": ("fp32", "bf16", "int8"),
    "ncnn": ("fp32",),
}
"""Number formats that a backend runs in."""

Run = Callable[[Tensor], Tensor]
"""(N, C, H, W) to (N, C, sH, sW)."""

OPSET = 17
FATAL = 4
"""Log level of ONNX Runtime."""
LEAST_CHANNELS = 16
"""Below, Winograd's transforms cost more than the products they save."""
NCNN_OUT_OF_MEMORY = -100
OUT_OF_MEMORY = re.compile(
    r"allocate .*memory|allocate \d+ bytes of memory|out of memory|not enough memory|ALLOC_FAILED"
    # oneDNN's way to say it; the same about a "primitive descriptor" means a case that it cannot compute.
    r"|bad_alloc|bad allocation|could not create a (primitive(?! descriptor)|memory object)"
)
"""Messages of torch, oneDNN, NNPACK, cuBLAS, cuDNN, ONNX Runtime and OpenVINO."""
LEAST_LIKENESS_DB = 80.0
"""fp32 sums taken in another order differ by far less."""
OPENVINO_NAMES = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}
"""In int8 this is the format of what is not in 8 bits."""
MADE_OF = ["srcx", "sha256"]
"""Where an OpenVINO file says which checkpoint it was made of."""


class Way(NamedTuple):
    """What runs a network, in which number format."""

    backend: Backend = "torch"
    precision: str = "fp32"

    def __str__(self) -> str:
        return f"{self.backend} {self.precision}"


def installed(backend: Backend) -> bool:
    """Whether a backend can be had here."""
    if backend == "nnpack":
        return torch.backends.nnpack.is_available()
    return all(find_spec(name) for name in MODULES[backend])


def import_quietly(name: str) -> Any:
    """Import a module with the telemetry of ONNX Runtime, OpenVINO and NNCF switched off.

    ONNX Runtime reads the variable when it is imported. OpenVINO and NNCF have no switch that takes effect
    without a file in the user's home folder; both do without the package that sends where it is absent.

    Raises:
        ImportError: the module is not installed.
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type] # None: importing it fails
    return importlib.import_module(name)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error of any backend says that memory was missing.

    Example:
        >>> is_out_of_memory(RuntimeError("CUDA error: an illegal memory access was encountered"))
        False
        >>> is_out_of_memory(RuntimeError("could not create a primitive"))
        True
    """
    # ONNX Runtime's errors are no RuntimeErrors.
    says_why = isinstance(error, RuntimeError) or type(error).__module__.startswith("onnxruntime.")
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or (
        says_why and OUT_OF_MEMORY.search(str(error)) is not None
    )


def module_of(backend: Backend) -> Any:
    """Return the module of a backend.

    Raises:
        UsageError: it is not installed.
    """
    try:
        first, *_ = [import_quietly(name) for name in MODULES[backend]]
    except ImportError as error:
        extra = "ncnn" if backend == "ncnn" else "export"
        raise UsageError(
            f"{backend}: needs {error.name}, which is not here; pip install 'srcx[{extra}]' brings it"
        ) from error
    if not installed(backend):
        raise UsageError(f"{backend}: this torch has none for this processor; take another backend")
    return first


def opened(way: Way, model: Model) -> Run:
    """A model's network made ready to run on the CPU by another backend than torch.

    Args:
        way: A backend, in one of its `FORMATS`.
        model: Its network is in fp32 and on the CPU; in int8 its 8-bit file is run.

    Raises:
        UsageError: the backend is not installed, does not run in this format or not this network, or the
            8-bit file is missing or was made of other weights.
    """
    assert model.net is not None
    module = module_of(way.backend)
    if way.precision not in FORMATS[way.backend]:
        raise UsageError(f"{way.backend}: does not run in {way.precision}; take fp32")
    if way.backend == "nnpack":
        return nnpack_run(model.net)
    if way.precision == "int8":
        return openvino_run(module, _int8_file(module, model), way.precision)
    try:
        content = to_onnx(model.net, channels=model.channels, multiple_of=model.multiple_of)
        if way.backend == "onnx":
            return onnx_run(module, content)
        if way.backend == "openvino":
            return openvino_run(module, content, way.precision)
        return ncnn_run(module, content, model)
    except Exception as error:
        if isinstance(error, UsageError) or is_out_of_memory(error):
            raise
        reason = str(error).strip().partition("\n")[0]
        raise UsageError(
            f"{way.backend}: cannot run {model.name} ({type(error).__name__}: {reason}); take another backend"
        ) from error


def _int8_file(openvino: Any, model: Model) -> str:
    """The file of a model's network in 8 bits, if it is of these very weights."""
    if model.int8 is None:
        raise UsageError(
            f"{model.name}: has no 8-bit file; 'srcx export --format openvino --int8 FOLDER' makes one"
        )
    file = openvino.Core().read_model(str(model.int8))
    if not file.has_rt_info(MADE_OF) or file.get_rt_info(MADE_OF).astype(str) != model.sha256:
        raise UsageError(f"{model.int8}: was made of other weights than {model.name}; export it again")
    return str(model.int8)


def nnpack_run(net: nn.Module) -> Run:
    """Torch, where its NNPACK multiplies 3 x 3 convolutions by Winograd's F(6, 3).

    torch itself takes NNPACK for 16 images at once and more.
    """
    net = copy.deepcopy(net)
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d) and _is_for_winograd(layer):
            layer._conv_forward = partial(_by_nnpack, layer.padding)  # type: ignore[method-assign]
    return lambda lq: net(lq.contiguous())


def _is_for_winograd(layer: nn.Conv2d) -> bool:
    geometry = (layer.kernel_size, layer.stride, layer.dilation, layer.groups, layer.padding_mode)
    fits = geometry == ((3, 3), (1, 1), (1, 1), 1, "zeros") and layer.padding in ((0, 0), (1, 1))
    return fits and min(layer.in_channels, layer.out_channels) >= LEAST_CHANNELS


def _by_nnpack(padding: Any, lq: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return torch._nnpack_spatial_convolution(lq.contiguous(), weight, bias, padding)


def onnx_run(onnxruntime: Any, content: bytes | str) -> Run:
    """ONNX Runtime on the content of an .onnx file."""

    def open_session() -> Run:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = FATAL  # errors are raised too
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        return lambda lq: torch.from_numpy(session.run(None, {"lq": lq.contiguous().numpy()})[0])

    return _reopened_when_out_of_memory(open_session)


_FIRST_USE = threading.Lock()


def openvino_run(openvino: Any, content: bytes | str, precision: str = "fp32") -> Run:
    """OpenVINO on the content of an .onnx file or the path of an .xml file."""

    def compile_model() -> Run:
        # Its first use of numpy makes a table; two threads at that point wait for each other for ever.
        with _FIRST_USE:
            assert openvino.Tensor(np.zeros(1, np.float32)).data.size == 1
        core = openvino.Core()
        settings = {
            "INFERENCE_PRECISION_HINT": OPENVINO_NAMES[precision],
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        }
        compiled = core.compile_model(core.read_model(content), "CPU", settings)

        # A request is used by one call at a time: threads that share one get each other's images.
        idle: list[Any] = []

        def run(lq: Tensor) -> Tensor:
            try:
                request = idle.pop()
            except IndexError:
                request = compiled.create_infer_request()
            # Asynchronous: a request that fails synchronously does not raise and gives an earlier image.
            request.start_async({0: lq.contiguous().numpy()})
            request.wait()
            sr = torch.from_numpy(request.get_output_tensor().data.copy())
            idle.append(request)
            return sr

        return run

    return _reopened_when_out_of_memory(compile_model)


def _reopened_when_out_of_memory(open_run: Callable[[], Run]) -> Run:
    """Run a backend, and open it anew after an out-of-memory, since it keeps the memory it has got so far.

    Raises, when the run is called:
        MemoryError: the memory does not suffice.
    """
    current: Run | None = open_run()

    def run(lq: Tensor) -> Tensor:
        nonlocal current
        try:
            now = current = current or open_run()
            return now(lq)
        except Exception as error:
            # What was opened before fails to open for lack of memory, whatever it says.
            if current is not None and not is_out_of_memory(error):
                raise
            current = None
            raise MemoryError(str(error).strip().rpartition("\n")[2]) from None

    return run


def ncnn_run(ncnn: Any, content: bytes, model: Model) -> Run:
    """Tencent's ncnn on the content of an .onnx file, which pnnx brings to its form.

    Raises:
        UsageError: ncnn has no such layer, or what it makes is not what torch makes.
    """
    net = ncnn.Net()
    net.opt.num_threads = torch.get_num_threads()
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
    # Its memory is kept from run to run, which is a third faster, but not that of other sizes.
    pools = ncnn.PoolAllocator(), ncnn.PoolAllocator()
    net.opt.blob_allocator, net.opt.workspace_allocator = pools
    size: tuple[int, ...] = ()
    with tempfile.TemporaryDirectory() as folder:
        _to_ncnn(content, model, Path(folder))
        if net.load_param(f"{folder}/net.ncnn.param") or net.load_model(f"{folder}/net.ncnn.bin"):
            raise UsageError(f"ncnn: has no layer for a part of {model.name}; take another backend")
    (source,), (result,) = net.input_names(), net.output_names()

    def extract(pixels: np.ndarray[Any, Any]) -> tuple[int, np.ndarray[Any, Any]]:
        extractor = net.create_extractor()
        extractor.input(source, ncnn.Mat(pixels))  # which looks at `pixels` and does not keep them
        code, sr = extractor.extract(result)
        return code, np.array(sr) if not code else pixels

    def one(lq: Tensor) -> Tensor:
        nonlocal size
        if size != (size := tuple(lq.shape)):
            for pool in pools:
                pool.clear()
        # An error's traceback keeps the frame it is raised in, and a Mat in it would outlive the pools.
        code, sr = extract(lq.contiguous().numpy())
        if code:
            raise (MemoryError if code == NCNN_OUT_OF_MEMORY else RuntimeError)(f"ncnn: stopped with {code}")
        return torch.from_numpy(sr)

    def run(lq: Tensor) -> Tensor:
        return torch.stack([one(image) for image in lq])

    # Layers keep memory of the pools, and a pool that is destroyed before it has it back crashes the process.
    weakref.finalize(run, _close_ncnn, net, pools)
    _check_like_torch(run, model)
    return run


def _close_ncnn(net: Any, pools: tuple[Any, Any]) -> None:
    """Give the memory of a net's layers back to `pools`, which are an argument so as to live until then."""
    net.clear()


def _to_ncnn(content: bytes, model: Model, folder: Path) -> None:
    """Write net.ncnn.param and net.ncnn.bin."""
    import pnnx

    (folder / "net.onnx").write_bytes(content)
    # Two sizes, of which it learns that height and width are free.
    sizes = [
        f"[1,{model.channels},{height},{width}]f32" for height, width in (_sides(model, 0), _sides(model, 1))
    ]
    words = ["net.onnx", f"inputshape={sizes[0]}", f"inputshape2={sizes[1]}", "fp16=0"]
    done = subprocess.run(
        [pnnx.EXEC_PATH, *words], cwd=folder, capture_output=True, text=True, errors="replace"
    )
    if done.returncode or not (folder / "net.ncnn.bin").exists():
        raise UsageError(f"ncnn: pnnx cannot convert {model.name} ({done.returncode}); take another backend")


def _check_like_torch(run: Run, model: Model) -> None:
    """Not every network comes out of the converter as it went in."""
    assert model.net is not None
    noise = torch.rand(1, model.channels, *_sides(model, 2), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        sr, exact = run(noise).clamp(0, 1), model.net(noise).clamp(0, 1)
    if sr.shape != exact.shape or likeness_db(sr, exact) < LEAST_LIKENESS_DB:
        raise UsageError(f"ncnn: does not make of {model.name} what torch does; take another backend")


def _sides(model: Model, which: int) -> tuple[int, int]:
    """Height and width that the network takes; others for each `which`."""
    least = -(-16 // model.multiple_of)
    return (least + which) * model.multiple_of, (least + 3 * which + 1) * model.multiple_of


def to_onnx(net: nn.Module, *, channels: int, multiple_of: int) -> bytes:
    """A network as the content of an .onnx file: "lq" (n, channels, h, w) to "sr"; n, h and w are free."""
    side = multiple_of * -(-16 // multiple_of)
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # The newer exporter needs packages that nothing else here does.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            net,
            (torch.zeros(1, channels, side, side + multiple_of),),
            buffer,  # type: ignore[arg-type] # it takes files too
            input_names=["lq"],
            output_names=["sr"],
            dynamic_axes={"lq": {0: "n", 2: "h", 3: "w"}, "sr": {0: "n", 2: "sh", 3: "sw"}},
            opset_version=OPSET,
            dynamo=False,
        )
    return buffer.getvalue()

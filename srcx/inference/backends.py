"""What runs a network: torch itself, or ONNX Runtime or OpenVINO on the same network in ONNX's form."""

import importlib
import io
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from srcx.errors import UsageError
from srcx.inference.model import Model

__all__ = ["BACKENDS", "FORMATS", "Backend", "Run", "Way", "installed", "opened", "to_onnx"]

Backend = Literal["torch", "onnx", "openvino"]
BACKENDS: tuple[Backend, ...] = ("torch", "onnx", "openvino")
MODULES = {"torch": "torch", "onnx": "onnxruntime", "openvino": "openvino"}
FORMATS: dict[Backend, tuple[str, ...]] = {
    "torch": ("fp32", "bf16", "fp16"),
    "onnx": ("fp32",),
    "openvino": ("fp32", "bf16", "int8"),
}
"""Number formats that a backend runs in."""

Run = Callable[[Tensor], Tensor]
"""(N, C, H, W) to (N, C, sH, sW)."""

OPSET = 17
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
    return find_spec(MODULES[backend]) is not None


def module_of(backend: Backend) -> Any:
    """The module of a backend.

    Raises:
        UsageError: it is not installed.
    """
    try:
        return importlib.import_module(MODULES[backend])
    except ImportError as error:
        raise UsageError(
            f"{backend}: needs {MODULES[backend]}, which is not here; pip install 'srcx[export]' brings it"
        ) from error


def opened(way: Way, model: Model) -> Run:
    """A model's network made ready to run on the CPU by another backend than torch.

    Args:
        way: A backend, in one of its `FORMATS`.
        model: Its network is in fp32 and on the CPU; in int8 its 8-bit file is run.

    Raises:
        UsageError: the backend is not installed or does not run in this format, or the 8-bit file is missing
            or was made of other weights.
    """
    assert model.net is not None
    module = module_of(way.backend)
    if way.precision not in FORMATS[way.backend]:
        raise UsageError(f"{way.backend}: does not run in {way.precision}; take fp32")
    if way.precision == "int8":
        return openvino_run(module, _int8_file(module, model), way.precision)
    content = to_onnx(model.net, channels=model.channels, multiple_of=model.multiple_of)
    return (
        onnx_run(module, content) if way.backend == "onnx" else openvino_run(module, content, way.precision)
    )


def _int8_file(openvino: Any, model: Model) -> str:
    """The file of a model's network in 8 bits, if it is of these very weights."""
    if model.int8 is None:
        raise UsageError(
            f"{model.name}: has no 8-bit file beside its checkpoint; "
            "'srcx export --format openvino --int8 PICTURES' makes one"
        )
    file = openvino.Core().read_model(str(model.int8))
    if not file.has_rt_info(MADE_OF) or file.get_rt_info(MADE_OF).astype(str) != model.sha256:
        raise UsageError(f"{model.int8}: was made of other weights than {model.name}; export it again")
    return str(model.int8)


def onnx_run(onnxruntime: Any, content: bytes | str) -> Run:
    """ONNX Runtime on the content of an .onnx file."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return lambda lq: torch.from_numpy(session.run(None, {"lq": lq.contiguous().numpy()})[0])


def openvino_run(openvino: Any, content: bytes | str, precision: str = "fp32") -> Run:
    """OpenVINO on the content of an .onnx file or the path of an .xml file."""
    core = openvino.Core()
    settings = {
        "INFERENCE_PRECISION_HINT": OPENVINO_NAMES[precision],
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
    }
    compiled = core.compile_model(core.read_model(content), "CPU", settings)
    # A copy, since the next run writes into the same memory.
    return lambda lq: torch.from_numpy(compiled(lq.contiguous().numpy())[0].copy())


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

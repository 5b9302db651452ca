"""Tencent's ncnn, on what pnnx converts of the ONNX form of a network."""

import subprocess
import weakref
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from srcx.errors import CheckpointError, UsageError
from srcx.hardware import threads
from srcx.imaging.planes import Planes
from srcx.inference.backends.base import (
    SAME_NETWORK_DB,
    Backend,
    OpenedFile,
    Run,
    check_one_of_each,
    check_weights_beside,
    not_opened,
    psnr_db,
)
from srcx.inference.store import made_once, onnx_of

if TYPE_CHECKING:
    from srcx.inference.models import Model

__all__ = ["Ncnn"]

OUT_OF_MEMORY = -100
"""ncnn's error code."""


class Ncnn(Backend):
    """Runs networks by ncnn on the CPU, if the converted network gives the images that torch gives.

    It runs .param files too, with the weights in the .bin file of the same name.
    """

    name = "ncnn"
    packages = ("ncnn", "pnnx")
    extra = "ncnn"
    # ncnn pads the input of a layer, and holds it transformed too, 36 values for 16.
    memory_factor = 5.5
    suffix = ".param"

    def _open(self, module: Any, model: "Model", precision: str, device: str) -> Run:
        def make(folder: Path) -> None:
            _convert(model, folder)
            _check_converted(model, _opened(folder))

        def _opened(folder: Path) -> Run:
            try:
                return _run_of(module, folder / "net.ncnn.param")
            except CheckpointError:
                raise UsageError(
                    f"ncnn: has no layer for a part of {model.name}; take another backend"
                ) from None

        with made_once(model, f"ncnn-{version('pnnx')}", make) as folder:
            return _opened(folder)

    def open_exported(self, path: Path) -> OpenedFile:
        check_weights_beside(path)
        return OpenedFile(_run_of(self.load(), path), (None, _channels_of(path), None, None))


def _check_converted(model: "Model", run: Run) -> None:
    """Refuse a converted network that makes other images than torch: not every network is the same after it.

    Raises:
        UsageError: it does.
    """
    import torch

    assert model.net is not None
    noise = np.random.default_rng(0).random((1, model.channels, *_sides(model, 2)), np.float32)
    with torch.inference_mode():
        exact = model.net(torch.from_numpy(noise)).numpy()
    sr = run(noise)
    if sr.shape != exact.shape or psnr_db(sr.clip(0, 1), exact.clip(0, 1)) < SAME_NETWORK_DB:
        raise UsageError(f"ncnn: gives other images than torch by {model.name}; take another backend")


def _channels_of(param: Path) -> int:
    """Return the channels of the input of a .param file: those of its first convolution.

    ncnn reads beyond the weights of a network that is given other channels, so that none can be tried.

    Raises:
        CheckpointError: no convolution shows them.
    """
    for line in param.read_text("utf-8", errors="replace").splitlines():
        words = line.split()
        if words and words[0] == "Convolution":
            values = dict(word.split("=", 1) for word in words if "=" in word)
            try:
                width = int(values["1"])
                return int(values["6"]) // (int(values["0"]) * width * int(values.get("11", width)))
            except (KeyError, ValueError, ZeroDivisionError):
                break
    raise CheckpointError(
        f"{param}: has no convolution that shows the channels of its input; export it again"
    )


def _run_of(ncnn: Any, param: Path) -> Run:
    """Open a .param file and the .bin file of its name.

    Raises:
        CheckpointError: ncnn does not take them, or there is not one input and one output.
    """
    net = ncnn.Net()
    net.opt.num_threads = threads()
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
    # The pools hold memory from run to run, which is a third faster; they are cleared when the size changes.
    pools = ncnn.PoolAllocator(), ncnn.PoolAllocator()
    net.opt.blob_allocator, net.opt.workspace_allocator = pools
    if net.load_param(str(param)) or net.load_model(str(param.with_suffix(".bin"))):
        raise not_opened(param, Ncnn.name)
    check_one_of_each(param, len(net.input_names()), len(net.output_names()))
    (source,), (result,) = net.input_names(), net.output_names()
    size: tuple[int, ...] = ()

    def extract(pixels: Planes) -> tuple[int, Planes]:
        extractor = net.create_extractor()
        extractor.input(source, ncnn.Mat(pixels))  # a view: `pixels` must live until `extract` has run
        code, sr = extractor.extract(result)
        return code, np.array(sr) if not code else pixels

    def one(lq: Planes) -> Planes:
        nonlocal size
        if size != (size := tuple(lq.shape)):
            for pool in pools:
                pool.clear()
        # The traceback of an error holds the frame that raised it, and a Mat in this frame would outlive the
        # pools: so `extract` returns a code and this function raises.
        code, sr = extract(np.ascontiguousarray(lq))
        if code:
            raise (MemoryError if code == OUT_OF_MEMORY else RuntimeError)(f"ncnn: stopped with {code}")
        return sr

    def run(lq: Planes) -> Planes:
        return np.stack([one(image) for image in lq])

    # Layers hold memory of the pools, and a pool that is destroyed before it has this memory back crashes the
    # process. The finalizer holds the pools until the net is cleared.
    weakref.finalize(run, lambda net, pools: net.clear(), net, pools)
    return run


def _convert(model: "Model", folder: Path) -> None:
    """Write net.ncnn.param and net.ncnn.bin, and nothing else."""
    import pnnx

    (folder / "net.onnx").write_bytes(onnx_of(model))
    # pnnx compares two sizes to find out that height and width are free.
    sizes = [
        f"[1,{model.channels},{height},{width}]f32" for height, width in (_sides(model, 0), _sides(model, 1))
    ]
    words = ["net.onnx", f"inputshape={sizes[0]}", f"inputshape2={sizes[1]}", "fp16=0"]
    done = subprocess.run(
        [pnnx.EXEC_PATH, *words], cwd=folder, capture_output=True, text=True, errors="replace"
    )
    if done.returncode or not (folder / "net.ncnn.bin").exists():
        raise UsageError(f"ncnn: pnnx cannot convert {model.name} ({done.returncode}); take another backend")
    for file in set(folder.iterdir()) - {folder / "net.ncnn.param", folder / "net.ncnn.bin"}:
        file.unlink()


def _sides(model: "Model", number: int) -> tuple[int, int]:
    """Return height and width that the network takes, different for each `number`."""
    smallest = -(-16 // model.multiple_of)
    return (smallest + number) * model.multiple_of, (smallest + 3 * number + 1) * model.multiple_of

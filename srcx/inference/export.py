"""A model as a file for other programs: written, opened again, and compared with torch."""

import copy
import importlib
import json
import math
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

import srcx
from srcx.atomic import make_folder
from srcx.errors import CheckpointError, OutputError, UsageError
from srcx.imaging import read_image, to_tensor
from srcx.imaging.planes import Planes
from srcx.inference.architecture import NORMALISATION, NormalisedNet
from srcx.inference.backends import Run, psnr_db
from srcx.inference.backends.base import SAME_NETWORK_DB, to_onnx
from srcx.inference.backends.onnxruntime import OnnxRuntime
from srcx.inference.backends.openvino import OpenVino
from srcx.inference.backends.pytorch import PyTorch
from srcx.inference.models import Model, find_model
from srcx.inference.tiling import run_padded
from srcx.weights.checkpoint import save_state

__all__ = [
    "NO_NETWORK",
    "SUFFIXES",
    "ExportFormat",
    "check_exportable",
    "described_weights",
    "export",
    "io_of",
    "photograph",
    "staged",
]

ExportFormat = Literal["onnx", "openvino", "safetensors"]
SUFFIXES: dict[ExportFormat, str] = {"onnx": ".onnx", "openvino": ".xml", "safetensors": ".safetensors"}

NO_NETWORK = "has no network: it is an interpolation; name another model or a checkpoint"
"""Said of bicubic."""

CHECK_PX = (120, 93)
"""Another size than the one the network was traced with, and not a square."""


HALF_DB = 50.0
"""Least PSNR between the outputs of the network in half precision and in fp32, as for `--precision fp16`."""
HALF_PX = 48
"""Side of the piece that torch upscales in half precision, which is slow on a CPU."""


def export(
    model: Model,
    format: ExportFormat,
    out: Path,
    *,
    image: Path | None = None,
    half: bool = False,
    size_px: tuple[int, int] | None = None,
) -> float:
    """Write a model for other programs, if the file gives the same result as torch on a real image.

    Args:
        model: Has a network.
        format: "onnx" and "openvino" take "lq", (n, channels, h, w) in [0, 1], to "sr", s times as large, for
            any n, h and w that the network takes; "onnx" has this in its metadata; "safetensors" is a
            checkpoint that describes its network.
        out: The file, with the suffix of the format; OpenVINO writes the weights to a .bin beside it.
        image: The image to compare on; by default a photograph that comes with scikit-image.
        half: "onnx": weights, input and output in float16, half as large; may differ by `HALF_DB`.
        size_px: "onnx": the only height and width that the file takes, one image at a time, as programs
            want that cannot give sizes. None leaves them free.

    Returns:
        PSNR between the results of the file and of torch in fp32, in dB; infinite where they are equal.

    Raises:
        UsageError: the suffix is another, there is no network, a package is missing, or the network does not
            take this size.
        CheckpointError: the network cannot be written, or the file gives another result.
        OutputError: the file cannot be written.
    """
    net = check_exportable(model, out, SUFFIXES[format])
    if format != "onnx" and (half or size_px):
        raise UsageError(f"{format}: half precision and a fixed size are for onnx; take this format without")
    if size_px and any(side % model.multiple_of for side in size_px):
        raise UsageError(
            f"{model.name}: takes sides that are multiples of {model.multiple_of}; "
            f"got {size_px[1]} x {size_px[0]}"
        )
    pixels = read_image(image or photograph())
    top, left = (max(side - px, 0) // 2 for side, px in zip(pixels.shape[:2], CHECK_PX, strict=True))
    middle = pixels[top : top + CHECK_PX[0], left : left + CHECK_PX[1]]
    lq = to_tensor(middle)
    lq = lq[:, :1] if model.channels == 1 else lq[:, :3].expand(-1, 3, -1, -1)
    if size_px:
        lq = lq[..., : size_px[0], : size_px[1]]
    with staged(out) as file:
        run = _write_and_open(model, format, file, half=half, size_px=size_px)
        with torch.inference_mode():
            sr = run_padded(run, lq.numpy(), model.multiple_of, size_px).clip(0, 1)
            found_db = psnr_db(sr, _planes_of(net, lq, model.multiple_of, size_px))
            if half:
                found_db = min(found_db, _half_psnr_db(model, lq))  # NaN first stays
        least_db = HALF_DB if half else SAME_NETWORK_DB
        if not found_db >= least_db:  # nor NaN
            other = "leave out half precision" if half else "choose another format"
            raise CheckpointError(
                f"{model.name}: its {format} file is not written: its result is only {found_db:.1f} dB from "
                f"torch's, less than {least_db:g}; {other}"
            )
    return found_db


def check_exportable(model: Model, out: Path, suffix: str) -> nn.Module:
    """Return the network of a model.

    Raises:
        UsageError: it has none, or the suffix of `out` is another.
    """
    if out.suffix != suffix:
        raise UsageError(f"{out}: the name of this file must end with {suffix}; rename it")
    if model.backend is not None:
        raise UsageError(f"{model.path}: is an exported file; name the checkpoint that it was made from")
    if model.net is None:
        raise UsageError(f"{model.name}: {NO_NETWORK}")
    return model.net


@contextmanager
def staged(out: Path) -> Iterator[Path]:
    """Give a path in a temporary folder; all files of this folder are moved to that of `out` on success.

    Raises:
        OutputError: the folder cannot be made, or the file not be written.
    """
    make_folder(out.parent)
    try:
        temporary = tempfile.TemporaryDirectory(dir=out.parent, prefix=".export-")
    except OSError as error:
        raise OutputError(f"{out}: cannot be written: {error.strerror}; choose another place") from error
    with temporary as folder:
        yield Path(folder) / out.name
        try:
            for one in sorted(Path(folder).iterdir()):
                one.replace(out.parent / one.name)
        except OSError as error:
            raise OutputError(f"{out}: cannot be written: {error.strerror}; choose another place") from error


def _write_and_open(
    model: Model, format: ExportFormat, file: Path, *, half: bool, size_px: tuple[int, int] | None
) -> Run:
    """Write the file, and open it as other programs do."""
    assert model.net is not None
    if format == "safetensors":
        weights, about = described_weights(model)
        save_state(file, weights, metadata=about)
        return PyTorch().open(find_model(file))
    backend = OnnxRuntime() if format == "onnx" else OpenVino()
    module = backend.load()
    try:
        content = to_onnx(model, size_px)
        if isinstance(backend, OnnxRuntime):
            content = _in_half(content) if half else content
            file.write_bytes(_with_metadata(content, model, io_of(model, half=half, size_px=size_px)))
            return backend.open_onnx(str(file))
        module.save_model(module.Core().read_model(content), str(file), compress_to_fp16=False)
        return backend.open_file(str(file))
    except Exception as error:
        raise CheckpointError(
            f"{model.name}: a {model.architecture} cannot be written as {format}: "
            f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
        ) from error


def described_weights(model: Model) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the weights of a model that has a network, and the metadata by which srcx knows this network."""
    assert model.net is not None
    part = model.part and {"network": json.dumps({"type": model.part.type, "args": model.part.args})}
    about = {"scale": str(model.scale), "architecture": model.architecture}
    net: nn.Module = model.net
    if isinstance(net, NormalisedNet):
        about[NORMALISATION] = json.dumps([net.mean.flatten().tolist(), net.std.flatten().tolist()])
        net = net.model
    net = getattr(net, "model", net)  # without SpandrelNet: spandrel recognises these names
    return net.state_dict(), about | (part or {})


def io_of(model: Model, *, half: bool = False, size_px: tuple[int, int] | None = None) -> dict[str, str]:
    """Return a description of the input and the output of an exported network, by name."""
    colours = "RGB" if model.channels == 3 else "one channel"
    shape = f"1, {model.channels}, {size_px[0]}, {size_px[1]}" if size_px else f"n, {model.channels}, h, w"
    sides = f", h and w multiples of {model.multiple_of}" if model.multiple_of > 1 and not size_px else ""
    return {
        "lq": f"{'float16' if half else 'float32'} ({shape}), {colours} in [0, 1]{sides}",
        "sr": f"likewise, {model.scale} times as large",
    }


def _half_psnr_db(model: Model, lq: Tensor) -> float:
    """Return the PSNR between a network in float16 and in fp32, both by torch, on a corner of an image.

    ONNX Runtime computes in fp32 on the CPU, where nothing overflows; -inf stands for that.
    """
    assert model.net is not None
    halved, corner = copy.deepcopy(model.net).half(), lq[..., :HALF_PX, :HALF_PX]
    sr = run_padded(lambda one: halved(one.half()).float(), corner, model.multiple_of)
    if not sr.isfinite().all():
        return -math.inf
    return psnr_db(sr.clamp(0, 1).numpy(), _planes_of(model.net, corner, model.multiple_of))


def _planes_of(
    net: Callable[[Tensor], Tensor], lq: Tensor, multiple_of: int, size_px: tuple[int, int] | None = None
) -> Planes:
    return run_padded(net, lq, multiple_of, size_px).clamp(0, 1).numpy()


def _in_half(content: bytes) -> bytes:
    """Return an ONNX file with weights, input and output in float16."""
    onnx = importlib.import_module("onnx")
    float16 = importlib.import_module("onnxruntime.transformers.float16")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of weights so small that float16 rounds them
        network = float16.convert_float_to_float16(onnx.load_model_from_string(content))
    halved: bytes = network.SerializeToString()
    return halved


def _with_metadata(content: bytes, model: Model, io: dict[str, str]) -> bytes:
    """Return an ONNX file with a description of the model in its metadata."""
    onnx = importlib.import_module("onnx")
    network = onnx.load_model_from_string(content)
    about = {
        "name": model.name,
        "architecture": model.architecture,
        "scale": str(model.scale),
        **io,
    }
    about |= {"made_by": f"srcx {srcx.__version__}", "sha256_of_checkpoint": model.sha256}
    onnx.helper.set_model_props(network, about)
    described: bytes = network.SerializeToString()
    return described


def photograph() -> Path:
    """Return the file of a photograph, 451 x 300, in the public domain, that comes with scikit-image."""
    spec = find_spec("skimage")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "data" / "chelsea.png"

"""A model as a file for other programs: written, opened again, and compared with torch before it is kept."""

import importlib
import json
import tempfile
from collections.abc import Iterator
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
from srcx.inference.backends import LEAST_LIKENESS_DB, Run, module_of, onnx_run, openvino_run, to_onnx
from srcx.inference.model import Model, find_model
from srcx.inference.precision import likeness_db
from srcx.padding import pad_to_multiple
from srcx.weights.checkpoint import save_state

__all__ = ["SUFFIXES", "ExportFormat", "check_exportable", "export", "io_of", "moved_to", "photograph"]

ExportFormat = Literal["onnx", "openvino", "safetensors"]
SUFFIXES: dict[ExportFormat, str] = {"onnx": ".onnx", "openvino": ".xml", "safetensors": ".safetensors"}

CHECK_PX = (120, 93)
"""Another size than the one the network was traced with, and another than a square."""


def export(model: Model, format: ExportFormat, out: Path, *, image: Path | None = None) -> float:
    """Write a model for other programs, if what is written does the same as torch on a real image.

    Args:
        model: It has to have a network.
        format: "onnx" and "openvino" take "lq", (n, channels, h, w) in [0, 1], to "sr", s times as large, for
            any n, h and w that the network takes; "onnx" says so in its metadata; "safetensors" is a
            checkpoint that says its network.
        out: The file, with the suffix of the format; OpenVINO puts the weights in a .bin beside it.
        image: What to compare on; by default a photograph that scikit-image brings.

    Returns:
        How like torch's output that of the file is, in dB; infinite where it is equal.

    Raises:
        UsageError: the suffix is another, there is no network, or a package is missing.
        CheckpointError: the network cannot be written, or the file does not do the same.
        OutputError: the file cannot be written.
    """
    net = check_exportable(model, out, SUFFIXES[format])
    lq = _some_pixels(image, model)
    with moved_to(out) as file:
        run = _written(model, format, file)
        with torch.inference_mode():
            likeness = likeness_db(run(lq).clamp(0, 1), net(lq).clamp(0, 1))
        if likeness < LEAST_LIKENESS_DB:
            raise CheckpointError(
                f"{model.name}: as {format} it is only {likeness:.1f} dB like itself in torch and is not kept"
            )
    return likeness


def check_exportable(model: Model, out: Path, suffix: str) -> nn.Module:
    """The network of a model, if it has one and the file is called as it should be.

    Raises:
        UsageError: it has none, or the file's suffix is another.
    """
    if out.suffix != suffix:
        raise UsageError(f"{out}: this file has to end with {suffix}; name it so")
    if model.net is None:
        raise UsageError(f"{model.name}: has no network to export")
    return model.net


@contextmanager
def moved_to(out: Path) -> Iterator[Path]:
    """Where to write `out`, and what belongs beside it; all of it is moved there if the block ends well.

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


def _written(model: Model, format: ExportFormat, file: Path) -> Run:
    """Write the file, and open it again as others would."""
    assert model.net is not None
    if format == "safetensors":
        part = model.part and {"network": json.dumps({"type": model.part.type, "args": model.part.args})}
        about = {"scale": str(model.scale), "architecture": model.architecture}
        net = getattr(model.net, "model", model.net)  # spandrel's own, whose names of weights it knows
        save_state(file, net.state_dict(), metadata=about | (part or {}))
        again = find_model(file).net
        assert again is not None
        return again
    module = module_of(format)
    try:
        content = to_onnx(model.net, channels=model.channels, multiple_of=model.multiple_of)
        if format == "onnx":
            file.write_bytes(_described(content, model))
            return onnx_run(module, str(file))
        module.save_model(module.Core().read_model(content), str(file), compress_to_fp16=False)
        return openvino_run(module, str(file))
    except Exception as error:
        raise CheckpointError(
            f"{model.name}: a {model.architecture} cannot be written as {format}: "
            f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
        ) from error


def io_of(model: Model) -> dict[str, str]:
    """Return what an exported network takes and gives, by name."""
    colours = "RGB" if model.channels == 3 else "one channel"
    sides = f", h and w multiples of {model.multiple_of}" if model.multiple_of > 1 else ""
    return {
        "lq": f"float32 (n, {model.channels}, h, w), {colours} in [0, 1]{sides}",
        "sr": f"likewise, {model.scale} times as large",
    }


def _described(content: bytes, model: Model) -> bytes:
    """Return an ONNX file that says what it is, in its metadata."""
    onnx = importlib.import_module("onnx")
    network = onnx.load_model_from_string(content)
    about = {
        "name": model.name,
        "architecture": model.architecture,
        "scale": str(model.scale),
        **io_of(model),
    }
    about |= {"made_by": f"srcx {srcx.__version__}", "sha256_of_checkpoint": model.sha256}
    onnx.helper.set_model_props(network, about)
    described: bytes = network.SerializeToString()
    return described


def _some_pixels(path: Path | None, model: Model) -> Tensor:
    """The middle of an image, of a size the network takes."""
    pixels = read_image(path or photograph())
    top, left = (max(side - px, 0) // 2 for side, px in zip(pixels.shape[:2], CHECK_PX, strict=True))
    cut = pixels[top : top + CHECK_PX[0], left : left + CHECK_PX[1]]
    lq = pad_to_multiple(to_tensor(cut), model.multiple_of)
    return lq[:, :1] if model.channels == 1 else lq[:, :3].expand(-1, 3, -1, -1)


def photograph() -> Path:
    """An image of a cat, 451 x 300, in the public domain; scikit-image brings it."""
    spec = find_spec("skimage")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "data" / "chelsea.png"

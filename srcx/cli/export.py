"""`srcx export`: a model as a file for other programs, or in 8 bits for srcx itself."""

import math
import re
from pathlib import Path
from typing import Annotated, Literal

import typer

from srcx.cli.verb import Debug
from srcx.errors import UsageError

EXAMPLES = """
  srcx export --model srresnet-x4 --format onnx -o srresnet-x4.onnx
  srcx export --model experiments/mine/models/net_g_latest.pth --format safetensors -o mine.safetensors
  srcx export --model srresnet-x4 --format onnx --fp16 --size 256
  srcx export --model srresnet-x4 --format openvino --int8 datasets/train
"""


def export(
    model: Annotated[
        str,
        typer.Option(
            metavar="NAME|FILE", help="A name 'srcx models' lists, a checkpoint, or a run's folder."
        ),
    ],
    format: Annotated[
        Literal["onnx", "openvino", "safetensors"],
        typer.Option(help="onnx and openvino: any height and width; safetensors: fp32, says its network."),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--out",
            metavar="FILE",
            help="Ends with .onnx, .xml or .safetensors. Default: the model's name, in this folder; with "
            "--int8: beside the checkpoint, or in the user's cache for a model that comes with srcx; "
            "'srcx upscale' finds it there.",
        ),
    ] = None,
    image: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The image to compare on. Default: a photograph.")
    ] = None,
    fp16: Annotated[
        bool,
        typer.Option(
            "--fp16", help="onnx in half precision: weights, input and output; at least 50 dB from fp32."
        ),
    ] = False,
    size: Annotated[
        str | None,
        typer.Option(
            metavar="N|WxH",
            help="onnx for images of this size alone, such as 256 or 1280x720, for programs that want it. "
            "Default: any height and width.",
        ),
    ] = None,
    int8: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="openvino in 8 bits: calibrate on these high-resolution images, and compare with fp32 on "
            "a sixth of them, which is left out of the calibration.",
        ),
    ] = None,
    debug: Debug = False,
) -> None:
    """Write a model for other programs, if the file gives the same result as torch on a real image."""
    from srcx.inference.export import SUFFIXES, io_of
    from srcx.inference.export import export as run
    from srcx.inference.models import find_model

    if int8:
        if format != "openvino" or image or fp16 or size:
            raise UsageError(
                "--int8: is for --format openvino alone, and compares on images of its own folder"
            )
        return _in_8_bits(model, out, int8)
    if format != "onnx" and (fp16 or size):
        raise UsageError(f"{'--fp16' if fp16 else '--size'}: is for --format onnx; got {format}")
    size_px = None if size is None else _size_px(size)
    found = find_model(model)
    if out is None:
        out = Path(f"{found.name}{SUFFIXES[format]}")
        if out.exists():
            raise UsageError(f"{out}: exists already; name another file with -o, or this one to replace it")
    psnr_db = run(found, format, out, image=image, half=fp16, size_px=size_px)
    print(f"{out}: {'equal to torch' if math.isinf(psnr_db) else f'PSNR to torch {psnr_db:.0f} dB'}")
    if format != "safetensors":
        for name, what in io_of(found, half=fp16, size_px=size_px).items():
            print(f"  {name}: {what}")


def _size_px(text: str) -> tuple[int, int]:
    """Return the height and width that `--size` names.

    Example:
        >>> _size_px("256"), _size_px("1280x720")
        ((256, 256), (720, 1280))
    """
    found = re.fullmatch(r"([1-9]\d{0,4})(?:x([1-9]\d{0,4}))?", text)
    if not found:
        raise UsageError(
            f"--size: expected a side such as 256, or width and height such as 1280x720; got {text}"
        )
    return int(found[2] or found[1]), int(found[1])


def _in_8_bits(name: str, out: Path | None, folder: Path) -> None:
    from srcx.imaging import list_images
    from srcx.inference.bundled import int8_of
    from srcx.inference.export import NO_NETWORK
    from srcx.inference.models import find_model
    from srcx.inference.quantize import export_int8

    model = find_model(name)
    if model.path is None:
        raise UsageError(f"{name}: {NO_NETWORK}")
    out = out or int8_of(model.path)
    report = export_int8(model, out, list_images(folder, recursive=True))
    print(f"{out}: {report.psnr_db:.1f} dB from torch in fp32, {report.loss_db:.3f} dB of PSNR-Y lost")

"""`srcx export`: a model as a file for other programs, or in 8 bits for srcx itself."""

import math
from pathlib import Path
from typing import Annotated, Literal

import typer

from srcx.cli.verb import Debug
from srcx.errors import UsageError

EXAMPLES = """
  srcx export --model srresnet-x4 --format onnx -o srresnet-x4.onnx
  srcx export --model experiments/mine/models/net_g_latest.pth --format safetensors -o mine.safetensors
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
        if format != "openvino" or image:
            raise UsageError("--int8: is for --format openvino, and compares on images of its own folder")
        return _in_8_bits(model, out, int8)
    found = find_model(model)
    if out is None:
        out = Path(f"{found.name}{SUFFIXES[format]}")
        if out.exists():
            raise UsageError(f"{out}: exists already; name another file with -o, or this one to replace it")
    psnr_db = run(found, format, out, image=image)
    print(f"{out}: {'equal to torch' if math.isinf(psnr_db) else f'PSNR to torch {psnr_db:.0f} dB'}")
    if format != "safetensors":
        for name, what in io_of(found).items():
            print(f"  {name}: {what}")


def _in_8_bits(name: str, out: Path | None, folder: Path) -> None:
    from srcx.imaging import list_images
    from srcx.inference.bundled import int8_of
    from srcx.inference.models import find_model
    from srcx.inference.quantize import export_int8

    model = find_model(name)
    if model.path is None:
        raise UsageError(f"{name}: has no network to export")
    out = out or int8_of(model.path)
    report = export_int8(model, out, list_images(folder, recursive=True))
    print(f"{out}: {report.psnr_db:.1f} dB from torch in fp32, {report.loss_db:.3f} dB of PSNR-Y lost")

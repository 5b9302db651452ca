"""`srcx export`: a model as a file for other programs."""

import math
from pathlib import Path
from typing import Annotated, Literal

import typer

from srcx.cli.verb import Debug

EXAMPLES = """
  srcx export --model srresnet-x4 --format onnx -o srresnet-x4.onnx
  srcx export --model experiments/mine/models/net_g_latest.pth --format safetensors -o mine.safetensors
"""


def export(
    model: Annotated[
        str, typer.Option(metavar="NAME|FILE", help="A name 'srcx models' lists, or a checkpoint.")
    ],
    format: Annotated[
        Literal["onnx", "openvino", "safetensors"],
        typer.Option(help="onnx and openvino: any height and width; safetensors: fp32, says its network."),
    ],
    out: Annotated[
        Path, typer.Option("-o", "--out", metavar="FILE", help="Ends with .onnx, .xml or .safetensors.")
    ],
    picture: Annotated[
        Path | None, typer.Option(metavar="FILE", help="What to compare on; a photograph without it.")
    ] = None,
    debug: Debug = False,
) -> None:
    """Write a model for other programs; the file is kept if it does the same as torch on a real picture."""
    from srcx.inference.export import export as run
    from srcx.inference.model import find_model

    likeness = run(find_model(model), format, out, picture=picture)
    print(f"{out}: {'equal to torch' if math.isinf(likeness) else f'{likeness:.0f} dB from torch'}")

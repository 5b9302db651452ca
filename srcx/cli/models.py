"""`srcx models`: the models that come with srcx, the network of a checkpoint, and averages of checkpoints."""

from pathlib import Path
from typing import Annotated

import typer

from srcx.cli.verb import Debug, print_table
from srcx.errors import UsageError

EXAMPLES = """
  srcx models
  srcx models bicubic
  srcx models experiments/srresnet_x4/models/net_g_latest.pth
  srcx models mine.onnx
  srcx models real-x4 --measure
  srcx models average a.safetensors b.safetensors -o mean.safetensors
"""
AVERAGE = """
  srcx models average experiments/mine/models/net_g_{26000,28000,30000}.pth -o mine.safetensors
  srcx models average sharp.pth faithful.pth --weights 1 3 -o mixed.safetensors
  srcx models average sharp.pth faithful.pth --weights 1.02 -0.02 -o sharper.safetensors
"""


def models(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME|FILE]", help="One model. Default: all that come with srcx."),
    ] = None,
    measure: Annotated[
        bool,
        typer.Option(
            "--measure", help="Measure which program runs the model fastest here; 'srcx upscale' takes it."
        ),
    ] = False,
    debug: Debug = False,
) -> None:
    """List the models that come with srcx, or describe one of them or a checkpoint."""
    if measure:
        _measure(name)
    elif name is None:
        _list()
    else:
        _describe(name)


def _list() -> None:
    from srcx.inference.bundled import automatic_models, bundled_models, models_with_parent

    for name, (scale, about) in bundled_models().items():
        clean, damaged = automatic_models(scale)
        kinds = [kind for kind, model in (("clean", clean), ("damaged", damaged)) if model == name]
        notes = [
            *([f"auto takes it for {' and '.join(kinds)} images"] if kinds else []),
            *(["--fidelity"] if name in models_with_parent() else []),
        ]
        in_brackets = f" ({'; '.join(notes)})" if notes else ""
        print(f"{name:<20} x{scale}  {about}{in_brackets}")


def _describe(name: str) -> None:
    from srcx.inference.bundled import bundled_models, card_of
    from srcx.inference.exported import input_of
    from srcx.inference.models import find_model

    model = find_model(name)
    print(f"name:          {model.name}")
    print(f"architecture:  {model.architecture}")
    print(f"scale:         {model.scale}")
    if model.backend is None:
        print(f"parameters:    {model.parameters:,}")
    else:
        print(f"input:         {input_of(model)}")
    if model.path is not None:
        print(f"file:          {model.path}")
        print(f"sha256:        {model.sha256}")
    if name in bundled_models():
        print(f"\n{card_of(name)}", end="")


def _measure(name: str | None) -> None:
    from srcx.imaging import read_image
    from srcx.inference.export import photograph
    from srcx.inference.load import load_model

    if name in (None, "auto"):
        raise UsageError(
            "models --measure: expected one model; name it, as in 'srcx models real-x4 --measure'"
        )
    upscaler = load_model(name)
    if not upscaler.model.has_net:
        raise UsageError(f"{name}: has no network to measure; name a model that has one")
    times = upscaler.measure(read_image(photograph()))
    order = sorted(times, key=lambda engine: times[engine] or float("inf"))
    print_table(("engine",), [((str(engine),), {"seconds for 96 x 96": times[engine]}) for engine in order])


def average(
    checkpoints: Annotated[
        list[str],
        typer.Argument(metavar="NAME|FILE...", help="Two or more checkpoints of one network."),
    ],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="FILE", help="Ends with .safetensors.")],
    weights: Annotated[
        list[float] | None,
        typer.Option(
            metavar="W1 W2 ...",
            help="Weight of each checkpoint; a negative one leads away from it. Default: all alike.",
        ),
    ] = None,
    debug: Debug = False,
) -> None:
    """Average the weights of checkpoints of one network, such as the last ones of a run."""
    from srcx.inference.average import average as run

    for name, share in run(checkpoints, out, weights=weights):
        print(f"{share:.3f}  {name}")
    print(out)

"""`srcx models`: the models that come with srcx, and the network of a checkpoint."""

from typing import Annotated

import typer

from srcx.cli.verb import Debug

EXAMPLES = """
  srcx models
  srcx models bicubic
  srcx models experiments/srresnet_x4/models/net_g_latest.pth
"""


def models(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME|FILE]", help="One model. Default: all that come with srcx."),
    ] = None,
    debug: Debug = False,
) -> None:
    """List the models that come with srcx, or describe one of them or a checkpoint."""
    if name is None:
        _list()
    else:
        _describe(name)


def _list() -> None:
    from srcx.inference.models import automatic_models, bundled_models, models_with_parent

    clean, damaged = automatic_models(None)
    for name, (scale, about) in bundled_models().items():
        kinds = [kind for kind, model in (("clean", clean), ("damaged", damaged)) if model == name]
        notes = [
            *([f"auto takes it for {' and '.join(kinds)} images"] if kinds else []),
            *(["--fidelity"] if name in models_with_parent() else []),
        ]
        in_brackets = f" ({'; '.join(notes)})" if notes else ""
        print(f"{name:<20} x{scale}  {about}{in_brackets}")


def _describe(name: str) -> None:
    from srcx.inference.models import bundled_models, card_of, find_model

    model = find_model(name)
    print(f"name:          {model.name}")
    print(f"architecture:  {model.architecture}")
    print(f"scale:         {model.scale}")
    print(f"parameters:    {model.parameters:,}")
    if model.path is not None:
        print(f"file:          {model.path}")
        print(f"sha256:        {model.sha256}")
    if name in bundled_models():
        print(f"\n{card_of(name)}", end="")

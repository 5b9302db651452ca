"""`srcx new`: an option file for one's own images."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from srcx.cli.verb import Debug, one_line
from srcx.errors import UsageError

if TYPE_CHECKING:
    from srcx.training.new import Choice

EXAMPLES = """
  srcx new --list
  srcx new first --data photos && srcx train -opt first.yml
  srcx new sharp --data photos --recipe srgan-cx --minutes 120
  srcx new lens --data aligned/gt --lq aligned/lq --recipe nonaligned
  srcx new better --data photos --from experiments/first
  srcx new mine --data photos --recipe finetune --from 4x_community.pth
"""


def new(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Name of the run and of its files.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Your images, as sharp as the results should be."),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            metavar="RECIPE", help="One that --list shows. Default: finetune; with --lq nonaligned."
        ),
    ] = None,
    lq: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Low-quality images of the same names, for nonaligned."),
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(
            "--from", metavar="MODEL", help="Model, checkpoint or run to train on, in place of the recipe's."
        ),
    ] = None,
    scale: Annotated[
        int | None, typer.Option(metavar="2|4", min=1, help="Default: that of --lq or --from, else 4.")
    ] = None,
    minutes: Annotated[
        float, typer.Option(min=0.1, metavar="N", help="Time for the training on this machine.")
    ] = 10.0,
    list_recipes: Annotated[bool, typer.Option("--list", help="List the recipes.")] = False,
    debug: Debug = False,
) -> None:
    """Write an option file for your own images, fitted to them and to this machine."""
    if list_recipes:
        from srcx.training.recipes import RECIPES

        for key, one in RECIPES.items():
            print(f"{key:<11} {one.about}")
        return
    if name is None or data is None:
        raise UsageError("name the run and the folder of your images: srcx new NAME --data FOLDER")
    from srcx.training.new import write_new

    name = name.removesuffix(".yml")
    made = write_new(
        name,
        data,
        recipe=recipe or ("finetune" if lq is None else "nonaligned"),
        lq=lq,
        start=start,
        scale=scale,
        minutes=minutes,
        command=one_line(shlex.join(["srcx", *sys.argv[1:]])),
        on_choice=_print_choice,
    )
    print(f"\nwrote       {', '.join(map(str, made))}")
    print(f"next:       srcx train -opt {shlex.quote(str(made[0]))}")
    print(f"afterwards: srcx upscale IMAGE -o OUT --model {shlex.quote(f'experiments/{name}')}")


def _print_choice(choice: "Choice") -> None:
    print(one_line(f"{choice.about:<11} {choice.chosen}: {choice.why}"), flush=True)

"""`srcx weights list|fetch|import`: the weights of fixed networks and evaluators."""

from pathlib import Path
from typing import Annotated

import typer

from srcx.cli.progress import progress
from srcx.cli.verb import Debug, LoggedVerb, Verb

app = typer.Typer(help="Weights of fixed networks (VGG, AlexNet) and evaluators (Ma).", rich_markup_mode=None)

Name = Annotated[str, typer.Argument(metavar="NAME", help="A name that 'srcx weights list' shows.")]


@app.command("list", cls=Verb, epilog="\n  srcx weights list\n")
def list_weights(debug: Debug = False) -> None:
    """List the known weights and the local files."""
    from srcx.weights.published import known

    for one in known():
        print(f"{one.name:<9} {one.path or 'not downloaded'}\n          {one.what}\n          {one.url}")


@app.command("fetch", cls=LoggedVerb, epilog="\n  srcx weights fetch vgg19\n")
def fetch_weights(name: Name, debug: Debug = False) -> None:
    """Download weights into the user's cache."""
    from srcx.weights.fixed import fetch

    with progress() as on_progress:
        path = fetch(name, on_progress=on_progress)
    print(path)


@app.command("import", cls=Verb, epilog="\n  srcx weights import ma ~/Downloads/model.mat\n")
def import_weights(
    name: Name,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The published file.")],
    debug: Debug = False,
) -> None:
    """Copy a file downloaded elsewhere into the user's cache."""
    from srcx.weights.fixed import import_file

    print(import_file(name, file))

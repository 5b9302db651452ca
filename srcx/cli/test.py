"""`srcx test`: score a trained network on the test sets of an option file."""

from pathlib import Path
from typing import Annotated

import typer

from srcx.cli.verb import Debug

EXAMPLES = """
  srcx test -opt options/test/srresnet_x4.yml
"""


def run_test(
    opt: Annotated[Path, typer.Option("-opt", metavar="FILE", help="Option file (YAML, BasicSR's dialect).")],
    force_yml: Annotated[
        list[str] | None,
        typer.Option(
            "--force_yml", metavar="KEY:SUB=VALUE ...", help="Options that replace those of the file."
        ),
    ] = None,
    debug: Debug = False,
) -> None:
    """Run the network of an option file over its test sets; pictures and scores go to results/NAME."""

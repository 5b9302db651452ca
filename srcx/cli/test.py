"""`srcx test`: score a trained network on the test sets of an option file."""

from typing import Annotated

import typer

from srcx.cli.progress import progress
from srcx.cli.verb import Debug, OptionFile, OptionFlag, option_file, uncollected

EXAMPLES = """
  srcx test -opt options/test/srresnet_x4.yml
"""


def run_test(
    file: OptionFile = None,
    opt: OptionFlag = None,
    force_yml: Annotated[
        list[str] | None,
        typer.Option(
            "--force_yml", metavar="KEY:SUB=VALUE ...", help="Options that replace those of the file."
        ),
    ] = None,
    debug: Debug = False,
) -> None:
    """Run the network of an option file over its test sets; images and scores go to results/NAME.

    The exit code is 1 if a metric has no value.
    """
    with uncollected():
        from srcx.training.options import load_test

        options = load_test(option_file(file, opt), force_yml or [])  # before torch is imported
    from srcx.training import testing

    with progress() as on_progress:
        results = testing.run_test(options, on_progress=on_progress)
    for name, means in results.items():
        figures = ", ".join(
            f"{metric} {'none' if value is None else f'{value:.4f}'}" for metric, value in means.items()
        )
        print(f"{name}: {figures or 'no metric asked for'}")
    if any(value is None for means in results.values() for value in means.values()):
        raise typer.Exit(1)

"""`srcx score`: metrics of ready-made pictures."""

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from srcx.cli.progress import progress
from srcx.cli.verb import Debug, log_to_stderr

if TYPE_CHECKING:
    from srcx.benchmark.folders import FolderScores

EXAMPLES = """
  srcx score --sr results/mine/Set5 --gt datasets/benchmark/Set5/HR
  srcx score --sr results/mine/Set5 --metrics niqe --json
"""


def score(
    sr: Annotated[Path, typer.Option(metavar="DIR", help="Pictures to score.")],
    gt: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Their ground truth, by the same file names.")
    ] = None,
    metrics: Annotated[
        list[str] | None,
        typer.Option(
            metavar="METRIC ...", help="Metrics; psnr and ssim if none is named, niqe without --gt."
        ),
    ] = None,
    border: Annotated[int, typer.Option(metavar="N", min=0, help="Pixels shaved from each border.")] = 4,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    debug: Debug = False,
) -> None:
    """Score ready-made pictures, with or without ground truth."""
    from srcx.benchmark.folders import score_folders

    with log_to_stderr(logging.WARNING), progress() as tell:
        scores = score_folders(sr, gt, metrics or (["psnr", "ssim"] if gt else ["niqe"]), border, tell=tell)
    if as_json:
        print(json.dumps(scores.as_dict(), indent=1, ensure_ascii=False, allow_nan=False))
    else:
        _print_table(scores)
    if any(value is None for value in scores.means.values.values()):
        raise typer.Exit(1)


def _print_table(scores: "FolderScores") -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("picture", *scores.means.values)
    for column in table.columns[1:]:
        column.justify = "right"
    for name, one in [*scores.pictures.items(), ("mean", scores.means)]:
        figures = ("-" if value is None else f"{value:.4f}" for value in one.values.values())
        table.add_row(name, *figures, end_section=name == list(scores.pictures)[-1])
    Console().print(table)
    for name, reason in scores.means.reasons.items():
        print(f"{name}: {reason}")

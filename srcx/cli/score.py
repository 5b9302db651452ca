"""`srcx score`: metrics of ready-made images."""

import json
from pathlib import Path
from typing import Annotated

import typer

from srcx.cli.progress import progress
from srcx.cli.verb import Debug, print_table

EXAMPLES = """
  srcx score --sr results/mine/images/mine/Set5 --gt datasets/benchmark/Set5/HR
  srcx score --sr results/mine/images/mine/Set5 --metrics niqe --json
"""


def score(
    sr: Annotated[Path, typer.Option(metavar="DIR", help="Images to score.")],
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
    """Score ready-made images, with or without ground truth."""
    from srcx.evaluation.folders import score_folders

    with progress() as on_progress:
        names = metrics or (["psnr", "ssim"] if gt else ["niqe"])
        scores = score_folders(sr, gt, names, border, on_progress=on_progress)
    if as_json:
        print(json.dumps(scores.as_dict(), indent=1, ensure_ascii=False, allow_nan=False))
    else:
        rows = [*scores.images.items(), ("mean", scores.means)]
        print_table(["image"], [([name], one.values) for name, one in rows])
        for name, reason in scores.means.reasons.items():
            print(f"no {name}: {reason}")
    if any(value is None for value in scores.means.values.values()):
        raise typer.Exit(1)

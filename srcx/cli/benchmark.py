"""`srcx benchmark`: models side by side on the benchmark sets."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from srcx.cli.progress import progress
from srcx.cli.table import print_table
from srcx.cli.verb import Debug, log_to_stderr
from srcx.errors import Interrupted

if TYPE_CHECKING:
    from srcx.report import Results

EXAMPLES = """
  srcx benchmark -o results/bicubic
  srcx benchmark --model bicubic experiments/mine/models/net_g_latest.pth --sets Set5 Set14 -o results/mine
  srcx benchmark --metrics psnr ssim niqe --data ~/sets -o results/bicubic
"""


def benchmark(
    out: Annotated[
        Path, typer.Option("-o", "--out", metavar="OUT", help="Folder of the report and the pictures.")
    ],
    model: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME|FILE ...", help="Models to compare; bicubic if none is named."),
    ] = None,
    data: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder of sets, each SET/HR and SET/LR_bicubic/X4.")
    ] = Path("datasets/benchmark"),
    sets: Annotated[
        list[str] | None,
        typer.Option(metavar="SET ...", help="Sets to take; all there are if none is named."),
    ] = None,
    metrics: Annotated[
        list[str] | None, typer.Option(metavar="METRIC ...", help="Metrics; psnr and ssim if none is named.")
    ] = None,
    precision: Annotated[
        Literal["auto", "fp32", "bf16", "fp16"], typer.Option(help="Number format of the networks.")
    ] = "fp32",
    debug: Debug = False,
) -> None:
    """Run models over benchmark sets, score them, and write a report."""
    from srcx.benchmark import benchmark as run
    from srcx.team import team_of_environment

    try:
        with team_of_environment() as team, log_to_stderr(logging.WARNING), progress(team.speaks) as tell:
            results = run(
                model or ["bicubic"],
                data,
                out,
                sets=sets,
                metrics=metrics or ["psnr", "ssim"],
                precision=precision,
                tell=tell,
                team=team,
            )
    except KeyboardInterrupt:
        raise Interrupted(
            f"stopped; what was upscaled and scored is kept in {out}, and the same command goes on from there"
        ) from None
    if team.speaks:
        _tell(results, out)
    if results.missing():
        raise typer.Exit(1)


def _tell(results: "Results", out: Path) -> None:
    print_table(
        ["set", "model"],
        [((f"{mean.set} x{mean.scale}", mean.model), mean.metrics) for mean in results.means],
    )
    for sentence in results.missing():
        print(f"no {sentence}")
    print(f"report: {out / 'report.html'}")

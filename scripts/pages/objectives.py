"""Compare the contextual with the perceptual loss, both weights searched alike, and write docs/objectives.md.

Both objectives are those of options/shipped/srgan_cx_x4.yml and srgan_vgg_x4.yml, in short runs from the
same weights. Three weights of each loss are tried, a factor of 3 apart, with one seed. The weight with the
lowest LPIPS on the validation images is taken, and two runs with other seeds are added. All three are
measured on the benchmark sets. Finished runs stay in experiments/objectives and are not repeated.

    python scripts/pages/objectives.py
    python scripts/pages/objectives.py --train cx  # train one alone: run vgg on another core at the same time
"""

import argparse
import csv
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev

from _page import command_block, print_every, write_markdown

from srcx.cli import main as srcx
from srcx.errors import SrcxError
from srcx.evaluation import benchmark

ITERATIONS, HALVE_AT, HEADS_ALONE = 240, (160, 200, 224), 40
SEEDS = (0, 1, 2)
START = "srcx/bundled/srgan-cx-x4.parent.safetensors"
SETS, EVERY = ("Set14", "BSD100"), 4
METRICS = ("psnr", "ssim", "lpips", "niqe")


@dataclass(frozen=True)
class Objective:
    """A loss beside the adversarial one, and the weights that are tried."""

    title: str
    file: str
    option: str
    weights: tuple[float, ...]


OBJECTIVES = {
    "cx": Objective("contextual", "srgan_cx_x4", "train:contextual_opt:loss_weight", (0.0667, 0.2, 0.6)),
    "vgg": Objective(
        "perceptual", "srgan_vgg_x4", "train:perceptual_opt:perceptual_weight", (0.002, 0.006, 0.018)
    ),
}


def train(name: str, weight: float, seed: int, root: Path, iterations: int) -> Path:
    """Return the folder of a run; what is missing of it is trained."""
    objective = OBJECTIVES[name]
    run = root / f"{name}_{weight:g}_seed{seed}"
    if not (run / "models/net_g_latest.pth").exists():
        changes = [
            f"name={run.name}",
            f"manual_seed={seed}",
            f"{objective.option}={weight}",
            f"train:total_iter={iterations}",
            f"train:net_d_init_iters={min(HEADS_ALONE, iterations)}",
            f"train:scheduler:milestones={[at * iterations // ITERATIONS for at in HALVE_AT]}",
            f"val:val_freq={iterations}",
            f"path:pretrain_network_g={START}",
            f"path:experiments_root={root}",
        ]
        file = f"options/shipped/{objective.file}.yml"
        if code := srcx(["train", "-opt", file, "--auto_resume", "--force_yml", *changes]):
            sys.exit(code)
    return run


def last_validation(run: Path) -> dict[str, float]:
    """Return the metrics of a run's last validation."""
    with (run / "metrics.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {row["metric"]: float(row["value"]) for row in rows if row["iter"] == rows[-1]["iter"]}


def search(name: str, root: Path, iterations: int) -> dict[float, Path]:
    """Return the runs of the first seed by their weight, the one with the lowest validation LPIPS first."""
    runs = {weight: train(name, weight, SEEDS[0], root, iterations) for weight in OBJECTIVES[name].weights}
    return dict(sorted(runs.items(), key=lambda one: last_validation(one[1])["lpips"]))


def train_all(name: str, root: Path, iterations: int) -> tuple[dict[float, Path], list[Path]]:
    """Return the runs of the search, the best first, and the runs of all seeds with the best weight."""
    searched = search(name, root, iterations)
    best = next(iter(searched))
    return searched, [train(name, best, seed, root, iterations) for seed in SEEDS]


def spread(values: Sequence[float | None]) -> str:
    """Return the mean and the standard deviation of runs.

    Example:
        >>> spread([0.1, 0.2, 0.3])
        '0.2000 ±0.1000'
    """
    numbers = [value for value in values if value is not None]
    digits = 2 if fmean(numbers) > 1 else 4
    return f"{fmean(numbers):.{digits}f} ±{stdev(numbers):.{digits}f}"


def search_table(searched: dict[str, dict[float, Path]]) -> Iterator[str]:
    """Yield the rows of the search, the weight that was taken in bold."""
    yield "| loss | weight | LPIPS | NIQE | PSNR |"
    yield "|---|---|---|---|---|"
    for name, runs in searched.items():
        for weight in OBJECTIVES[name].weights:
            found = last_validation(runs[weight])
            shown = f"**{weight:g}**" if weight == next(iter(runs)) else f"{weight:g}"
            figures = f"{found['lpips']:.4f} | {found['niqe']:.2f} | {found['psnr']:.2f}"
            yield f"| {OBJECTIVES[name].title} | {shown} | {figures} |"


def benchmark_tables(seeds: dict[str, list[Path]], data_root: Path) -> Iterator[str]:
    """Yield a table for each set: mean and standard deviation of the seeds of each objective."""
    models = {run.name: run / "models/net_g_latest.pth" for runs in seeds.values() for run in runs}
    results = benchmark(
        list(models.values()),
        data_root,
        Path("results/objectives"),
        sets=SETS,
        metrics=METRICS,
        every=EVERY,
        on_progress=print_every(50),
    )
    named = dict(zip(models, (model.name for model in results.models), strict=True))
    for one in dict.fromkeys(mean.label for mean in results.means):
        yield from (
            "",
            f"## {one}",
            "",
            f"| loss | {' | '.join(METRICS)} |",
            "|---" * (1 + len(METRICS)) + "|",
        )
        means = {mean.model: mean.metrics for mean in results.means if mean.label == one}
        for name, runs in seeds.items():
            cells = [spread([means[named[run.name]][metric] for run in runs]) for metric in METRICS]
            yield f"| {OBJECTIVES[name].title} | {' | '.join(cells)} |"


def write_page(root: Path, data_root: Path, iterations: int, out: Path, command: str) -> None:
    """Train what is missing, benchmark it, and write OUT/objectives.md.

    Raises:
        SrcxError: of the kind that fits.
    """
    found = {name: train_all(name, root, iterations) for name in OBJECTIVES}
    lines = [
        "# The contextual against the perceptual loss",
        "",
        "Made by the command below, which trains what is missing and computes every figure of this page.",
        "",
        *command_block(command, not_run="trains for most of an hour"),
        "",
        f"Two objectives, each trained from the same weights for {iterations} iterations, with one loss",
        "beside the adversarial one: the contextual loss with the low-frequency term (`srgan_cx_x4.yml`), as",
        "its paper has it, or the perceptual loss (`srgan_vgg_x4.yml`), as SRGAN has it. Both read VGG16's",
        "conv3_3. Networks, discriminator, images and rates are the same. Three weights of each loss were",
        "tried with one seed, each three times the one before. The one in bold has the lowest LPIPS on the",
        "validation images, and was trained with three seeds. Short runs show which loss learns faster:",
        "after 2,600 iterations with one seed, both had nearly the same LPIPS ([terms](terms.md)).",
        "",
        "## The search, on validation images",
        "",
        *search_table({name: searched for name, (searched, _) in found.items()}),
        "",
        "Below are mean and standard deviation of the three seeds with the best weight, on every fourth",
        "image of each set.",
        *benchmark_tables({name: seeds for name, (_, seeds) in found.items()}, data_root),
    ]
    write_markdown(out / "objectives.md", lines)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--train", choices=list(OBJECTIVES), help="train this one alone and write no page")
    parser.add_argument("--iters", type=int, default=ITERATIONS, help=f"iterations of a run ({ITERATIONS})")
    parser.add_argument(
        "--root", type=Path, default=Path("experiments/objectives"), help="folder of the runs"
    )
    parser.add_argument("--data", type=Path, default=Path("datasets/benchmark"))
    parser.add_argument("-o", "--out", type=Path, default=Path("docs"))
    args = parser.parse_args()
    try:
        if args.train:
            train_all(args.train, args.root, args.iters)
        else:
            command = "python scripts/pages/objectives.py"
            command += f" --iters {args.iters}" if args.iters != ITERATIONS else ""
            write_page(args.root, args.data, args.iters, args.out, command)
    except SrcxError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()

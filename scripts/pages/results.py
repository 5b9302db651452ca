r"""Benchmark models and write the page of their results: tables, perception and distortion, crops to look at.

The benchmark stores its figures in results/page. A second run computes only what is new. The crops are of
free images that come with scikit-image, shrunk by MATLAB's bicubic: no benchmark image may be handed on.

    python scripts/pages/results.py --model bicubic srresnet-x4 srgan-cx-x4 \
        experiments/srgan_vgg_x4/models/net_g_latest.pth
"""

import argparse
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from _page import command_block, print_every, side_by_side, write_markdown
from skimage import data

from srcx.atomic import atomic_path, make_folder
from srcx.errors import SrcxError
from srcx.evaluation import benchmark
from srcx.evaluation.report import Results
from srcx.evaluation.report.page import Table, tables
from srcx.evaluation.report.plane import plane_svg, planes
from srcx.imaging import ImageArray, imresize, write_image
from srcx.inference.load import load_model

SETS = ("Set5", "Set14", "BSD100")
METRICS = ("psnr", "ssim", "lpips", "dists", "niqe", "rmse")
IMAGES = ("astronaut", "chelsea", "coffee", "rocket")
SCALE = 4  # of the crops and of the plane
CROP_PX = 128
PLACES = {"astronaut": (64, 176), "chelsea": (88, 152), "coffee": (96, 248), "rocket": (232, 256)}
"""Top and left of each crop, multiples of the scale: a face, fur, metal, lattice."""
TIMED_SHAPE, TIMED_RUNS = (180, 320, 3), 5


class Target(NamedTuple):
    """What a model is to reach on the sets, by one metric, and whose figures these are."""

    model: str
    metric: str
    figures: tuple[float | None, ...]
    source: str


TARGETS = (
    Target("srresnet-x4", "psnr", (32.05, 28.49, 27.58), "SRResNet, published (arXiv:1609.04802)"),
    Target("fast-x4", "psnr", (31.601, 28.155, 27.389), "`srresnet-x4`"),
    Target("srgan-cx-x4", "lpips", (0.0882, 0.1663, 0.1980), "SRGAN, published (table of arXiv:2003.13081)"),
    Target("srgan-cx-x4", "lpips", (0.0748, 0.1329, 0.1614), "ESRGAN, published (the same table)"),
    Target("srgan-cx-x4", "niqe", (None, None, 3.3), "the contextual loss, published (arXiv:1803.04626)"),
    Target("srgan-cx-x4", "psnr", (None, None, 25.46), "SRGAN, published (table of arXiv:2003.13081)"),
)
"""On `SETS`; None where there is no target. Published figures are by their authors' code."""


class Cost(NamedTuple):
    """What a model takes: its number of weights, and the median time of an image."""

    name: str
    weights: int
    time_s: float


def cost(model: str) -> Cost:
    """Measure the time of a model."""
    upscaler = load_model(model)
    net = upscaler.model.net
    weights = sum(weight.numel() for weight in net.parameters()) if net else 0
    image = np.random.default_rng(0).integers(0, 256, TIMED_SHAPE, np.uint8)
    upscaler(image)  # measures the backends
    times = []
    for _ in range(TIMED_RUNS):
        start = time.perf_counter()
        upscaler(image)
        times.append(time.perf_counter() - start)
    return Cost(upscaler.model.name, weights, statistics.median(times))


def beside_targets(results: Results) -> Iterator[str]:
    """Yield the rows of what the models are to reach, what is reached in bold."""
    yield f"| model | metric | {' | '.join(SETS)} | target | of |"
    yield "|---" * (4 + len(SETS)) + "|"
    for target in TARGETS:
        figures = {one.set: one.metrics[target.metric] for one in results.means if one.model == target.model}
        if not figures:
            continue
        higher = results.metrics[target.metric] == "higher"
        digits, cells = 4 if target.metric == "lpips" else 3, []
        for name, wanted in zip(SETS, target.figures, strict=True):
            value = float(figures[name] or 0)
            reached = wanted is not None and (value >= wanted if higher else value <= wanted)
            cells.append(f"**{value:.{digits}f}**" if reached else f"{value:.{digits}f}")
        wanted_text = ", ".join("–" if one is None else f"{one:g}" for one in target.figures)
        yield f"| {target.model} | {target.metric} | {' | '.join(cells)} | {wanted_text} | {target.source} |"


def page(
    results: Results,
    command: str,
    names: Sequence[str],
    costs: Sequence[Cost],
    strips: dict[str, str],
    plane: str,
) -> list[str]:
    """Return the lines of the page in Markdown."""
    parts = [
        "# Results",
        "",
        "Made by the command below, which computes every figure of this page; nothing is written by hand.",
        "",
        *command_block(command, not_run="needs the benchmark sets and trained models"),
        "",
        f"{results.protocol['text']}. LPIPS is AlexNet's, DISTS is VGG16's, both on RGB. Versions: "
        + ", ".join(f"{name} {number}" for name, number in results.versions.items())
        + ". Rows in italics are published, not ours. Bold is the best of ours.",
        "",
    ]
    for table in tables(results):
        parts += [f"## {table.title}", "", *_markdown(table, list(results.metrics)), ""]
    parts += [f"No {sentence}." for sentence in results.missing()]
    parts += [
        "## Beside what is published",
        "",
        "Figures that reach their target are in bold. The targets are those of Set5, Set14 and BSD100, in "
        "this order.",
        "",
        *beside_targets(results),
        "",
    ]
    (height, width), threads = TIMED_SHAPE[:2], torch.get_num_threads()
    parts += [
        "## Cost",
        "",
        f"An image of {width} x {height} pixels, by the backend that srcx chooses on this machine with "
        f"{threads} thread{'s' * (threads > 1)}. Median of {TIMED_RUNS} runs.",
        "",
        "| model | weights | time |",
        "|---|---|---|",
        *(f"| {one.name} | {one.weights:,} | {one.time_s:.2f} s |" for one in costs),
    ]
    parts += ["", "## Perception and distortion on BSD100 x4", "", f"![PSNR against NIQE]({plane})", ""]
    parts += ["## Crops", "", f"From left to right: {', '.join(('ground truth', *names))}.", ""]
    for image, file in strips.items():
        parts += [f"![{image}]({file})", ""]
    return parts


def _markdown(table: Table, metrics: Sequence[str]) -> Iterator[str]:
    yield f"| model | {' | '.join(metrics)} |"
    yield "|---" * (1 + len(metrics)) + "|"
    for row in table.rows:
        cells = [f"**{cell.text}**" if cell.best else cell.text for cell in row.cells]
        yield f"| {f'*{row.name}*' if row.published else row.name} | {' | '.join(cells)} |"


def strip(image: str, models: Sequence[str | Path]) -> ImageArray:
    """The same square of the ground truth and of every model's result, side by side."""
    whole = getattr(data, image)()
    height, width = (side - side % SCALE for side in whole.shape[:2])
    gt = whole[:height, :width]
    lq = imresize(gt, size=(height // SCALE, width // SCALE))
    top, left = PLACES[image]
    square = np.s_[top : top + CROP_PX, left : left + CROP_PX]
    crops = [gt[square], *(load_model(model, precision="fp32")(lq)[square] for model in models)]
    return side_by_side(crops)


def write_page(models: Sequence[str], data_root: Path, out: Path, command: str) -> None:
    """Benchmark the models and write OUT/results.md with its figures in OUT/results/.

    Raises:
        SrcxError: as `benchmark`.
    """
    results = benchmark(
        models, data_root, Path("results/page"), sets=SETS, metrics=METRICS, on_progress=print_every(50)
    )
    figures = make_folder(out / "results")
    (bsd100,) = (
        one for one in planes(results.means) if one.x_metric == "psnr" and one.title == f"BSD100 x{SCALE}"
    )
    with atomic_path(figures / "plane.svg") as temporary:
        temporary.write_text(plane_svg(bsd100), "utf-8")
    shown = [one for one in models if load_model(one).model.scale == SCALE]
    for image in IMAGES:
        write_image(figures / f"{image}.webp", strip(image, shown))
    lines = page(
        results,
        command,
        [model.name for model in results.models if model.scale == SCALE],
        [cost(model) for model in models],
        {image: f"results/{image}.webp" for image in IMAGES},
        "results/plane.svg",
    )
    write_markdown(out / "results.md", lines)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", nargs="+", required=True, help="names or checkpoints, in the page's order")
    parser.add_argument("--data", type=Path, default=Path("datasets/benchmark"))
    parser.add_argument("-o", "--out", type=Path, default=Path("docs"))
    args = parser.parse_args()
    command = f"python scripts/pages/results.py --model {' '.join(args.model)}"
    try:
        write_page(args.model, args.data, args.out, command)
    except SrcxError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()

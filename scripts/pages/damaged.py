"""Write docs/damaged.md: models on damaged sets by LPIPS and DISTS, and crops of damaged photographs.

    python scripts/pages/damaged.py --model bicubic srresnet-x4 srgan-cx-x4 real-x4 \
        --data datasets/benchmark

The benchmark stores its results in results/damaged. A second run computes only what is new.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from _page import print_every, side_by_side, write_markdown
from skimage import data

from srcx.atomic import make_folder
from srcx.config import load_degradation
from srcx.data.degradation import degrade, seeded
from srcx.errors import SrcxError
from srcx.evaluation import benchmark
from srcx.evaluation.report import MeanResult
from srcx.imaging import ImageArray, imresize, write_image
from srcx.inference import Upscaler, load_model

DEGRADATIONS = ("web", "phone", "old")
METRICS = ("lpips", "dists", "psnr")
SCALE = 4
SQUARE_PX = 64  # of lq
PLACES = {"coffee": (72, 180), "astronaut": (12, 140), "rocket": (150, 260)}
"""Corner of the square in each photograph, which the degradations are shown on in turn."""
GAP_PX = 6


def table(means: Sequence[MeanResult], models: Sequence[str], label: str) -> Iterator[str]:
    """Yield the rows of one damaged set, the best figures in bold."""
    rows = {mean.model: mean.metrics for mean in means if mean.label == label}
    best = {
        metric: (max if metric == "psnr" else min)(float(rows[model][metric] or 0) for model in models)
        for metric in METRICS
    }
    yield f"| {label} | {' | '.join(METRICS)} |"
    yield "|---" * (1 + len(METRICS)) + "|"
    for model in models:
        cells = []
        for metric in METRICS:
            value = float(rows[model][metric] or 0)
            text = f"{value:.2f}" if metric == "psnr" else f"{value:.4f}"
            cells.append(f"**{text}**" if value == best[metric] else text)
        yield f"| {model} | {' | '.join(cells)} |"
    yield ""


def strip(image: str, degradation: str, upscalers: Sequence[Upscaler]) -> ImageArray:
    """Return a square of a damaged photograph by bicubic and by every model, side by side."""
    whole = getattr(data, image)()
    gt = whole[: whole.shape[0] // SCALE * SCALE, : whole.shape[1] // SCALE * SCALE]
    options = load_degradation(degradation)
    lq = degrade(gt, options, scale=SCALE, rng=seeded(0, options, image))
    top, left = (place // SCALE for place in PLACES[image])
    square = lq[top : top + SQUARE_PX, left : left + SQUARE_PX]
    results = [imresize(square, scale=SCALE), *(upscaler(square) for upscaler in upscalers)]
    return side_by_side(results, gap_px=GAP_PX)


def write_page(models: Sequence[str], data_root: Path, out: Path, *, every: int, command: str) -> None:
    """Benchmark the models and write OUT/damaged.md with its strips in OUT/damaged/.

    Raises:
        SrcxError: as `benchmark`.
    """
    results = benchmark(
        models,
        data_root,
        Path("results/damaged"),
        sets=("Set14", "BSD100"),
        metrics=METRICS,
        degrade=DEGRADATIONS,
        every=every,
        on_progress=print_every(20),
    )
    lines = [
        "# Damaged images",
        "",
        f"Made by `{command}`: x{SCALE}, lq made of the ground truth by the presets with seed 0.",
        "LPIPS and DISTS: lower is better. `real-x4` was trained on LPIPS, so DISTS stands beside it.",
        "NIQE is left out: it takes noise for natural texture."
        + (f" Every {every}th image of each set." if every > 1 else ""),
        "",
    ]
    for label in dict.fromkeys(mean.label for mean in results.means):
        lines += table(results.means, [model.name for model in results.models], label)
    networks = [model for model in models if model != "bicubic"]
    lines += [
        "## Damaged photographs",
        "",
        f"Photographs of scikit-image. From left to right: bicubic, {', '.join(networks)}.",
        "",
    ]
    upscalers = [load_model(model, precision="fp32") for model in networks]
    folder = make_folder(out / "damaged")
    for image, degradation in zip(PLACES, DEGRADATIONS, strict=True):
        write_image(folder / f"{image}.webp", strip(image, degradation, upscalers), quality=85)
        lines += [f"{image}, {degradation}", "", f"![{image}](damaged/{image}.webp)", ""]
    write_markdown(out / "damaged.md", lines)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", nargs="+", required=True, help="names or checkpoints, in the page's order")
    parser.add_argument("--data", type=Path, default=Path("datasets/benchmark"))
    parser.add_argument("--every", type=int, default=1, help="take every N-th image of each set (1)")
    parser.add_argument("-o", "--out", type=Path, default=Path("docs"))
    args = parser.parse_args()
    every = f" --every {args.every}" if args.every > 1 else ""
    command = f"python scripts/pages/damaged.py --model {' '.join(args.model)}{every}"
    try:
        write_page(args.model, args.data, args.out, every=args.every, command=command)
    except SrcxError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()

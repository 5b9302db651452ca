"""Write docs/damaged.md: models on damaged sets by LPIPS and DISTS, and on images as people have them.

    python scripts/make_damaged_page.py --model bicubic srresnet-x4 srgan-cx-x4 real-x4 \
        --data datasets/benchmark --images datasets/real

The benchmark is kept in results/damaged: a second run computes only what is new.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from srcx.atomic import atomic_path, make_folder
from srcx.benchmark import benchmark
from srcx.errors import SrcxError
from srcx.imaging import Picture, imresize, list_pictures, read_picture, write_picture
from srcx.imaging.color import to_rgb
from srcx.inference import Upscaler, load_model
from srcx.report import MeanResult

DEGRADATIONS = ("web", "phone", "old")
METRICS = ("lpips", "dists", "psnr")
SCALE = 4
SQUARE_PX = 64  # of the input
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


def strip(image: Picture, upscalers: Sequence[Upscaler]) -> Picture:
    """Return the square of the input with the most contrast, by bicubic and by every model, side by side."""
    y = image.astype(np.float32).mean(axis=2)
    places = [
        (top, left)
        for top in range(0, max(1, y.shape[0] - SQUARE_PX + 1), SQUARE_PX // 2)
        for left in range(0, max(1, y.shape[1] - SQUARE_PX + 1), SQUARE_PX // 2)
    ]
    top, left = max(places, key=lambda at: float(y[at[0] :, at[1] :][:SQUARE_PX, :SQUARE_PX].std()))
    square = np.s_[top * SCALE : (top + SQUARE_PX) * SCALE, left * SCALE : (left + SQUARE_PX) * SCALE]
    results = [imresize(image, scale=SCALE), *(upscaler(image) for upscaler in upscalers)]
    gap = np.full((SQUARE_PX * SCALE, GAP_PX, 3), 255, np.uint8)
    return np.hstack([piece for result in results for piece in (gap, result[square])][1:])


def write_page(models: Sequence[str], data_root: Path, images: Path, out: Path, command: str) -> None:
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
        tell=_tell,
    )
    lines = [
        "# Damaged images",
        "",
        f"Made by `{command}`: x{SCALE}, lq made of the ground truth by the presets with seed 0.",
        "LPIPS and DISTS: lower is better. `real-x4` was trained on LPIPS, so DISTS stands beside it.",
        "NIQE is left out: it takes noise for natural texture.",
        "",
    ]
    for label in dict.fromkeys(mean.label for mean in results.means):
        lines += table(results.means, [model.name for model in results.models], label)
    networks = [model for model in models if model != "bicubic"]
    lines += [
        "## Images as people have them",
        "",
        f"Squares of {SQUARE_PX} pixels. From left to right: bicubic, {', '.join(networks)}.",
        "",
    ]
    upscalers = [load_model(model, precision="fp32") for model in networks]
    folder = make_folder(out / "damaged")
    for path in list_pictures(images):
        write_picture(folder / f"{path.stem}.webp", strip(to_rgb(read_picture(path)), upscalers), quality=85)
        lines += [f"{path.name}", "", f"![{path.name}](damaged/{path.stem}.webp)", ""]
    with atomic_path(out / "damaged.md") as temporary:
        temporary.write_text("\n".join(lines), "utf-8")


def _tell(what: str, done: int, total: int) -> None:
    if done % 20 == 0 or done == total:
        print(f"{done} of {total}: {what}", file=sys.stderr)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", nargs="+", required=True, help="names or checkpoints, in the page's order")
    parser.add_argument("--data", type=Path, default=Path("datasets/benchmark"))
    parser.add_argument("--images", type=Path, default=Path("datasets/real"), help="without ground truth")
    parser.add_argument("-o", "--out", type=Path, default=Path("docs"))
    args = parser.parse_args()
    command = f"python scripts/make_damaged_page.py --model {' '.join(args.model)}"
    try:
        write_page(args.model, args.data, args.images, args.out, command)
    except SrcxError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()

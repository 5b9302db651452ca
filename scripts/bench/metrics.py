r"""Time the evaluators beside others that give the same figures, in one run on one thread.

NIQE beside BasicSR's; Ma's features beside pyiqa's (where installed) and the authors' own code (from recorded
CPU times); then PSNR, SSIM, LPIPS, NIQE and Ma's features over a whole set on some processes.

    python scripts/bench/metrics.py --data ../shared/data/benchmark \
        --recorded ../shared/reference/metrics.json
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch and numpy look

import argparse
import importlib.util
import json
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from srcx.basicsr_compat.importing import open_basicsr
from srcx.errors import BasicSRError
from srcx.imaging.color import rgb_to_y
from srcx.imaging.io import list_images, read_image
from srcx.imaging.resize import imresize
from srcx.metrics import lpips, ma_features, niqe, psnr, ssim

ImageArray = NDArray[np.uint8]


class Comparison(NamedTuple):
    """Seconds of CPU time for each image, ours and theirs."""

    what: str
    whose: str
    ours_s: float
    theirs_s: float
    wanted: float

    @property
    def faster(self) -> float:
        return self.theirs_s / self.ours_s


def cpu_seconds(work: Callable[[ImageArray], object], images: list[ImageArray], repeats: int) -> float:
    """CPU time for each image: the median over the repeats of the mean over the images."""
    work(images[0])  # tables are made at the first call
    times = []
    for _ in range(repeats):
        start = time.process_time()
        for image in images:
            work(image)
        times.append((time.process_time() - start) / len(images))
    return statistics.median(times)


def compare_niqe(images: list[ImageArray], repeats: int) -> Iterator[Comparison]:
    """NIQE on Y, 4 pixels shaved, beside `basicsr.metrics.calculate_niqe`."""
    try:
        theirs = open_basicsr("basicsr.metrics").calculate_niqe
    except BasicSRError as error:
        print(f"NIQE beside BasicSR: not done: {error}", file=sys.stderr)
        return
    # As tests of BasicSR hand images over: BGR in one piece.
    turned = [np.ascontiguousarray(image[..., ::-1]) for image in images]
    theirs_s = cpu_seconds(lambda image: theirs(image, crop_border=4), turned, repeats)
    yield Comparison("NIQE", "BasicSR", cpu_seconds(niqe, images, repeats), theirs_s, 5)


def compare_ma(images: list[ImageArray], repeats: int, recorded: Path | None) -> Iterator[Comparison]:
    """Ma's features on Y, 4 pixels shaved, beside the authors' recorded times and pyiqa's functions."""
    ours_s = cpu_seconds(ma_features, images, repeats)
    if recorded is not None:
        stock = json.loads(recorded.read_text())["ma_feature_times"]["ma_stock"]
        of_set5 = [one["cpu_s"] for key, one in stock.items() if key.startswith("pirm__Set5")]
        yield Comparison(
            "Ma's features", "the authors' code, as recorded", ours_s, statistics.median(of_set5), 30
        )
    if importlib.util.find_spec("pyiqa") is None:
        print("Ma's features beside pyiqa: not done: pyiqa is not installed", file=sys.stderr)
        return
    theirs_s = cpu_seconds(pyiqa_features, images, repeats)
    yield Comparison("Ma's features", "pyiqa", ours_s, theirs_s, 3)


def pyiqa_features(image: ImageArray) -> object:
    """The same 138 numbers from pyiqa's `nrqm`, without its forests."""
    nrqm = importlib.import_module("pyiqa.archs.nrqm_arch")
    y = np.ascontiguousarray(rgb_to_y(image)[4:-4, 4:-4])
    batch = torch.from_numpy(y.astype(np.float64))[None, None]
    scales = nrqm.get_gauss_pyramid(batch / 255)
    dct = [nrqm.block_dct(scale) for scale in scales]
    pca = [torch.linalg.svd(nrqm.im2col(scale, 5, "distinct"), full_matrices=False)[1] for scale in scales]
    return dct, nrqm.global_gsm(batch), pca


def score_image(pair: tuple[Path, Path]) -> tuple[float, ...]:
    """Every evaluator on the bicubic x4 of one LR image."""
    lr, hr = pair
    gt: Any = read_image(hr)
    sr: Any = imresize(read_image(lr), scale=4)
    dct, gsm, pca = ma_features(sr)
    return psnr(sr, gt), ssim(sr, gt), lpips(sr, gt), niqe(sr), float(dct.sum() + gsm.sum() + pca.sum())


def limit_threads() -> None:
    """One thread for each process."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)


def time_whole_set(folder: Path, processes: int) -> tuple[float, int, list[float]]:
    """Wall seconds, images, and the means of the scores."""
    pairs = list(zip(list_images(folder / "LR_bicubic" / "X4"), list_images(folder / "HR"), strict=True))
    start = time.perf_counter()
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context, initializer=limit_threads) as pool:
        scores = list(pool.map(score_image, pairs))
    return time.perf_counter() - start, len(pairs), [float(mean) for mean in np.mean(scores, axis=0)]


def main() -> int:
    """Run all timings and print them; exit 1 where one is slower than wanted."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with Set5 and BSD100, each with HR and LR_bicubic/X4"
    )
    parser.add_argument("--recorded", type=Path, help="metrics.json with the CPU times of the authors' code")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--processes", type=int, default=2, help="for the whole set; 0 leaves it out")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    limit_threads()

    # Some of both shapes of BSD100 and Set5, whose images the authors' code was timed on.
    few: list[Any] = [read_image(path) for path in list_images(options.data / "BSD100" / "HR")[:6]]
    few += [read_image(path) for path in list_images(options.data / "Set5" / "HR")]
    comparisons = [*compare_niqe(few, options.repeats)]
    comparisons += compare_ma(few, max(1, options.repeats // 2), options.recorded)
    table = Table("figure", "beside", "ours (CPU s)", "theirs (CPU s)", "times faster", "wanted")
    for one in comparisons:
        numbers = (f"{one.ours_s:.4f}", f"{one.theirs_s:.4f}", f"{one.faster:.1f}", f"{one.wanted:.0f}")
        table.add_row(one.what, one.whose, *numbers)
    Console(width=120).print(table)

    figures: dict[str, Any] = {"comparisons": [one._asdict() for one in comparisons]}
    slow = any(one.faster < one.wanted for one in comparisons)
    if options.processes:
        wall_s, count, means = time_whole_set(options.data / "BSD100", options.processes)
        print(
            f"BSD100: psnr ssim lpips niqe ma_features of {count} images in {wall_s:.0f} s "
            f"on {options.processes} processes"
        )
        figures["whole_set"] = {"wall_s": wall_s, "images": count, "means": means}
        slow = slow or wall_s > 180
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2))
    return int(slow)


if __name__ == "__main__":
    sys.exit(main())

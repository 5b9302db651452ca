"""Align pairs of one scene taken with two lenses or zooms, and measure the remaining shift."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from srcx.atomic import make_folder, real_path
from srcx.counted import counted
from srcx.errors import DataError, ImageError, SrcxError, UsageError
from srcx.imaging.color import rgb_to_grey, to_rgb
from srcx.imaging.io import read_image, write_image
from srcx.imaging.resize import imresize
from srcx.lock import hold_folder
from srcx.prepare.recipe import shared_name, sources
from srcx.prepare.shifts import Floats, block_shifts, register, smooth
from srcx.progress import OnProgress

__all__ = ["Aligned", "Fit", "Shifts", "align", "align_folders", "find_pairs", "together"]

ImageArray = NDArray[np.uint8]
Matrix = NDArray[np.float64]
Scalar = TypeVar("Scalar", bound=np.generic)

LONGEST_SIDE_PX = 1600
"""Larger images are shrunk to this before the alignment; its error stays a fraction of a pixel."""
LEAST_SIDE_PX = 400
"""Smaller images are enlarged to this before features are detected."""
BETTER_THAN_SECOND = 0.75
"""Lowe's test: a feature's best match is nearer than this share of its second best."""
MOST_FEATURES = 4000
LEAST_AGREEING = 15
LEAST_CORRELATION = 0.6
"""Least correlation of aligned images of one scene."""
LEAST_SIDE_LEFT_PX = 16
LARGEST_ZOOM = 16


@dataclass(frozen=True)
class Shifts:
    """Shifts of the blocks of one pair, or of several together, in ground-truth pixels."""

    lengths: Floats
    """Of all blocks; NaN where none could be measured."""

    def figures(self) -> dict[str, float | None]:
        """Return median, 90th percentile and maximum of the shifts, and the share of measured blocks."""
        measured = self.lengths[np.isfinite(self.lengths)]
        share = len(measured) / len(self.lengths) if len(self.lengths) else 0.0
        if not len(measured):
            return {"median": None, "90 %": None, "max": None, "measured": share}
        middle, most = np.percentile(measured, [50, 90])
        return {"median": float(middle), "90 %": float(most), "max": float(measured.max()), "measured": share}


def together(shifts: Sequence[Shifts]) -> Shifts:
    """Return one `Shifts` with the blocks of all."""
    return Shifts(np.concatenate([one.lengths for one in shifts]))


@dataclass(frozen=True)
class Fit:
    """Result of the alignment of one pair."""

    homography: Matrix
    """Maps pixels (x, y, 1) of the original ground truth to those of the original lq."""
    zoom: float
    """Original ground-truth pixels per lq pixel, along one side."""
    before: Shifts | None
    """Before the alignment; None unless ground truth was `scale` times the size of lq."""
    after: Shifts


@dataclass(frozen=True)
class Aligned:
    """A pair that shows one place, ground truth `scale` times as large."""

    lq: ImageArray
    gt: ImageArray
    fit: Fit


def align(lq: ImageArray, gt: ImageArray, *, scale: int) -> Aligned:
    """Align ground truth to the part of lq that it shows, and measure the remaining shift.

    Tried are a homography on which SIFT features agree, the guess that both show the same field of view, and
    what ECC makes of these two; the one under which most blocks lie where they should is taken. Ground truth
    is then warped once, by bicubic interpolation, after MATLAB's bicubic has shrunk it where it has more
    pixels than `scale` asks for.

    Args:
        lq: uint8 RGB, (h, w, 3).
        gt: uint8 RGB of any size, of the same place or a part of it.
        scale: Ground truth is to be this much larger.

    Raises:
        ImageError: the two do not show one scene, or too little of it.
    """
    still, full = _grey(lq), _grey(gt)
    homography, correlation, agreeing = _homography(still, full)
    if correlation < LEAST_CORRELATION:
        raise ImageError(
            f"the images do not match: {agreeing} features agree, and the aligned images "
            f"correlate by {max(correlation, 0):.2f}, where {LEAST_CORRELATION} is needed; is it one scene?"
        )
    top, left, bottom, right = _inside(homography, gt.shape[:2], lq.shape[:2])
    if min(bottom - top, right - left) < LEAST_SIDE_LEFT_PX:
        raise ImageError(
            f"the images share {max(right - left, 0)} x {max(bottom - top, 0)} lq pixels, where "
            f"{LEAST_SIDE_LEFT_PX} a side are needed; is it one scene?"
        )
    zoom = _zoom(homography, gt.shape[:2])
    part = np.ascontiguousarray(lq[top:bottom, left:right])
    warped = _warped(gt, homography, zoom, (top, left), part.shape[:2], scale)
    same_size = gt.shape[:2] == (lq.shape[0] * scale, lq.shape[1] * scale)
    before = _shifts(lq, gt, scale) if same_size else None
    return Aligned(part, warped, Fit(homography, zoom, before, _shifts(part, warped, scale)))


def find_pairs(lq: Path, gt: Path) -> list[tuple[str, Path, Path]]:
    """Return names and images of pairs: two files, or two folders by names without x2, x3, x4 or x8.

    Raises:
        DataError: a folder is missing or empty, or an image has no partner.
    """
    if lq.is_file() and gt.is_file():
        return [(shared_name(gt), lq, gt)]
    lqs, gts = ({shared_name(path): path for path in sources(folder, shared_name)} for folder in (lq, gt))
    alone = [str((lqs | gts)[name]) for name in sorted(lqs.keys() ^ gts.keys())]
    if alone:
        raise DataError(
            f"{lq} and {gt}: {counted(len(alone))} without a partner of the same name ({alone[0]} ...); "
            "rename them, or name two files"
        )
    return [(name, lqs[name], path) for name, path in gts.items()]


def align_folders(
    lq: Path, gt: Path, *, scale: int, out: Path | None, on_progress: OnProgress
) -> Iterator[tuple[str, Fit | SrcxError]]:
    """Align pair after pair; with `out`, write OUT/lq/NAME.png and OUT/gt/NAME.png.

    Yields:
        Each pair's name with its fit or its error; without pixels, so that a list of all stays small.

    Raises:
        DataError: as `find_pairs`.
        UsageError: OUT/lq or OUT/gt is a folder of inputs, which the results would replace.
        OutputError: an image cannot be written, or another process writes to `out`.
    """
    pairs = find_pairs(lq, gt)
    inputs = {real_path(path.parent) for _, *both in pairs for path in both}
    for folder in (out / "lq", out / "gt") if out else ():
        if real_path(folder) in inputs:
            raise UsageError(
                f"{folder}: holds inputs, which the results would replace or mix with; name another --write"
            )
    is_held = False
    with ExitStack() as lock:
        for done, (name, lq_path, gt_path) in enumerate(pairs, start=1):
            try:
                aligned = align(to_rgb(read_image(lq_path)), to_rgb(read_image(gt_path)), scale=scale)
            except ImageError as error:
                yield name, error
            else:
                if out:
                    if not is_held:  # only now: where no pair can be aligned, no folder is made
                        lock.enter_context(hold_folder(out))
                        is_held = True
                    write_image(make_folder(out / "lq") / f"{name}.png", aligned.lq)
                    write_image(make_folder(out / "gt") / f"{name}.png", aligned.gt)
                yield name, aligned.fit
            on_progress(name, done, len(pairs))


def _homography(still: Floats, full: Floats) -> tuple[Matrix, float, int]:
    """Return the homography from gt to lq pixels, the correlation, and the number of agreeing features."""
    handy = _resized(still, min(LONGEST_SIDE_PX / max(still.shape), 1))
    by_features, agreeing = _by_features(handy, full)
    guesses = [_resizing(full.shape, handy.shape)]
    if by_features is not None:
        guesses.append(by_features)
    # Where a scene has depth, ECC favours bright parts over well-aligned ones, so it is not always better.
    guesses += [refined for guess in guesses if (refined := _refined(handy, full, guess)) is not None]
    fits = {number: _fit_quality(handy, full, guess) for number, guess in enumerate(guesses)}
    best = max(fits, key=lambda number: fits[number])
    return _resizing(handy.shape, still.shape) @ guesses[best], fits[best][1], agreeing


def _fit_quality(still: Floats, full: Floats, homography: Matrix) -> tuple[float, float]:
    """Return the blocks' mean of 1 / (1 + shift²), and the correlation of the overlapping parts."""
    zoom = _zoom(homography, full.shape)
    top, left, bottom, right = _inside(homography, full.shape, still.shape)
    if not 1 / LARGEST_ZOOM < zoom < LARGEST_ZOOM or min(bottom - top, right - left) < LEAST_SIDE_LEFT_PX:
        return 0.0, 0.0
    part = still[top:bottom, left:right]
    warped = _warped(full, homography, zoom, (top, left), part.shape, 1)
    squares = (block_shifts(part, warped)[1] ** 2).sum(1)
    correlation = np.corrcoef(part.ravel(), warped.ravel())[0, 1] if part.std() and warped.std() else 0.0
    return float(np.nan_to_num(1 / (1 + squares)).mean()), float(correlation)


def _by_features(still: Floats, full: Floats) -> tuple[Matrix | None, int]:
    """Return a homography on which features agree, or None, and their number."""
    (small_still, from_still), (small_full, from_full) = _for_features(still), _for_features(full)
    sift = cv2.SIFT.create(MOST_FEATURES)
    (points, features), (gt_points, gt_features) = (
        sift.detectAndCompute(image.clip(0, 255).astype(np.uint8), None)
        for image in (small_still, small_full)
    )
    if features is None or gt_features is None or min(len(points), len(gt_points)) < LEAST_AGREEING:
        return None, 0
    matches = cv2.BFMatcher().knnMatch(gt_features, features, k=2)
    good = [best for best, second in matches if best.distance < BETTER_THAN_SECOND * second.distance]
    if len(good) < LEAST_AGREEING:
        return None, len(good)
    source = np.array([gt_points[match.queryIdx].pt for match in good], np.float32)
    target = np.array([points[match.trainIdx].pt for match in good], np.float32)
    matrix, agree = cv2.findHomography(source, target, cv2.USAC_MAGSAC, 3.0)
    count = 0 if agree is None else int(agree.sum())
    if matrix is None or count < LEAST_AGREEING:
        return None, count
    return np.linalg.inv(from_still) @ matrix @ from_full, count


def _refined(still: Floats, full: Floats, guess: Matrix) -> Matrix | None:
    """Refine a homography by ECC on gt shrunk to lq's pixels; None if it does not converge."""
    zoom = _zoom(guess, full.shape)
    top, left, bottom, right = _inside(guess, full.shape, still.shape)
    if not 1 / LARGEST_ZOOM < zoom < LARGEST_ZOOM or min(bottom - top, right - left) < LEAST_SIDE_LEFT_PX:
        return None
    small = _resized(full, min(1 / zoom, 1))
    to_small = _resizing(full.shape, small.shape)
    start = to_small @ np.linalg.inv(guess) @ _moved(left, top)
    start = (start / start[2, 2]).astype(np.float32)
    part = smooth(still)[top:bottom, left:right]
    correlation, warp = register(part, smooth(small), start, cv2.MOTION_HOMOGRAPHY)
    homography = _moved(left, top) @ np.linalg.inv(warp.astype(np.float64)) @ to_small
    return homography / homography[2, 2] if correlation > 0 else None


def _warped(
    gt: NDArray[Scalar],
    homography: Matrix,
    zoom: float,
    corner: tuple[int, int],
    size: tuple[int, ...],
    scale: int,
) -> NDArray[Scalar]:
    """Warp ground truth onto the grid, `scale` times as fine, of the part of lq at `corner`."""
    small = _resized(gt, min(scale / zoom, 1))
    top, left = corner
    out_size = (size[0] * scale, size[1] * scale)
    to_part = _resizing(out_size, size)
    back = _resizing(gt.shape[:2], small.shape[:2]) @ np.linalg.inv(homography) @ _moved(left, top) @ to_part
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    pixels: Any = small  # OpenCV's annotations know no type variables
    warped: Any = cv2.warpPerspective(
        pixels, back, out_size[::-1], flags=flags, borderMode=cv2.BORDER_REPLICATE
    )
    return cast("NDArray[Scalar]", warped)


def _blocks(lq: ImageArray, gt: ImageArray) -> tuple[Floats, Floats]:
    """`block_shifts` of lq and ground truth shrunk to its size."""
    same = gt.shape == lq.shape
    return block_shifts(_grey(lq), _grey(gt if same else imresize(gt, size=lq.shape[:2])))


def _shifts(lq: ImageArray, gt: ImageArray, scale: int) -> Shifts:
    """Return the lengths of the blocks' shifts in ground-truth pixels."""
    return Shifts(np.linalg.norm(_blocks(lq, gt)[1], axis=1) * scale)


def _inside(
    homography: Matrix, gt_size: tuple[int, ...], lq_size: tuple[int, ...]
) -> tuple[int, int, int, int]:
    """Return top, left, bottom and right of an upright part of lq that ground truth covers."""
    height, width = gt_size
    corners = np.array([[[0, 0], [width, 0], [0, height], [width, height]]], np.float64) - 0.5
    x, y = np.round(cv2.perspectiveTransform(corners, homography)[0].T + 0.5, 3)  # edges: pixel 0 begins at 0
    top, bottom = max(y[0], y[1], 0), min(y[2], y[3], lq_size[0])
    left, right = max(x[0], x[2], 0), min(x[1], x[3], lq_size[1])
    return int(np.ceil(top)), int(np.ceil(left)), int(np.floor(bottom)), int(np.floor(right))


def _zoom(homography: Matrix, gt_size: tuple[int, ...]) -> float:
    """Return the ground-truth pixels per lq pixel in the middle of ground truth."""
    x, y = gt_size[1] / 2, gt_size[0] / 2
    square = np.array([[[x, y], [x + 1, y], [x, y + 1]]])
    origin, right, down = cv2.perspectiveTransform(square, homography)[0]
    area = abs(np.linalg.det(np.stack([right - origin, down - origin])))
    return float(1 / np.sqrt(area)) if area > 0 else np.inf


def _resizing(size: tuple[int, ...], new_size: tuple[int, ...]) -> Matrix:
    """Return the matrix from old to new pixels of a resized image, with aligned edges."""
    down, right = new_size[0] / size[0], new_size[1] / size[1]
    return np.array([[right, 0, (right - 1) / 2], [0, down, (down - 1) / 2], [0, 0, 1]])


def _resized(image: NDArray[Scalar], factor: float) -> NDArray[Scalar]:
    """Resize by MATLAB's bicubic to whole pixels; `_resizing` of both sizes gives the matrix."""
    size = (round(image.shape[0] * factor), round(image.shape[1] * factor))
    return image if size == image.shape[:2] else imresize(image, size=size)


def _moved(right: float, down: float) -> Matrix:
    return np.array([[1.0, 0, right], [0, 1, down], [0, 0, 1]])


def _for_features(image: Floats) -> tuple[Floats, Matrix]:
    """Return the image at a size suitable for features, and the matrix to its pixels."""
    longest, shortest = max(image.shape), min(image.shape)
    factor = min(LONGEST_SIDE_PX / longest, max(1.0, LEAST_SIDE_PX / shortest))
    resized = _resized(image, factor)
    return resized, _resizing(image.shape, resized.shape)


def _grey(image: ImageArray) -> Floats:
    return rgb_to_grey(image).astype(np.float32)

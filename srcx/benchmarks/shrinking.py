"""Compare a low-resolution image with the results of the usual methods that shrink an image."""

from collections.abc import Callable
from typing import Literal, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from srcx.benchmarks.manifest import without_copies
from srcx.errors import ImageError
from srcx.imaging.decode import ImageArray
from srcx.imaging.resize import Border, crop_to_multiple, imresize

__all__ = ["METHODS", "Likeness", "Method", "compare"]

Grade = Literal["published", "close", "wrong"]


class Method(NamedTuple):
    """A method that shrinks an image to (height, width); "close" changes tables by at most 0.01 dB."""

    words: str
    grade: Grade
    shrink: Callable[[ImageArray, tuple[int, int]], ImageArray]


class Likeness(NamedTuple):
    """Difference of a low-resolution image from the results of all `METHODS`.

    Args:
        exact: Indices in `METHODS` of those whose result is equal in every pixel.
        nearest: Index of the method with the smallest mean difference.
        mean: Mean absolute difference from that result, in levels of 255.
        most: Largest absolute difference, in levels of 255.
    """

    exact: frozenset[int]
    nearest: int
    mean: float
    most: int


def _matlab(border: Border) -> Callable[[ImageArray, tuple[int, int]], ImageArray]:
    return lambda gt, size: imresize(gt, size=size, border=border)


def _rounded_once(border: Border) -> Callable[[ImageArray, tuple[int, int]], ImageArray]:
    def shrink(gt: ImageArray, size: tuple[int, int]) -> ImageArray:
        small: NDArray[np.float64] = imresize(gt.astype(np.float64), size=size, border=border)
        return np.clip(np.floor(small + 0.5), 0, 255).astype(np.uint8)

    return shrink


def _opencv(method: int) -> Callable[[ImageArray, tuple[int, int]], ImageArray]:
    return lambda gt, size: np.asarray(cv2.resize(gt, size[::-1], interpolation=method), np.uint8)


def _pillow(method: Image.Resampling) -> Callable[[ImageArray, tuple[int, int]], ImageArray]:
    return lambda gt, size: np.asarray(Image.fromarray(gt).resize(size[::-1], method))


def _every_nth(gt: ImageArray, size: tuple[int, int]) -> ImageArray:
    return gt[:: gt.shape[0] // size[0], :: gt.shape[1] // size[1]]


METHODS = (
    Method("MATLAB's imresize, borders repeated", "published", _matlab("replicate")),
    Method("MATLAB's imresize of today, borders mirrored", "close", _matlab("symmetric")),
    Method("MATLAB's weights rounded once, borders repeated", "close", _rounded_once("replicate")),
    Method("MATLAB's weights rounded once, borders mirrored", "close", _rounded_once("symmetric")),
    Method("OpenCV's INTER_CUBIC, which does not antialias", "wrong", _opencv(cv2.INTER_CUBIC)),
    Method("OpenCV's INTER_LINEAR, which does not antialias", "wrong", _opencv(cv2.INTER_LINEAR)),
    Method("OpenCV's INTER_AREA", "wrong", _opencv(cv2.INTER_AREA)),
    Method("OpenCV's INTER_LANCZOS4, which does not antialias", "wrong", _opencv(cv2.INTER_LANCZOS4)),
    Method("Pillow's BICUBIC", "wrong", _pillow(Image.Resampling.BICUBIC)),
    Method("Pillow's LANCZOS", "wrong", _pillow(Image.Resampling.LANCZOS)),
    Method("Pillow's BILINEAR", "wrong", _pillow(Image.Resampling.BILINEAR)),
    Method("taking every nth pixel", "wrong", _every_nth),
)


def compare(lq: ImageArray, gt: ImageArray, scale: int) -> Likeness:
    """Compare a low-resolution image with the result of each method on its ground truth.

    Args:
        lq: uint8, of the size of `gt` divided by `scale` and rounded down.
        gt: uint8; cut to a multiple of `scale` first.
        scale: The factor.

    Raises:
        ImageError: the sizes do not fit, or an image has 16 bits or alpha.
    """
    gt, lq = without_copies(crop_to_multiple(gt, scale)), without_copies(lq)
    size = (gt.shape[0] // scale, gt.shape[1] // scale)
    if lq.shape[:2] != size:
        raise ImageError(
            f"is {lq.shape[1]} x {lq.shape[0]} pixels, and 1/{scale} of its ground truth is "
            f"{size[1]} x {size[0]}"
        )
    for image in (gt, lq):
        if image.dtype != np.uint8 or image.shape[2:] == (4,):
            raise ImageError("or its ground truth has 16 bits or alpha, which no benchmark image has")
    gt, lq = _alike(gt, lq)
    apart = [np.abs(method.shrink(gt, size).astype(np.int16) - lq) for method in METHODS]
    means = [float(one.mean()) for one in apart]
    nearest = int(np.argmin(means))
    exact = frozenset(place for place, mean in enumerate(means) if mean == 0)
    return Likeness(exact, nearest, means[nearest], int(apart[nearest].max()))


def _alike(gt: ImageArray, lq: ImageArray) -> tuple[ImageArray, ImageArray]:
    """Return both as RGB unless both are grey: shrinking may remove or add colours."""
    if gt.ndim == lq.ndim:
        return gt, lq
    return tuple(np.stack([one] * 3, axis=2) if one.ndim == 2 else one for one in (gt, lq))  # type: ignore[return-value] # two

"""MATLAB's bicubic `imresize` to the bit: its weights, its borders, its rounding between the passes."""

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Literal, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from srcx.errors import ImageError

__all__ = ["Border", "crop_to_multiple", "imresize"]

Border = Literal["symmetric", "replicate"]

Scalar = TypeVar("Scalar", bound=np.generic)

BLOCK_BYTES = 1 << 19  # rows are worked on in pieces that stay in the processor's cache


class Taps(NamedTuple):
    """Weights and indices of output rows: sum over k of weights[:, k] * rows[indices[:, k]]."""

    weights: NDArray[np.float64]  # (rows out, taps), each row sums to 1
    indices: NDArray[np.intp]  # (rows out, taps), into the input
    short_sums: bool  # weights times bytes add up exactly in float32, in any order


def imresize(
    image: NDArray[Scalar],
    *,
    scale: float | None = None,
    size: tuple[int, int] | None = None,
    border: Border = "symmetric",
) -> NDArray[Scalar]:
    """Resize as MATLAB's `imresize(image, scale, 'bicubic')` does; shrinking is antialiased.

    Args:
        image: ImageArray (H, W) or (H, W, C); uint8, uint16 or floating.
        scale: Factor for both sides; the new size is rounded up. Give this or `size`.
        size: New (height, width).
        border: What lies outside the image: "symmetric" mirrors it as MATLAB does today, "replicate"
            repeats the edge as MATLAB did when the benchmark sets were made.

    Returns:
        The resized image, of the same type. Integers are rounded half up after each of the two
        passes, as MATLAB does; floating images are not rounded.

    Raises:
        ImageError: the shape, the type or the wanted size is none of the above.

    References:
        Keys, "Cubic convolution interpolation for digital image processing", 1981 (a = -0.5).
        Differs from `torch.nn.functional.interpolate(antialias=True)` on a padded image, which makes
        its weights and sums in the image's precision and one rounding at the end: exact ties fall
        otherwise there. Here sums are exact, or in float64 in MATLAB's order.

    Example:
        >>> imresize(np.array([[0, 100], [100, 200]], np.uint8), size=(2, 4))
        array([[  0,  20,  80, 109],
               [ 91, 120, 180, 209]], dtype=uint8)
    """
    _check(image, scale, size, border)
    height, width = image.shape[:2]
    if size is None:
        assert scale is not None
        scales = (float(scale), float(scale))
        size = (math.ceil(scale * height), math.ceil(scale * width))
    else:
        scales = (size[0] / height, size[1] / width)
    # MATLAB resizes the side with the smaller factor first; rows where they are equal.
    for axis in sorted((0, 1), key=lambda axis: scales[axis]):
        image = _resize_side(image, axis, size[axis], scales[axis], border)
    return np.ascontiguousarray(image)


def _check(
    image: NDArray[np.generic], scale: float | None, size: tuple[int, int] | None, border: str
) -> None:
    if image.ndim not in (2, 3) or 0 in image.shape:
        raise ImageError(
            f"imresize: an image has shape (H, W) or (H, W, C), none of them 0; got {image.shape}"
        )
    if image.dtype not in (np.uint8, np.uint16) and not np.issubdtype(image.dtype, np.floating):
        raise ImageError(f"imresize: an image is uint8, uint16 or floating; got {image.dtype}")
    if (scale is None) == (size is None):
        raise ImageError(f"imresize: give either scale or size; got scale {scale} and size {size}")
    if scale is not None and not (math.isfinite(scale) and scale > 0):
        raise ImageError(f"imresize: scale must be a positive number; got {scale}")
    if size is not None and min(size) < 1:
        raise ImageError(f"imresize: size must be at least (1, 1); got {size}")
    if border not in ("symmetric", "replicate"):
        raise ImageError(f"imresize: border must be 'symmetric' or 'replicate'; got {border!r}")


def _resize_side(
    image: NDArray[Scalar], axis: int, length: int, scale: float, border: Border
) -> NDArray[Scalar]:
    """Resize rows (axis 0) or columns (axis 1, through the turned image, so that rows stay whole)."""
    taps = _taps(image.shape[axis], length, scale, border)
    if taps.weights.shape[1] == 1:  # one input row to each output row: nothing is mixed, so copy
        return image.take(taps.indices[:, 0], axis=axis)
    if axis == 1:
        image = np.ascontiguousarray(image.swapaxes(0, 1))
    rows = image.reshape(image.shape[0], -1)
    resized = _mix_rows(rows, taps).reshape(length, *image.shape[1:])
    return resized.swapaxes(0, 1) if axis == 1 else resized


def _mix_rows(rows: NDArray[Scalar], taps: Taps) -> NDArray[Scalar]:
    """Rows (H, K) mixed by `taps` into (rows out, K), rounded half up and clipped for integers."""
    work = np.float32 if rows.dtype == np.uint8 and taps.short_sums else np.float64
    finish = _finisher(rows.dtype)
    mixed = np.empty((len(taps.weights), rows.shape[1]), rows.dtype)
    step = max(1, BLOCK_BYTES // (rows.shape[1] * np.dtype(work).itemsize))
    for start in range(0, len(mixed), step):
        part = slice(start, start + step)
        mixed[part] = finish(_weighted_sum(rows, taps.weights[part].astype(work), taps.indices[part]))
    return mixed


def _weighted_sum(
    rows: NDArray[np.generic], weights: NDArray[np.floating], indices: NDArray[np.intp]
) -> NDArray[np.floating]:
    """Sum over taps in MATLAB's order, first to last; (rows out, K) in the type of `weights`."""
    first, last = indices.min(), indices.max()
    needed = rows[first : last + 1].astype(weights.dtype)
    indices = indices - first
    total = needed[indices[:, 0]] * weights[:, :1]
    term = np.empty_like(total)
    for tap in range(1, weights.shape[1]):
        np.take(needed, indices[:, tap], axis=0, out=term, mode="clip")
        term *= weights[:, tap : tap + 1]
        total += term
    return total


def _finisher(dtype: np.dtype[np.generic]) -> Callable[[NDArray[np.floating]], NDArray[np.floating]]:
    if np.issubdtype(dtype, np.floating):
        return lambda sums: sums
    # The assignment to an integer array cuts the fraction off, which rounds down what is not negative.
    top = 255 if dtype == np.uint8 else 65535
    return lambda sums: np.clip(np.add(sums, 0.5, out=sums), 0, top, out=sums)


def _cubic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Keys' cubic kernel with a = -0.5, in MATLAB's order of operations."""
    x = np.abs(x)
    x2, x3 = x**2, x**2 * x
    inner, outer = 1.5 * x3 - 2.5 * x2 + 1, -0.5 * x3 + 2.5 * x2 - 4 * x + 2
    return inner * (x <= 1) + outer * ((x > 1) & (x <= 2))


@lru_cache(maxsize=64)
def _taps(length_in: int, length_out: int, scale: float, border: Border) -> Taps:
    """MATLAB's `contributions`: the input rows each output row is made of."""
    stretch = min(scale, 1.0)  # a kernel stretched by 1 / scale is the antialiasing filter
    width = 4 / stretch
    center = np.arange(1, length_out + 1) / scale + 0.5 * (1 - 1 / scale)
    left = np.floor(center - width / 2)
    places = left[:, None] + np.arange(math.ceil(width) + 2)
    weights = stretch * _cubic(stretch * (center[:, None] - places))
    weights /= weights.sum(axis=1, keepdims=True)
    indices = _inside(places.astype(np.intp) - 1, length_in, border)
    used = np.any(weights != 0, axis=0)
    weights, indices = np.ascontiguousarray(weights[:, used]), np.ascontiguousarray(indices[:, used])
    return Taps(weights, indices, _sums_fit_float32(weights))


def _inside(places: NDArray[np.intp], length: int, border: Border) -> NDArray[np.intp]:
    if border == "replicate":
        return places.clip(0, length - 1)
    period = places % (2 * length)
    return np.minimum(period, 2 * length - 1 - period)


def _sums_fit_float32(weights: NDArray[np.float64]) -> bool:
    """Return True if all weights are integer multiples of 2**-15, as at x8, x4, x2, x1/2 and x1/4.

    Their absolute values add up to less than 1.5, so no sum of them times bytes needs more than the
    24 bits of float32.
    """
    steps = weights * 2**15
    return bool((steps == np.rint(steps)).all())


def crop_to_multiple(image: NDArray[Scalar], multiple: int) -> NDArray[Scalar]:
    """Return the upper left part whose sides are multiples of `multiple`, as MATLAB's `modcrop`."""
    height, width = image.shape[:2]
    return image[: height - height % multiple, : width - width % multiple]

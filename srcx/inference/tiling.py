"""Images of any size: mirrored borders for the sizes a network takes, and tiles that fade into each other."""

import itertools
import math
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from srcx.imaging import ImageArray, imresize
from srcx.progress import OnProgress, no_progress

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "MISFIT",
    "MULTIPLES",
    "NoSizeError",
    "Tiling",
    "find_multiple",
    "pad_to_multiple",
    "probe_side",
    "run_padded",
    "run_tiled",
    "upscale_by_bicubic",
]

Images = TypeVar("Images", "Tensor", NDArray[np.float32])
"""(N, C, H, W), of torch or NumPy."""

MULTIPLES = (1, 2, 4, 8, 16, 32, 64)
MIN_PROBE_PX = 17

# Errors of a network that is run on a size or number of channels it is not made for.
MISFIT = (RuntimeError, ValueError, AssertionError, IndexError)

Span = tuple[int, int]
Sample = TypeVar("Sample", bound=np.generic)


class NoSizeError(ValueError):
    """A network runs on no size tried, or its output is not a whole factor larger."""


def pad_to_multiple(lq: Images, multiple_of: int) -> Images:
    """Mirror the right and lower border until height and width are multiples of a number.

    Args:
        lq: (..., H, W), of any size: a border wider than the image is mirrored again and again.
        multiple_of: At least 1.

    Returns:
        (..., H', W'), `lq` itself where nothing is to be added.

    References:
        The mirrored border (without the outermost pixel) of BasicSR's SwinIRModel, HAT and spandrel.

    Example:
        >>> pad_to_multiple(np.array([[1, 2, 3]]), 5)[0]
        array([1, 2, 3, 2, 1])
    """
    height, width = (side + -side % multiple_of for side in lq.shape[-2:])
    return _pad_to_size(lq, height, width)


def _pad_to_size(lq: Images, height: int, width: int) -> Images:
    if height > lq.shape[-2]:
        lq = lq[..., _mirrored(lq.shape[-2], height), :]
    if width > lq.shape[-1]:
        lq = lq[..., _mirrored(lq.shape[-1], width)]
    return lq


def _mirrored(side: int, target: int) -> NDArray[np.intp]:
    """Return the index of each pixel of a mirrored side.

    Example:
        >>> _mirrored(3, 8).tolist()
        [0, 1, 2, 1, 0, 1, 2, 1]
    """
    period = max(2 * (side - 1), 1)
    place = np.arange(target) % period
    return np.minimum(place, period - place) if side > 1 else place


def run_padded(
    net: Callable[[Images], Images], lq: Images, multiple_of: int, size_px: tuple[int, int] | None = None
) -> Images:
    """Run a network on (N, C, H, W) of any size: pad to a multiple, and crop the result to (sH, sW).

    Args:
        net: The network.
        lq: Not larger than `size_px`.
        multiple_of: Height and width that `net` takes are multiples of this.
        size_px: The only height and width that `net` takes; None: it takes others.
    """
    padded = _pad_to_size(lq, *size_px) if size_px else pad_to_multiple(lq, multiple_of)
    sr = net(padded)
    if padded is lq:
        return sr
    scale = sr.shape[-1] // padded.shape[-1]
    return sr[..., : lq.shape[-2] * scale, : lq.shape[-1] * scale]


def find_multiple(output_of: Callable[[int], tuple[int, int]], candidates: Sequence[int]) -> tuple[int, int]:
    """Find which sizes a network takes, and how many times larger its output is.

    Args:
        output_of: Runs the network on a square of this side; returns height and width of its output.
        candidates: Numbers to try, in rising order.

    Returns:
        The number that height and width must be multiples of, and the scale.

    Raises:
        NoSizeError: the network runs on no size tried, or its output is not a whole factor larger.

    Example:
        >>> find_multiple(lambda side: (2 * side, 2 * side), [1, 2, 4])
        (1, 2)
    """
    reason = ""
    for multiple in candidates:
        side = probe_side(multiple, candidates)
        try:
            height, width = output_of(side)
        except MISFIT as error:
            reason = reason or str(error).partition("\n")[0]
            continue
        if height == width and height % side == 0:
            return multiple, height // side
        reason = f"it makes {width} x {height} pixels of {side} x {side}, which is not a whole factor"
    raise NoSizeError(reason)


def probe_side(multiple: int, candidates: Sequence[int]) -> int:
    """Return the smallest side to try that is a multiple of this candidate and of no larger one.

    Example:
        >>> probe_side(2, [1, 2, 4, 6])
        22
    """
    sides = itertools.count(multiple * math.ceil(MIN_PROBE_PX / multiple), multiple)
    larger = [candidate for candidate in candidates if candidate > multiple]
    return next(side for side in sides if all(side % candidate for candidate in larger))


@dataclass(frozen=True)
class Tiling:
    """The sizes by which an image is cut into tiles, all in input pixels."""

    core_px: int
    """Side of the square that each tile contributes."""
    overlap_px: int
    """Surroundings that a tile has beyond its square: the receptive-field radius, and half of `fade_px`."""
    fade_px: int = 8
    """Width of the strip where a tile fades into its neighbour; at most twice the overlap."""
    align_px: int = 1
    """Squares begin at multiples of this. If the overlap is a multiple too, the windows of a network that has
    windows stay where they are in the whole image."""
    least_px: tuple[int, int] = (0, 0)
    """Least height and width of a tile with its surroundings, where the image is as large: at its border, a
    tile is widened inwards. For a network of one size, whose smaller tiles would be padded."""

    def __post_init__(self) -> None:
        if not 0 <= self.fade_px <= 2 * self.overlap_px:
            raise ValueError(
                f"Tiling: fade_px must be from 0 to twice the overlap of {self.overlap_px}, "
                f"which is all that two tiles share; got {self.fade_px}"
            )

    def spans(self, length: int) -> list[Span]:
        """Cut one side of an image into about equal parts of at most `core_px` (if that is aligned).

        Example:
            >>> Tiling(core_px=40, overlap_px=8).spans(100)
            [(0, 34), (34, 68), (68, 100)]
        """
        parts = max(math.ceil(length / self.core_px), 1)
        step = math.ceil(math.ceil(length / parts) / self.align_px) * self.align_px
        return [(start, min(start + step, length)) for start in range(0, length, step)]


BICUBIC_TILING = Tiling(core_px=1024, overlap_px=8, fade_px=0)


def run_tiled(
    image: NDArray[Sample],
    upscale: Callable[[NDArray[Sample]], Any],
    result: ImageArray,
    tiling: Tiling | None,
    on_progress: OnProgress = no_progress,
    *,
    pixels_of: Callable[[Any], ImageArray] = np.asarray,
    overlapped: bool = False,
) -> None:
    """Upscale an image tile by tile into `result`.

    Args:
        image: (H, W) or (H, W, C), of any height, width and type.
        upscale: Upscales a piece of it; called from the left to the right, row by row.
        result: Becomes the upscaled image, the same as of the whole image up to rounding if
            `tiling.overlap_px` covers the receptive-field radius; a whole factor larger.
        tiling: How to cut; None not to.
        on_progress: Called after each tile with "tile", the tiles done and all tiles. An error that it raises
            ends the work.
        pixels_of: Makes an image of what `upscale` returns.
        overlapped: Whether one tile becomes pixels, and part of the result, while the next is upscaled. The
            memory beyond the two images is then that of two tiles, else of one.
    """
    if tiling is None:
        result[...] = pixels_of(upscale(image))
        on_progress("tile", 1, 1)
        return
    height, width = image.shape[:2]
    scale = result.shape[0] // height
    overlap_px, before_px, after_px = tiling.overlap_px, (tiling.fade_px + 1) // 2, tiling.fade_px // 2
    places = list(itertools.product(tiling.spans(height), tiling.spans(width)))
    done = 0
    pending: deque[Future[None]] = deque()
    with ThreadPoolExecutor(1) as placing:  # one thread: a tile fades from those that were placed before it
        for number, (rows, columns) in enumerate(places, start=1):
            input_rows, input_columns = (
                _at_least(_widened(span, overlap_px, overlap_px, length), least, length)
                for span, least, length in zip((rows, columns), tiling.least_px, (height, width), strict=True)
            )
            tile = upscale(image[slice(*input_rows), slice(*input_columns)])
            used = (
                _widened(rows, before_px, after_px, height),  # neighbours then share fade_px, odd or even
                _widened(columns, before_px, after_px, width),
            )
            origin = input_rows[0], input_columns[0]
            place = partial(_place, result, tile, pixels_of, used, origin, scale, tiling.fade_px)
            del tile
            if not overlapped:  # without a thread: where memory is scarce, none can be started
                place()
                on_progress("tile", number, len(places))
                continue
            pending.append(placing.submit(place))
            del place
            while len(pending) > (number < len(places)):
                pending.popleft().result()
                done += 1
                on_progress("tile", done, len(places))


def _widened(span: Span, before: int, after: int, length: int) -> Span:
    return max(span[0] - before, 0), min(span[1] + after, length)


def _at_least(span: Span, least: int, length: int) -> Span:
    start = max(min(span[0], span[1] - least), 0)
    return start, min(max(span[1], start + least), length)


def _place(
    result: ImageArray,
    tile: Any,
    pixels_of: Callable[[Any], ImageArray],
    used: tuple[Span, Span],
    origin: Span,
    scale: int,
    fade_px: int,
) -> None:
    """Put the used part of a tile into the result; fade from an earlier tile where the two overlap."""
    target = result[tuple(slice(scale * start, scale * stop) for start, stop in used)]
    piece = pixels_of(tile)[
        tuple(
            slice(scale * (start - first), scale * (stop - first))
            for (start, stop), first in zip(used, origin, strict=True)
        )
    ]
    down, right = (_fade_in(stop - start, fade_px if start > 0 else 0, scale) for start, stop in used)
    weight = (down[:, None] * right)[(...,) + (None,) * (piece.ndim - 2)]
    mixed = target + (piece.astype(np.float32) - target) * weight
    target[...] = np.where(weight == 1, piece, np.floor(mixed + 0.5)) if fade_px else piece


def _fade_in(length: int, fade_px: int, scale: int) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    """Return a tile's weights along one side, rising from 0 to 1 over the first `fade_px` input pixels."""
    weights = np.ones(scale * length, np.float32)
    steps = min(scale * fade_px, len(weights))
    weights[:steps] = (np.arange(steps, dtype=np.float32) + 0.5) / max(steps, 1)
    return weights


def upscale_by_bicubic(image: ImageArray, result: ImageArray, on_progress: OnProgress = no_progress) -> None:
    """Fill `result` with MATLAB's bicubic of `image`, tile by tile where the factor is whole."""
    size = (result.shape[0], result.shape[1])
    scale = size[0] // image.shape[0]
    if size == (scale * image.shape[0], scale * image.shape[1]):
        run_tiled(image, lambda piece: imresize(piece, scale=scale), result, BICUBIC_TILING, on_progress)
    else:
        result[...] = imresize(image, size=size)
        on_progress("tile", 1, 1)

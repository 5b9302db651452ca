"""Large images in tiles: each is run with its surroundings, and neighbours fade into each other."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from srcx.imaging import ImageArray

__all__ = ["Tiling", "run_tiled"]

Span = tuple[int, int]


@dataclass(frozen=True)
class Tiling:
    """How an image is cut. All lengths are pixels of the input."""

    core_px: int
    """Side of the square each tile is to give."""
    overlap_px: int
    """Surroundings each tile sees beyond its square: the network's reach, and half of `fade_px`."""
    fade_px: int = 8
    """Width of the strip where a tile fades into its neighbour; at most twice the overlap."""
    align_px: int = 1
    """Squares begin at multiples of this: the windows of a network that has windows stay where they are,
    if the overlap is a multiple too."""

    def __post_init__(self) -> None:
        if not 0 <= self.fade_px <= 2 * self.overlap_px:
            raise ValueError(
                f"Tiling: fade_px must be from 0 to twice the overlap of {self.overlap_px}, "
                f"which is all that two tiles both see; got {self.fade_px}"
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


def run_tiled(
    image: ImageArray, enlarge: Callable[[ImageArray], ImageArray], result: ImageArray, tiling: Tiling | None
) -> None:
    """Enlarge an image tile by tile into `result`.

    Args:
        image: (H, W) or (H, W, C), of any height and width.
        enlarge: What enlarges a piece of it; it is called from the left to the right, row by row.
        result: Becomes what `enlarge(image)` gives, up to rounding, if `tiling.overlap_px` covers how far
            a pixel is felt; a whole factor larger. The memory beyond the two images is that of one tile.
        tiling: How to cut; None not to.
    """
    if tiling is None:
        result[...] = enlarge(image)
        return
    height, width = image.shape[:2]
    scale = result.shape[0] // height
    overlap_px, before_px, after_px = tiling.overlap_px, (tiling.fade_px + 1) // 2, tiling.fade_px // 2
    for rows in tiling.spans(height):
        for columns in tiling.spans(width):
            seen_rows, seen_columns = (
                _widened(span, overlap_px, overlap_px, length)
                for span, length in ((rows, height), (columns, width))
            )
            tile = enlarge(image[slice(*seen_rows), slice(*seen_columns)])
            kept_rows, kept_columns = (
                _widened(span, before_px, after_px, length)  # neighbours then share fade_px, odd or even
                for span, length in ((rows, height), (columns, width))
            )
            _place(
                result,
                tile,
                (kept_rows, kept_columns),
                (seen_rows[0], seen_columns[0]),
                scale,
                tiling.fade_px,
            )


def _widened(span: Span, before: int, after: int, length: int) -> Span:
    return max(span[0] - before, 0), min(span[1] + after, length)


def _place(
    result: ImageArray, tile: ImageArray, kept: tuple[Span, Span], seen_from: Span, scale: int, fade_px: int
) -> None:
    """Put the kept part of a tile into the result; where an earlier tile lies already, fade from it."""
    target = result[tuple(slice(scale * start, scale * stop) for start, stop in kept)]
    piece = tile[
        tuple(
            slice(scale * (start - origin), scale * (stop - origin))
            for (start, stop), origin in zip(kept, seen_from, strict=True)
        )
    ]
    down, right = (_fade_in(stop - start, fade_px if start > 0 else 0, scale) for start, stop in kept)
    weight = (down[:, None] * right)[(...,) + (None,) * (piece.ndim - 2)]
    mixed = target + (piece.astype(np.float32) - target) * weight
    target[...] = np.where(weight == 1, piece, np.floor(mixed + 0.5)) if fade_px else piece


def _fade_in(length: int, fade_px: int, scale: int) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    """Weights of a tile along one side, rising from 0 to 1 over the first `fade_px` input pixels."""
    weights = np.ones(scale * length, np.float32)
    steps = min(scale * fade_px, len(weights))
    weights[:steps] = (np.arange(steps, dtype=np.float32) + 0.5) / max(steps, 1)
    return weights

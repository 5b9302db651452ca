"""Find images of the same picture, however they were resized, compressed or blurred, by a short hash."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from srcx.imaging.cleanliness import luma_of
from srcx.imaging.decode import ImageArray

__all__ = ["LIMIT", "Hash", "nearest", "perceptual_hash"]

Hash = NDArray[np.float32]

SIDE_PX = 64
FREQUENCIES = 16
LIMIT = 0.22
"""Largest distance of near-duplicates. Of 353 photographs, no two are nearer than 0.35. After JPEG of
quality 25, at a quarter of its size, blurred or with another gamma an image is within 0.07 of itself; with
5 % of its sides cut off, mostly within 0.21."""
ZERO = 1e-3
"""Smaller coefficients are rounding, in grey levels."""
ROWS = 4096
"""Hashes that are compared with all others at once."""


def perceptual_hash(image: ImageArray) -> Hash:
    """Return the signs of the low frequencies of an image, 255 numbers of a vector of length 1.

    Args:
        image: uint8 or uint16, (H, W) grey, (H, W, 3) RGB or (H, W, 4) RGBA, whose alpha is not looked at.

    Returns:
        Vector x; the distance of two images is (1 - <x, y>) / 2: 0 for the same picture, 0.5 for any two, and
        0.5 to everything for an image of one colour. A mirrored or turned image is another one.

    References:
        Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions", 2010: pHash. Differs
        from it: 16 x 16 frequencies, and signs in place of a comparison with the median.
    """
    grey = image if image.ndim == 2 else luma_of(image[..., :3].astype(np.float32))
    small = cv2.resize(grey.astype(np.float32), (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA)
    low = cv2.dct(small)[:FREQUENCIES, :FREQUENCIES].ravel()[1:]  # without the mean
    signs = np.sign(np.where(np.abs(low) > ZERO, low, 0))
    return np.asarray(signs / max(np.linalg.norm(signs), 1), np.float32)


def nearest(hashes: Sequence[Hash], others: Sequence[Hash] | None = None) -> list[tuple[int, float] | None]:
    """Return for each hash the first near-duplicate among the others and its distance, or None.

    Args:
        hashes: Of `perceptual_hash`.
        others: What to compare with; None: those before it in `hashes` that are near-duplicates of none.

    Example:
        >>> x = perceptual_hash(np.arange(64, dtype=np.uint8).reshape(8, 8))
        >>> nearest([x, -x, x])
        [None, None, (0, 0.0)]
    """
    found: list[tuple[int, float] | None] = []
    if not hashes or (others is not None and not others):
        return [None] * len(hashes)
    table = np.stack(hashes if others is None else others)  # (M, 255)
    for start in range(0, len(hashes), ROWS):
        distances = (1 - np.stack(hashes[start : start + ROWS]) @ table.T) / 2  # (ROWS, M)
        for index, row in enumerate(distances, start):
            near = np.flatnonzero((row if others is not None else row[:index]) <= LIMIT)
            if others is None:
                near = near[[found[other] is None for other in near]]
            found.append((int(near[0]), max(round(float(row[near[0]]), 3), 0.0)) if len(near) else None)
    return found

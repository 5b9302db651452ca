"""Make the colours of a result those of its input again, where a network has shifted them."""

from collections.abc import Iterator

import cv2
import numpy as np

from srcx.imaging import ImageArray

__all__ = ["lock_color"]

SIGMA_PX = 8.0
"""Of the Gaussian that says what is low, in input pixels: JPEG's blocks of 8 and 16 pixels lie above it."""
BAND_ROWS = 64
"""Input rows that are worked on at once, so that no second copy of the result is made."""


def lock_color(result: ImageArray, image: ImageArray) -> None:
    """Make the low frequencies of `result` those of `image`, in place: one step of back-projection.

        result <- result + up(G * (image - down(result)))

    down: mean over the pixels of an input pixel; G: Gaussian of sigma 8 input pixels; up: bilinear. Detail
    and texture stay as they are, and noise and JPEG blocks that the network has removed do not come back.

    Args:
        result: uint8 or uint16, (s * H, s * W) or (s * H, s * W, 3) with a whole s; its strides may be any.
        image: The input, (H, W) or (H, W, 3) of the same type.

    References:
        Irani and Peleg, "Improving resolution by image registration", CVGIP 1991. Differs from it: the
        residual is low-passed, and one step is made, which is enough for what G keeps.

    Example:
        >>> result = np.full((8, 8), 90, np.uint8)
        >>> lock_color(result, np.full((2, 2), 100, np.uint8))
        >>> int(result.min()), int(result.max())
        (100, 100)
    """
    height, width = image.shape[:2]
    scale, largest = result.shape[0] // height, np.iinfo(result.dtype).max
    residual = image.astype(np.float32)
    for rows in _bands(height):
        large = result[scale * rows.start : scale * rows.stop].astype(np.float32)
        residual[rows] -= cv2.resize(large, (width, len(residual[rows])), interpolation=cv2.INTER_AREA)
    low = cv2.GaussianBlur(residual, (0, 0), SIGMA_PX, borderType=cv2.BORDER_REFLECT)
    for rows in _bands(height):
        # A row more on either side: the bands then meet as if there were one.
        first, last = max(rows.start - 1, 0), min(rows.stop + 1, height)
        change = cv2.resize(
            low[first:last], (scale * width, scale * (last - first)), interpolation=cv2.INTER_LINEAR
        )
        band = result[scale * rows.start : scale * rows.stop]
        start = scale * (rows.start - first)
        band[...] = np.clip(np.floor(band + change[start : start + len(band)] + 0.5), 0, largest)


def _bands(height: int) -> Iterator[slice]:
    for start in range(0, height, BAND_ROWS):
        yield slice(start, min(start + BAND_ROWS, height))

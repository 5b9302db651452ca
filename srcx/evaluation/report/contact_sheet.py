"""Many pairs of lq and gt in one image, to look at before training."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from srcx.data import WholePair
from srcx.imaging import ImageArray, to_rgb

__all__ = ["contact_sheet", "strip"]

WIDTH_PX = 1600
"""Approximate width of the sheet, so that it fits a screen."""
LEAST_PX = 192
"""Smaller crops are repeated pixel by pixel to at least this side, so that their pixels are visible."""
GAP_PX = 12
"""Between pairs."""
SEAM_PX = 4
"""Between the two images of a pair."""
TITLE_PX = 20
STRIP_PX = 512
"""Longest side of each image of a strip, so that trackers stay quick; larger ones are cut to their middle."""


def contact_sheet(pairs: Sequence[tuple[NDArray[np.uint8], NDArray[np.uint8]]]) -> NDArray[np.uint8]:
    """Draw each lq, resized to its gt by nearest neighbour, at the left of its gt, pair after pair.

    Args:
        pairs: lq (h, w, 3) and gt (h * scale, w * scale, 3), uint8 RGB; all of one size.

    Returns:
        uint8 RGB.
    """
    height, width = pairs[0][1].shape[:2]
    factor = max(1, -(-LEAST_PX // max(height, width)))
    height, width = height * factor, width * factor
    step = 2 * width + SEAM_PX + GAP_PX
    columns = max(1, min(len(pairs), WIDTH_PX // step))
    rows = -(-len(pairs) // columns)
    size = (columns * step + GAP_PX, TITLE_PX + rows * (height + GAP_PX) + GAP_PX)
    sheet = Image.new("RGB", size, "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    for number, pair in enumerate(pairs):
        row, column = divmod(number, columns)
        top = TITLE_PX + GAP_PX + row * (height + GAP_PX)
        for side, (title, image) in enumerate(zip(("lq", "gt"), pair, strict=True)):
            left = GAP_PX + column * step + side * (width + SEAM_PX)
            resized = Image.fromarray(image).resize((width, height), Image.Resampling.NEAREST)
            sheet.paste(resized, (left, top))
            if row == 0:
                pen.text((left, GAP_PX // 2), title, "black", font)
    return np.asarray(sheet)


def strip(pair: WholePair, sr: ImageArray) -> ImageArray:
    """Draw lq, resized to sr by nearest neighbour, sr, and gt where there is one, from left to right.

    Args:
        pair: lq (1, C, h, w) and gt (1, C, H, W).
        sr: uint8, (H, W, 3) or (H, W).

    Returns:
        uint8 RGB.
    """
    height, width = sr.shape[:2]
    lq = Image.fromarray(to_rgb(pair.levels.image(pair.lq))).resize((width, height), Image.Resampling.NEAREST)
    images = [np.asarray(lq), to_rgb(sr)] + ([] if pair.gt is None else [to_rgb(pair.levels.image(pair.gt))])
    top, left = (max(0, side - STRIP_PX) // 2 for side in (height, width))
    cut = [image[top : top + STRIP_PX, left : left + STRIP_PX] for image in images]
    bar = np.full((cut[1].shape[0], SEAM_PX, 3), 255, np.uint8)
    parts = [cut[0], *(part for image in cut[1:] for part in (bar, image[: len(bar)]))]
    return np.concatenate(parts, axis=1)

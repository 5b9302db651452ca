"""Many pairs of lq and gt in one image, to look at before training."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

__all__ = ["contact_sheet"]

WIDTH_PX = 1600
"""Approximate width of the sheet, so that it fits a screen."""
LEAST_PX = 192
"""Smaller crops are repeated pixel by pixel to at least this side, so that their pixels are visible."""
GAP_PX = 12
"""Between pairs."""
SEAM_PX = 4
"""Between the two images of a pair."""
TITLE_PX = 20


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

"""Measure the shift between two images, block by block."""

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["Floats", "block_shifts", "register", "smooth"]

Floats = NDArray[np.float32]

BLOCK_PX = 48
LEAST_CORRELATION = 0.7
"""Blocks that correlate less than this after the alignment show different things."""
LARGEST_ERROR_PX = 0.05
"""A block whose shift is less sure (it is flat, or an edge that can slide along itself) is not measured."""
STEPS = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 50, 1e-6)
SMOOTHING_PX = 5
"""Side of the Gaussian filter of both images, which makes differences of sharpness count less."""


def block_shifts(still: Floats, moved: Floats) -> tuple[Floats, Floats]:
    """Return the shift of each block of one image against the other.

    Each block starts at the peak of the phase correlation, whole pixels, and continues from there by ECC to
    fractions of a pixel, whatever the brightness and contrast of the two.

    Args:
        still: Grey, (H, W).
        moved: Grey, (H, W).

    Returns:
        Middles of the blocks, and how far right and down something is in `moved` from where it is in `still`;
        both (blocks, 2), x and y in pixels. A shift that cannot be measured is NaN. Blocks have 48 pixels a
        side, less in a smaller image.

    References:
        Evangelidis and Psarakis, "Parametric Image Alignment Using Enhanced Correlation Coefficient
        Maximization", PAMI 2008, as OpenCV's findTransformECC.
        The error of a shift is that of least squares: the variance of what does not fit, over the smaller
        eigenvalue of the sum of gradient products.

    Example:
        >>> noise = cv2.GaussianBlur(np.random.default_rng(0).random((48, 50), np.float32), (0, 0), 2)
        >>> block_shifts(noise[:, :48], noise[:, 2:])[1].round(1)
        array([[-2.,  0.]], dtype=float32)
    """
    height, width = still.shape
    # As a whole: a block smoothed alone would differ at its border.
    still, moved = smooth(still), smooth(moved)
    side = min(BLOCK_PX, height, width)
    corners = [
        (top, left) for top in range(0, height - side + 1, side) for left in range(0, width - side + 1, side)
    ]
    shifts = [_shift(still, moved, top, left, side) for top, left in corners]
    return np.array(corners, np.float32)[:, ::-1] + (side - 1) / 2, np.array(shifts, np.float32)


def _shift(still: Floats, moved: Floats, top: int, left: int, side: int) -> tuple[float, float]:
    """Return the shift of one block; NaN if it cannot be measured."""
    square = np.s_[top : top + side, left : left + side]
    block, other = still[square], moved[square]
    window = cv2.createHanningWindow((side, side), cv2.CV_32F)
    (right, down), _ = cv2.phaseCorrelate(block - block.mean(), other - other.mean(), window)
    # ECC gets what is about the block as well, so that nothing moves out of the image.
    high, low = max(top - side // 2, 0), max(left - side // 2, 0)
    about = moved[high : top + side + side // 2, low : left + side + side // 2]
    corner = np.array([left - low, top - high], np.float32)
    starts = {(round(right), round(down)), (0, 0)}
    found = [register(block, about, _translation(corner + start), cv2.MOTION_TRANSLATION) for start in starts]
    correlation, warp = max(found, key=lambda one: one[0])
    if correlation < LEAST_CORRELATION or _error_px(block, correlation) > LARGEST_ERROR_PX:
        return np.nan, np.nan
    shift = warp[:, 2] - corner
    return float(shift[0]), float(shift[1])


def _translation(shift: Floats) -> Floats:
    return np.array([[1, 0, shift[0]], [0, 1, shift[1]]], np.float32)


def smooth(image: Floats) -> Floats:
    """Return the image smoothed for the comparison."""
    return np.asarray(cv2.GaussianBlur(image, (SMOOTHING_PX, SMOOTHING_PX), 0), np.float32)


def register(still: Floats, moved: Floats, start: Floats, motion: int) -> tuple[float, Floats]:
    """Return ECC's correlation and the warp from `still` to `moved`; (-1, start) if it does not converge.

    Args:
        still: Grey, (H, W), smooth.
        moved: Grey, any size, smooth.
        start: The warp to begin with, from `still` to `moved`.
        motion: OpenCV's MOTION_TRANSLATION, MOTION_HOMOGRAPHY ...
    """
    try:
        whole = np.full(moved.shape, 255, np.uint8)
        correlation, warp = cv2.findTransformECC(still, moved, start, motion, STEPS, whole, 1)
    except cv2.error:  # raised if it does not converge
        return -1.0, start
    return float(correlation), np.asarray(warp, np.float32)


def _error_px(still: Floats, correlation: float) -> float:
    """Return the standard error of a block's shift in its worst direction, in pixels."""
    down, right = np.gradient(still)
    products = np.array(
        [[(right * right).sum(), (right * down).sum()], [(right * down).sum(), (down * down).sum()]]
    )
    unexplained = max(1 - correlation**2, 0.0) * still.var()
    return float(np.sqrt(unexplained / max(np.linalg.eigvalsh(products)[0], 1e-12)))

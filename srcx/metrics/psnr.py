"""PSNR and RMSE, by default on Y as the field's tables and PIRM print them."""

import math
from collections.abc import Iterable

import numpy as np

from srcx.metrics.images import Array, Floats, protocol_view, unrounded_y
from srcx.metrics.metric import pair_metric


@pair_metric(higher_is_better=True)
def psnr(sr: Array, gt: Array, /, *, y_only: bool = True, round_y: bool = True, crop_px: int = 4) -> float:
    """Return 10 log10(255^2 / MSE), in dB.

    Args:
        sr: Image to rate: uint8 or uint16 array (H, W, 3) RGB or (H, W) grey taken as Y, or a
            float tensor (N, 3, H, W) in [0, 1]. All are measured on 8 bits.
        gt: Ground truth of the same kind and shape.
        y_only: Whether to measure MATLAB's rounded Y instead of all channels.
        round_y: Whether Y is rounded to whole levels, as MATLAB's is; false gives BasicSR's number.
        crop_px: Pixels shaved from each border; the scale, for published tables (4 at x4).

    Returns:
        dB, infinite for equal images; a tensor (N,) for tensors.

    Raises:
        ImageError: the images differ in shape, are no images, or nothing is left after shaving.

    References:
        Equal to the MATLAB tables of Huang et al., "Single Image Super-Resolution from Transformed
        Self-Exemplars", CVPR 2015 (SelfExSR's quant_eval).
        BasicSR does not round Y: Set5 reads 0.002 to 0.035 dB higher for bicubic x4, 0.35 dB at 45 dB.

    Example:
        >>> round(psnr(np.full((9, 9), 105, np.uint8), np.full((9, 9), 100, np.uint8)), 4)
        34.1514
    """
    y_now = y_only and round_y
    views = [protocol_view("psnr", image, y_only=y_now, crop_px=crop_px) for image in (sr, gt)]
    error = mean_squared_error(*(views if y_now or not y_only else map(unrounded_y, views)))
    return 10 * math.log10(255**2 / error) if error else math.inf


def rmse_of_set(values: Iterable[float]) -> float:
    """Return PIRM's RMSE of a set of images: the root of the mean of the squares of their RMSEs.

    Example:
        >>> rmse_of_set([1.0, 7.0])
        5.0
    """
    return math.sqrt(np.mean(np.square(list(values))))


@pair_metric(higher_is_better=False, mean_of_set=rmse_of_set)
def rmse(sr: Array, gt: Array, /, *, y_only: bool = True, crop_px: int = 4) -> float:
    """Return the root of the mean squared difference, in grey levels (0 to 255).

    Args:
        sr: Image to rate: uint8 or uint16 array (H, W, 3) RGB or (H, W) grey taken as Y, or a
            float tensor (N, 3, H, W) in [0, 1]. All are measured on 8 bits.
        gt: Ground truth of the same kind and shape.
        y_only: Whether to measure MATLAB's rounded Y instead of all channels.
        crop_px: Pixels shaved from each border.

    Returns:
        Grey levels, 0 for equal images; a tensor (N,) for tensors.

    Raises:
        ImageError: the images differ in shape, are no images, or nothing is left after shaving.

    References:
        Blau et al., "The 2018 PIRM Challenge on Perceptual Image Super-Resolution", ECCVW 2018,
        arXiv:1809.07517. The RMSE of a set is not the mean of these values: see `rmse_of_set`.

    Example:
        >>> rmse(np.full((9, 9), 103, np.uint8), np.full((9, 9), 100, np.uint8))
        3.0
    """
    views = (protocol_view("rmse", image, y_only=y_only, crop_px=crop_px) for image in (sr, gt))
    return math.sqrt(mean_squared_error(*views))


def mean_squared_error(sr: Array | Floats, gt: Array | Floats) -> float:
    """Return the mean of (sr - gt)^2 over all pixels and channels, exact for uint8 images of one shape."""
    difference = sr.astype(np.float64) - gt.astype(np.float64)
    return float(np.mean(difference * difference))

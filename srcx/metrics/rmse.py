"""Root mean squared error on Y, in grey levels: the distortion axis of PIRM."""

import math
from collections.abc import Iterable

import numpy as np

from srcx.metrics.images import Array, Floats, protocol_view
from srcx.metrics.metric import pair_metric


def mean_squared_error(sr: Array | Floats, gt: Array | Floats) -> float:
    """Mean of (sr - gt)^2 over all pixels and channels, exact for uint8 images of one shape."""
    difference = sr.astype(np.float64) - gt.astype(np.float64)
    return float(np.mean(difference * difference))


@pair_metric(higher_is_better=False)
def rmse(sr: Array, gt: Array, /, *, y_only: bool = True, crop_px: int = 4) -> float:
    """Root of the mean squared difference, in grey levels (0 to 255).

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


def rmse_of_set(values: Iterable[float]) -> float:
    """PIRM's RMSE of a set of images: the root of the mean of the squares of their RMSEs.

    Example:
        >>> rmse_of_set([1.0, 7.0])
        5.0
    """
    return math.sqrt(np.mean(np.square(list(values))))

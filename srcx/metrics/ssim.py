"""Structural similarity, as in Wang's own MATLAB code."""

from skimage.metrics import structural_similarity

from srcx.metrics.images import Array, protocol_view, unrounded_y
from srcx.metrics.metric import pair_metric

WINDOW_PX = 11


@pair_metric(higher_is_better=True)
def ssim(sr: Array, gt: Array, /, *, y_only: bool = True, round_y: bool = True, crop_px: int = 4) -> float:
    """Return the mean structural similarity over the windows that lie wholly inside the image.

    Args:
        sr: Image to rate: uint8 or uint16 array (H, W, 3) RGB or (H, W) grey taken as Y, or a
            float tensor (N, 3, H, W) in [0, 1]. All are measured on 8 bits.
        gt: Ground truth of the same kind and shape.
        y_only: Whether to measure MATLAB's rounded Y; otherwise the mean over the channels.
        round_y: Whether Y is rounded to whole levels, as MATLAB's is; false gives BasicSR's number.
        crop_px: Pixels shaved from each border.

    Returns:
        At most 1, for equal images; a tensor (N,) for tensors.

    Raises:
        ImageError: the images differ in shape, are no images, or are under 11 x 11 after shaving.

    References:
        Wang et al., "Image Quality Assessment: From Error Visibility to Structural Similarity", IEEE
        TIP 2004: Gaussian window 11 x 11, sigma 1.5, K = 0.01 and 0.03, range 255.

    Example:
        >>> import numpy as np
        >>> ssim(np.full((19, 19), 100, np.uint8), np.full((19, 19), 100, np.uint8))
        1.0
    """
    y_now = y_only and round_y
    views = [
        protocol_view("ssim", image, y_only=y_now, crop_px=crop_px, least_px=WINDOW_PX) for image in (sr, gt)
    ]
    one, other = views if y_now or not y_only else map(unrounded_y, views)
    return float(
        structural_similarity(  # type: ignore[no-untyped-call]  # scikit-image has no annotations
            one,
            other,
            data_range=255,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            channel_axis=2 if one.ndim == 3 else None,
        )
    )

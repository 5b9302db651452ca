"""The perceptual index, by which the PIRM 2018 challenge ranked."""

from pathlib import Path

from srcx.metrics.images import Array
from srcx.metrics.ma import ma
from srcx.metrics.metric import single_metric
from srcx.metrics.niqe import niqe


@single_metric(higher_is_better=False)
def perceptual_index(sr: Array, /, *, crop_px: int = 4, weights_path: str | Path | None = None) -> float:
    """Return ((10 - Ma) + NIQE) / 2.

    Args:
        sr: Image to rate: uint8 or uint16 array (H, W, 3) RGB or (H, W) grey taken as Y, or a
            float tensor (N, 3, H, W) in [0, 1]. All are measured on 8 bits, on MATLAB's rounded Y.
        crop_px: Pixels shaved from each border.
        weights_path: The author's model.mat for Ma; None looks where `srcx weights list` says.

    Returns:
        About 2 (photographs) to 7 (bicubic), lower is better; a tensor (N,) for tensors.

    Raises:
        ImageError: `ma` or `niqe` cannot rate the image.
        WeightsError: Ma's model is not available.

    References:
        Blau et al., "The 2018 PIRM Challenge on Perceptual Image Super-Resolution", ECCVW 2018,
        arXiv:1809.07517.
    """
    score = ma(sr, crop_px=crop_px, weights_path=weights_path)
    return index_of(ma=score, niqe=niqe(sr, crop_px=crop_px))


def index_of(*, ma: float, niqe: float) -> float:
    """Return the perceptual index from Ma's and NIQE's scores of an image, or from their means over a set.

    Example:
        >>> round(index_of(ma=8.8, niqe=3.3), 3)
        2.25
    """
    return ((10 - ma) + niqe) / 2

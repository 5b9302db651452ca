"""NIQE: how far an image's local statistics are from those of pristine photographs."""

from functools import lru_cache
from pathlib import Path

import numpy as np

from srcx.errors import ImageError
from srcx.metrics.images import Array, Floats, protocol_view
from srcx.metrics.metric import single_metric
from srcx.metrics.niqe_features import BLOCK_PX, block_features

PARAMETERS = Path(__file__).with_name("data") / "niqe_parameters.npz"


@lru_cache
def parameters() -> tuple[Floats, Floats]:
    """Return the authors' mean (36,) and covariance (36, 36) of pristine images."""
    with np.load(PARAMETERS, allow_pickle=False) as stored:
        return stored["mean"], stored["covariance"]


@single_metric(higher_is_better=False)
def niqe(sr: Array, /, *, crop_px: int = 4) -> float:
    """Distance between the Gaussian models of this image's blocks and of pristine images' blocks.

    Args:
        sr: Image to rate: uint8 or uint16 array (H, W, 3) RGB or (H, W) grey taken as Y, or a
            float tensor (N, 3, H, W) in [0, 1]. All are measured on 8 bits, on MATLAB's rounded Y.
        crop_px: Pixels shaved from each border.

    Returns:
        0 upwards, lower is better; a tensor (N,) for tensors.

    Raises:
        ImageError: no image, or fewer than two blocks of 96 x 96 with structure in them (one block has no
            covariance; a constant one has no statistics).

    References:
        Mittal et al., "Making a 'Completely Blind' Image Quality Analyzer", IEEE SPL 2013, and the
        authors' MATLAB code as PIRM 2018 calls it. Differs from it in refusing a single block, for
        which it mixes up the features' variance and the blocks' covariance. In flat areas the authors' code
        counts pixels by the sign of round-off, which depends on the program that runs it (up to 0.5 apart);
        here round-off is zero, which gives MATLAB's figure for the one image it is known of (BasicSR's
        baboon: 5.729574 here, 5.72957338 by MATLAB R2021a). Without flat areas Octave's figures are equal to
        1e-8.
    """
    y = protocol_view("niqe", sr, y_only=True, crop_px=crop_px, least_px=BLOCK_PX)
    mean, covariance = parameters()
    features = block_features(y.astype(np.float64))
    complete = features[~np.isnan(features).any(axis=1)]
    if len(complete) < 2:
        raise ImageError(
            f"niqe: needs at least two blocks of {BLOCK_PX} x {BLOCK_PX} pixels with structure in them; "
            f"got {len(complete)} of {len(features)} in an image of {sr.shape[1]} x {sr.shape[0]}"
        )
    difference = mean - np.nanmean(features, axis=0)
    pooled = (covariance + np.cov(complete, rowvar=False)) / 2
    inverse = np.linalg.pinv(pooled, rcond=len(pooled) * np.finfo(np.float64).eps)
    return float(np.sqrt(difference @ inverse @ difference))

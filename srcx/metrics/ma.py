"""Ma's no-reference metric, trained to predict how people rate super-resolved images."""

from pathlib import Path
from typing import overload

import numpy as np
import torch
from torch import Tensor

from srcx.metrics.images import AnyArray, Array, Floats, as_bytes, batch_as_bytes, protocol_view
from srcx.metrics.ma_dct import dct_features, three_scales
from srcx.metrics.ma_gsm import LEAST_PX, gsm_features
from srcx.metrics.ma_model import ma_model
from srcx.metrics.ma_pca import pca_features
from srcx.metrics.metric import single_metric


@overload
def ma_features(sr: AnyArray, /, *, crop_px: int = 4) -> tuple[Floats, Floats, Floats]: ...
@overload
def ma_features(sr: Tensor, /, *, crop_px: int = 4) -> tuple[Tensor, Tensor, Tensor]: ...
def ma_features(
    sr: AnyArray | Tensor, /, *, crop_px: int = 4
) -> tuple[Floats, Floats, Floats] | tuple[Tensor, Tensor, Tensor]:
    """The 138 numbers that the forests judge an image by.

    Args:
        sr: As for `ma`. The authors' demo measures MATLAB's grey of the whole image instead:
            `ma_features(rgb_to_grey(image), crop_px=0)`.
        crop_px: Pixels shaved from each border.

    Returns:
        Block DCT (18,), Gaussian scale mixture (45,), patches (75,), in float64; for tensors (N, 18),
        (N, 45) and (N, 75).

    Raises:
        ImageError: no image, too small (84 x 84 pixels after shaving are enough), or without structure.
    """
    if not isinstance(sr, Tensor):
        return features_of(as_bytes("ma", "sr", sr), crop_px)
    groups = zip(*(features_of(one, crop_px) for one in batch_as_bytes("ma", "sr", sr)), strict=True)
    dct, gsm, pca = (torch.from_numpy(np.stack(group)) for group in groups)
    return dct, gsm, pca


def features_of(image: Array, crop_px: int) -> tuple[Floats, Floats, Floats]:
    """The three groups for one uint8 image."""
    y = protocol_view("ma", image, y_only=True, crop_px=crop_px, least_px=LEAST_PX)
    scales = three_scales(y)
    return dct_features(scales), gsm_features(y), pca_features(scales)


@single_metric(higher_is_better=True)
def ma(sr: Array, /, *, crop_px: int = 4, weights_path: str | Path | None = None) -> float:
    """Score of three random forests on 138 features, combined linearly.

    Args:
        sr: Image to rate: uint8 or uint16 array (H, W, 3) RGB or (H, W) grey taken as Y, or a
            float tensor (N, 3, H, W) in [0, 1]. All are measured on 8 bits, on MATLAB's rounded Y.
        crop_px: Pixels shaved from each border.
        weights_path: The author's model.mat; otherwise where `srcx weights list` says.

    Returns:
        About 0 to 10, higher is better; a tensor (N,) for tensors.

    Raises:
        ImageError: no image, too small (84 x 84 pixels after shaving are enough), or without structure.
        WeightsError: the author's model is not at hand.

    References:
        Ma et al., "Learning a No-Reference Quality Metric for Single-Image Super-Resolution", CVIU 2017,
        arXiv:1612.05890, and the authors' MATLAB code as PIRM 2018 calls it.
    """
    model = ma_model(weights_path)
    dct, gsm, pca = features_of(sr, crop_px)
    return float(model.score((dct[None], gsm[None], pca[None]))[0])

"""Ma's no-reference metric, trained to predict how people rate upscaled images.

Three groups of features: block DCT and patches in this file, Gaussian scale mixture in `ma_gsm`; the forests
that turn them into a score in `ma_model`.
"""

import math
from pathlib import Path
from typing import overload

import cv2
import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy import fft
from torch import Tensor

from srcx.errors import ImageError
from srcx.metrics.generalised_gaussian import symmetric_shape
from srcx.metrics.images import AnyArray, Array, Floats, as_bytes, batch_as_bytes, protocol_view
from srcx.metrics.ma_gsm import LEAST_PX, gsm_features
from srcx.metrics.ma_model import ma_model
from srcx.metrics.metric import single_metric

BLOCK_PX, STEP_PX, BORDER_PX = 7, 3, 2
PATCH_PX = 5
# Sector 1, 2 or 3 around the diagonal of each coefficient; 0 is the constant term, which is not used.
SECTORS = np.array(
    [
        [0, 1, 1, 1, 1, 1, 1],
        [3, 2, 1, 1, 1, 1, 1],
        [3, 3, 2, 2, 1, 1, 1],
        [3, 3, 2, 2, 2, 1, 1],
        [3, 3, 3, 2, 2, 2, 2],
        [3, 3, 3, 3, 2, 2, 2],
        [3, 3, 3, 3, 2, 2, 2],
    ]
)


@single_metric(higher_is_better=True)
def ma(sr: Array, /, *, crop_px: int = 4, weights_path: str | Path | None = None) -> float:
    """Return the score of three random forests on 138 features, combined linearly.

    Args:
        sr: Image to rate: uint8 or uint16 array (H, W, 3) RGB or (H, W) grey taken as Y, or a
            float tensor (N, 3, H, W) in [0, 1]. All are measured on 8 bits, on MATLAB's rounded Y.
        crop_px: Pixels shaved from each border.
        weights_path: The author's model.mat; None looks where `srcx weights list` says.

    Returns:
        About 0 to 10, higher is better; a tensor (N,) for tensors.

    Raises:
        ImageError: no image, too small (84 x 84 pixels after shaving are enough), or without structure.
        WeightsError: the author's model is not available.

    References:
        Ma et al., "Learning a No-Reference Quality Metric for Single-Image Super-Resolution", CVIU 2017,
        arXiv:1612.05890, and the authors' MATLAB code as PIRM 2018 calls it.
    """
    model = ma_model(weights_path)
    dct, gsm, pca = features_of(sr, crop_px)
    return float(model.score((dct[None], gsm[None], pca[None]))[0])


@overload
def ma_features(sr: AnyArray, /, *, crop_px: int = 4) -> tuple[Floats, Floats, Floats]: ...
@overload
def ma_features(sr: Tensor, /, *, crop_px: int = 4) -> tuple[Tensor, Tensor, Tensor]: ...
def ma_features(
    sr: AnyArray | Tensor, /, *, crop_px: int = 4
) -> tuple[Floats, Floats, Floats] | tuple[Tensor, Tensor, Tensor]:
    """Return the 138 numbers from which the forests predict the score.

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
    """Return the three groups of features of one uint8 image: (18,), (45,), (75,)."""
    y = protocol_view("ma", image, y_only=True, crop_px=crop_px, least_px=LEAST_PX)
    scales = three_scales(y)
    return dct_features(scales), gsm_features(y), pca_features(scales)


def three_scales(grey: NDArray[np.uint8]) -> list[Floats]:
    """Return the image in [0, 1], and twice smoothed (3 x 3, sigma 0.5, black outside) and halved."""
    scales = [grey / 255]
    for _ in range(2):
        smooth = cv2.GaussianBlur(scales[-1], (3, 3), 0.5, borderType=cv2.BORDER_CONSTANT)
        scales.append(np.asarray(smooth[1::2, 1::2], np.float64))
    return scales


def dct_features(scales: list[Floats]) -> Floats:
    """Return the first group of features, from the DCT of overlapping 7 x 7 blocks: 6 numbers for each scale.

    Args:
        scales: Images in [0, 1], see `three_scales`.

    Returns:
        (18,): for each scale the mean of the lowest tenth and of all shapes, of the highest tenth and of
        all coefficient variations, of the highest tenth and of all orientation variances.

    References:
        Ma et al., CVIU 2017, section 3.1; `block_dct.m`.
    """
    return np.concatenate([block_statistics(image) for image in scales])


def block_statistics(image: Floats) -> Floats:
    """Return the 6 numbers of one scale, (H, W) -> (6,)."""
    coefficients, sectors = block_coefficients(image)  # (48, blocks), (48,)
    shapes = symmetric_shape(coefficients)
    size = np.abs(coefficients)
    variation = relative_deviation(size, guard=1e-7)
    orientation = np.var(
        [relative_deviation(size[sectors == k], guard=1e-8) for k in (1, 2, 3)], axis=0, ddof=1
    )

    count = len(shapes)
    lowest, below_highest = math.ceil(count * 0.1), int(count * 0.9) - 1
    return np.array(
        [
            np.sort(shapes)[:lowest].mean(),
            shapes.mean(),
            np.sort(variation)[below_highest:].mean(),
            variation.mean(),
            np.sort(orientation)[below_highest:].mean(),
            orientation.mean(),
        ]
    )


def block_coefficients(image: Floats) -> tuple[Floats, NDArray[np.intp]]:
    """Return the DCT of 7 x 7 blocks every 3 pixels, black outside, without the constant term: (48, blocks).

    The second array, (48,), is the sector of each coefficient.
    """
    height, width = image.shape
    below, right = (BORDER_PX + -side % STEP_PX for side in (height, width))
    padded = np.pad(image, ((BORDER_PX, below), (BORDER_PX, right)))
    windows = sliding_window_view(padded, (BLOCK_PX, BLOCK_PX))[::STEP_PX, ::STEP_PX]
    transform = fft.dct(np.eye(BLOCK_PX), axis=0, norm="ortho")
    spectra = np.einsum("ui,rcij,vj->uvrc", transform, windows, transform, optimize=True)
    used = SECTORS > 0
    return spectra[used].reshape(int(used.sum()), -1), SECTORS[used]


def relative_deviation(size: Floats, *, guard: float) -> Floats:
    """Return standard deviation / (mean + guard) of each column, (k, n) -> (n,), for sizes of 0 or more."""
    return size.std(axis=0, ddof=1) / (size.mean(axis=0) + guard)


def pca_features(scales: list[Floats]) -> Floats:
    """Return the third group of features: 25 singular values of each scale's 5 x 5 patches, largest first.

    Args:
        scales: Images in [0, 1], (H, W), see `three_scales`.

    Returns:
        (75,): scale after scale.

    Raises:
        ImageError: the smallest scale has fewer than 25 patches (a square image under 84 x 84).

    References:
        Ma et al., CVIU 2017, section 3.3: `svd(im2col(im, [5 5], 'distinct'))`.
    """
    matrices = [patches(image) for image in scales]
    if len(matrices[-1]) < PATCH_PX**2:
        height, width = scales[0].shape
        raise ImageError(
            f"ma: needs {PATCH_PX**2} patches of {PATCH_PX} x {PATCH_PX} at a quarter of the size "
            f"(84 x 84 pixels after shaving are enough); "
            f"got {len(matrices[-1])} in one of {width} x {height}"
        )
    return np.concatenate([np.linalg.svd(matrix, compute_uv=False) for matrix in matrices])


def patches(image: Floats) -> Floats:
    """Cut into 5 x 5 patches side by side, black beyond the right and lower edge: (patches, 25)."""
    below, right = (-side % PATCH_PX for side in image.shape)
    padded = np.pad(image, ((0, below), (0, right)))
    rows, cols = (side // PATCH_PX for side in padded.shape)
    return padded.reshape(rows, PATCH_PX, cols, PATCH_PX).swapaxes(1, 2).reshape(-1, PATCH_PX**2)

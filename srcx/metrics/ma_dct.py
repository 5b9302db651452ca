"""First group of Ma's features: the DCT of overlapping 7 x 7 blocks, 6 numbers for each of 3 scales."""

import math

import cv2
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy.fft import dct

from srcx.metrics.images import Floats
from srcx.metrics.shape_table import ma_table

BLOCK_PX, STEP_PX, BORDER_PX = 7, 3, 2
# Which of three sectors around the diagonal each coefficient belongs to; 0 is the constant term, left out.
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


def three_scales(grey: NDArray[np.uint8]) -> list[Floats]:
    """The image in [0, 1], and twice smoothed (3 x 3, sigma 0.5, black outside) and halved."""
    scales = [grey / 255]
    for _ in range(2):
        smooth = cv2.GaussianBlur(scales[-1], (3, 3), 0.5, borderType=cv2.BORDER_CONSTANT)
        scales.append(np.asarray(smooth[1::2, 1::2], np.float64))
    return scales


def dct_features(scales: list[Floats]) -> Floats:
    """18 numbers: 6 for each scale.

    Args:
        scales: Images in [0, 1], see `three_scales`.

    Returns:
        (18,): for each scale the mean of the lowest tenth and of all shapes, of the highest tenth and of
        all coefficient variations, of the highest tenth and of all orientation variances.

    References:
        Ma et al., "Learning a No-Reference Quality Metric for Single-Image Super-Resolution", CVIU 2017,
        section 3.1; `block_dct.m`.
    """
    return np.concatenate([block_statistics(image) for image in scales])


def block_statistics(image: Floats) -> Floats:
    """The 6 numbers of one scale, (H, W) -> (6,)."""
    coefficients, sectors = block_coefficients(image)  # (48, blocks), (48,)
    shapes = shape_of(coefficients)
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
    """DCT of 7 x 7 blocks every 3 pixels, black outside; without the constant term, (48, blocks)."""
    height, width = image.shape
    below, right = (BORDER_PX + -side % STEP_PX for side in (height, width))
    padded = np.pad(image, ((BORDER_PX, below), (BORDER_PX, right)))
    windows = sliding_window_view(padded, (BLOCK_PX, BLOCK_PX))[::STEP_PX, ::STEP_PX]
    transform = dct(np.eye(BLOCK_PX), axis=0, norm="ortho")
    spectra = np.einsum("ui,rcij,vj->uvrc", transform, windows, transform, optimize=True)
    used = SECTORS > 0
    return spectra[used].reshape(int(used.sum()), -1), SECTORS[used]


def shape_of(values: Floats) -> Floats:
    """Shape of the generalised Gaussian fitted to each column of (k, n)."""
    centred = values - values.mean(axis=0)
    variance = np.einsum("kn,kn->n", centred, centred) / (len(values) - 1)
    return ma_table().nearest(variance / (np.abs(centred).mean(axis=0) ** 2 + 1e-7))


def relative_deviation(size: Floats, *, guard: float) -> Floats:
    """Standard deviation over mean of each column of (k, n), for sizes 0 upwards."""
    return size.std(axis=0, ddof=1) / (size.mean(axis=0) + guard)

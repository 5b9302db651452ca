"""Second group of Ma's features: a Gaussian scale mixture on the bands of a steerable pyramid, 45 numbers."""

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from srcx.errors import ImageError
from srcx.imaging.resize import imresize
from srcx.metrics.images import Floats
from srcx.metrics.ma_dct import shape_of
from srcx.metrics.steerable_pyramid import ORIENTATIONS, Pyramid, steerable_pyramid

GUARD_PX = 16
LEAST_PX = 2 + 2 * GUARD_PX + 11  # so that a normalised band still holds one window of 11 x 11
NO_STRUCTURE = 1e-9
STRIP_PLACES = 8192
CONTRAST_GUARD = (0.03 * 255) ** 2


def gsm_features(grey: NDArray[np.uint8]) -> Floats:
    """45 numbers from the bands of a steerable pyramid and their divisive normalisation.

    Args:
        grey: (H, W), at least 45 x 45.

    Returns:
        (45,): shapes of the 6 fine and 6 coarse normalised bands; of fine and coarse together for each
        orientation; agreement in structure of the 12 bands with the high-pass residual, and of the 15
        pairs of fine normalised bands.

    Raises:
        ImageError: a band is empty, as in a constant image: its statistics would be round-off.

    References:
        Ma et al., CVIU 2017, section 3.2; `global_gsm.m` and `norm_sender_normalized.m` (from Moorthy and
        Bovik's DIIVINE, IEEE TIP 2011). Kept as there: only the first five fine orientations look at
        their coarse parent, and the divisor counts the neighbours in place and the parent, not the
        other orientations.
    """
    pyramid = steerable_pyramid(grey.astype(np.float64))
    if min(float(band.std()) for band in (*pyramid.fine, *pyramid.coarse)) < NO_STRUCTURE:
        raise ImageError("ma: the image has no structure in some orientation, so its features are undefined")
    fine, coarse = normalised_bands(pyramid)
    together = [np.concatenate([one.ravel(), other.ravel()]) for one, other in zip(fine, coarse, strict=True)]
    shapes = [float(shape_of(band.reshape(-1, 1))[0]) for band in (*fine, *coarse, *together)]

    high = windowed(pyramid.high)
    height, width = pyramid.high.shape
    enlarged = (np.asarray(imresize(band, size=(height, width)), np.float64) for band in pyramid.coarse)
    across_scales = [structure_agreement(windowed(band), high) for band in (*pyramid.fine, *enlarged)]

    pairs = itertools.combinations([windowed(band) for band in fine], 2)
    across_orientations = [structure_agreement(*pair) for pair in pairs]
    return np.array([*shapes, *across_scales, *across_orientations])


def normalised_bands(pyramid: Pyramid) -> tuple[list[Floats], list[Floats]]:
    """The six fine and six coarse bands, normalised, with the border cut off and zero mean."""
    height, width = pyramid.high.shape
    parents = [
        np.asarray(imresize(band, scale=2)[:height, :width], np.float64) for band in pyramid.coarse[:-1]
    ]
    fine = [normalised(pyramid.fine, k, parent) for k, parent in enumerate([*parents, None])]
    coarse = [normalised(pyramid.coarse, k, None) for k in range(ORIENTATIONS)]
    return (
        [without_guard(band, GUARD_PX) for band in fine],
        [without_guard(band, GUARD_PX // 2) for band in coarse],
    )


def normalised(bands: Floats, k: int, parent: Floats | None) -> Floats:
    """Divide a band by the local scale that a Gaussian scale mixture gives it.

    Args:
        bands: All orientations of one scale, (6, H, W).
        k: Which one to normalise.
        parent: The coarser band of the same orientation, (H, W), or none.

    Returns:
        (H - 2, W - 2), the mean of the band removed before dividing.
    """
    height, width = bands.shape[1] - 2, bands.shape[2] - 2
    near = [bands[k, i : i + height, j : j + width] for i in range(3) for j in range(3)]
    parents = [] if parent is None else [parent[1:-1, 1:-1]]
    others = [band[1:-1, 1:-1] for other, band in enumerate(bands) if other != k]
    planes = [*near, *parents, *others]  # 14 or 15
    covariance = sum(around @ around.T for around in strips(planes)) / (height * width)
    white = whitener(covariance)
    squares = [np.square(white @ around).sum(axis=0) for around in strips(planes)]
    scale = np.sqrt(np.concatenate(squares) / (len(near) + len(parents)))
    centre = bands[k, 1:-1, 1:-1]
    return (centre - centre.mean()) / scale.reshape(height, width)


def strips(planes: list[Floats]) -> Iterator[Floats]:
    """The planes (H, W) some rows at a time, (planes, places), which stay in the processor's cache."""
    height, width = planes[0].shape
    step = max(1, STRIP_PLACES // width)
    for top in range(0, height, step):
        rows = [plane[top : top + step] for plane in planes]
        yield np.stack(rows).reshape(len(planes), -1)


def whitener(covariance: Floats) -> Floats:
    """W such that W'W is the pseudo-inverse of a covariance (k, k).

    Negative eigenvalues, which are round-off, become zero, and the others are scaled to keep their sum.
    """
    values, vectors = np.linalg.eigh(covariance)
    positive = values.clip(min=0)
    positive *= values.sum() / positive.sum()
    kept = positive > len(values) * np.finfo(np.float64).eps * positive.max()
    return vectors[:, kept].T / np.sqrt(positive[kept])[:, None]


def without_guard(band: Floats, guard_px: int) -> Floats:
    """Cut the border off, where the pyramid wraps around, and remove the mean."""
    inner = band[guard_px:-guard_px, guard_px:-guard_px]
    return inner - inner.mean()


class Windowed(NamedTuple):
    """An image with the mean and variance of its Gaussian windows of 11 x 11."""

    image: Floats
    mean: Floats
    variance: Floats


def windowed(image: Floats) -> Windowed:
    """Take the windows that lie wholly inside, (H, W) -> (H - 10, W - 10)."""
    mean = smooth(image)
    return Windowed(image, mean, smooth(image * image) - mean * mean)


def structure_agreement(one: Windowed, other: Windowed) -> float:
    """Mean over the windows of SSIM's contrast-structure term, for a range of 255."""
    covariance = smooth(one.image * other.image) - one.mean * other.mean
    guarded = (2 * covariance + CONTRAST_GUARD) / (one.variance + other.variance + CONTRAST_GUARD)
    return float(guarded.mean())


def smooth(image: Floats) -> Floats:
    """Gaussian mean, sigma 1.5, of the windows of 11 x 11 wholly inside."""
    return np.asarray(cv2.GaussianBlur(image, (11, 11), 1.5)[5:-5, 5:-5], np.float64)

"""Second group of Ma's features: a Gaussian scale mixture on the bands of a steerable pyramid, 45 numbers.

The pyramid does not come from pyrtools: pyrtools 1.1 puts the frequencies of an odd-sized image half a sample
from where matlabPyrTools has them, and computes the same masks again for each image.
"""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import fft

from srcx.errors import ImageError
from srcx.imaging.resize import imresize
from srcx.metrics.generalised_gaussian import symmetric_shape
from srcx.metrics.images import Floats

ORIENTATIONS = 6
ORDER = ORIENTATIONS - 1
RADIAL_STEPS = 256
ANGULAR_STEPS = 1024
GUARD_PX = 16
LEAST_PX = 2 + 2 * GUARD_PX + 11  # so that a normalised band still holds one window of 11 x 11
NO_STRUCTURE = 1e-9
STRIP_PLACES = 8192
CONTRAST_GUARD = (0.03 * 255) ** 2


@dataclass(frozen=True)
class Pyramid:
    """The high-pass residual (H, W) and two scales of bands, (6, H, W) and (6, h, w)."""

    high: Floats
    fine: Floats
    coarse: Floats


@dataclass(frozen=True)
class Masks:
    """Factors for the spectrum of an image of one size, in the order of an FFT.

    `rows` and `cols` select the low frequencies, from which the coarse scale is made.
    """

    high: Floats
    fine: Floats
    coarse: Floats
    rows: NDArray[np.intp]
    cols: NDArray[np.intp]


def steerable_pyramid(image: Floats) -> Pyramid:
    """Split an image by frequency and orientation.

    Args:
        image: (H, W), at least 4 x 4.

    Returns:
        The bands; h = ceil((H - 0.5) / 2), the same for w. Borders wrap around.

    References:
        Simoncelli and Freeman, "The Steerable Pyramid", ICIP 1995; `buildSFpyr(im, 2, 5)` of
        matlabPyrTools, including its tables of 256 and 1024 steps with linear interpolation.
    """
    masks = masks_of(*image.shape)
    spectrum = fft.fft2(image)
    low = spectrum[np.ix_(masks.rows, masks.cols)]
    turn = (-1j) ** ORDER
    return Pyramid(
        high=fft.ifft2(spectrum * masks.high).real,
        fine=np.stack([fft.ifft2(turn * spectrum * mask).real for mask in masks.fine]),
        coarse=np.stack([fft.ifft2(turn * low * mask).real for mask in masks.coarse]),
    )


@lru_cache(maxsize=2)
def masks_of(height: int, width: int) -> Masks:
    """Return the masks for one image size; cached, since building them takes as long as using them."""
    across, down = np.meshgrid(frequencies(width), frequencies(height))
    radius = np.hypot(across, down)
    middle = height // 2, width // 2
    radius[middle] = radius[middle[0], middle[1] - 1]
    octave, angle = np.log2(radius), np.arctan2(down, across)
    rows, cols = low_half(height), low_half(width)
    box = np.ix_(rows, cols)

    low = low_pass(octave, 0)
    fine = low * high_pass(octave, 1)
    coarse = low[box] * low_pass(octave[box], 1) * high_pass(octave[box], 2)
    return Masks(
        high=fft.ifftshift(high_pass(octave, 0)),
        fine=np.stack([fft.ifftshift(fine * oriented(angle, k)) for k in range(ORIENTATIONS)]),
        coarse=np.stack([fft.ifftshift(coarse * oriented(angle[box], k)) for k in range(ORIENTATIONS)]),
        rows=fft.ifftshift(fft.fftshift(np.arange(height))[rows]),
        cols=fft.ifftshift(fft.fftshift(np.arange(width))[cols]),
    )


def frequencies(side: int) -> Floats:
    """Return the frequencies of a centred spectrum, 1 being half the sampling rate."""
    return (np.arange(side) - side // 2) / (side / 2)


def low_half(side: int) -> NDArray[np.intp]:
    """Return the indices of the lower half of the frequencies in a centred spectrum."""
    count = math.ceil((side - 0.5) / 2)
    return np.arange(count) + side // 2 - count // 2


def high_pass(octave: Floats, level: int) -> Floats:
    """Return half a cosine over one octave: 0 below -1 - level, 1 above -level, in log2 of frequency."""
    octaves, high = radial_table()
    return np.interp(octave, octaves - level, high)


def low_pass(octave: Floats, level: int) -> Floats:
    """Return sqrt(1 - high_pass^2), exact at the steps of the table and interpolated between them."""
    octaves, high = radial_table()
    return np.interp(octave, octaves - level, np.sqrt(np.abs(1 - high**2)))


def radial_table() -> tuple[Floats, Floats]:
    """Return steps from one octave below the highest frequency up to it, and the high-pass at each."""
    phase = np.pi * np.arange(-RADIAL_STEPS - 1, 2) / (2 * RADIAL_STEPS)
    power = np.cos(phase) ** 2
    power[0], power[-1] = power[1], power[-2]
    return -0.5 + (2 / np.pi) * (phase + np.pi / 4), np.sqrt(power)


def oriented(angle: Floats, k: int) -> Floats:
    """Return cos(angle - k pi / 6)^5, scaled so that the squares of the six sum to 1."""
    scale = 2 ** (2 * ORDER) * math.factorial(ORDER) ** 2 / (ORIENTATIONS * math.factorial(2 * ORDER))
    steps = np.pi * np.arange(-2 * ANGULAR_STEPS - 1, ANGULAR_STEPS + 2) / ANGULAR_STEPS
    return np.interp(angle, steps + np.pi * k / ORIENTATIONS, math.sqrt(scale) * np.cos(steps) ** ORDER)


def gsm_features(grey: NDArray[np.uint8]) -> Floats:
    """Return 45 numbers from the bands of a steerable pyramid and their divisive normalisation.

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
        Bovik's DIIVINE, IEEE TIP 2011). As in that code, only the first five fine orientations use
        their coarse parent, and the divisor counts the 9 neighbours and the parent, not the other
        orientations.
    """
    pyramid = steerable_pyramid(grey.astype(np.float64))
    if min(float(band.std()) for band in (*pyramid.fine, *pyramid.coarse)) < NO_STRUCTURE:
        raise ImageError("ma: the image has no structure in some orientation, so its features are undefined")
    fine, coarse = normalised_bands(pyramid)
    together = [np.concatenate([one.ravel(), other.ravel()]) for one, other in zip(fine, coarse, strict=True)]
    shapes = [float(symmetric_shape(band.reshape(-1, 1))[0]) for band in (*fine, *coarse, *together)]

    high = windowed(pyramid.high)
    height, width = pyramid.high.shape
    resized = (np.asarray(imresize(band, size=(height, width)), np.float64) for band in pyramid.coarse)
    across_scales = [structure_agreement(windowed(band), high) for band in (*pyramid.fine, *resized)]

    pairs = itertools.combinations([windowed(band) for band in fine], 2)
    across_orientations = [structure_agreement(*pair) for pair in pairs]
    return np.array([*shapes, *across_scales, *across_orientations])


def normalised_bands(pyramid: Pyramid) -> tuple[list[Floats], list[Floats]]:
    """Return the six fine and six coarse bands, normalised, with the border cut off and zero mean."""
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
        k: Orientation to normalise.
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
    """Yield a few rows of the planes (H, W) at a time, (planes, places), so that they fit the CPU's cache."""
    height, width = planes[0].shape
    step = max(1, STRIP_PLACES // width)
    for top in range(0, height, step):
        rows = [plane[top : top + step] for plane in planes]
        yield np.stack(rows).reshape(len(planes), -1)


def whitener(covariance: Floats) -> Floats:
    """Return W such that W'W is the pseudo-inverse of a covariance (k, k).

    Negative eigenvalues, which are round-off, become zero, and the others are scaled to keep their sum.
    """
    values, vectors = np.linalg.eigh(covariance)
    positive = values.clip(min=0)
    positive *= values.sum() / positive.sum()
    used = positive > len(values) * np.finfo(np.float64).eps * positive.max()
    return vectors[:, used].T / np.sqrt(positive[used])[:, None]


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
    """Return the statistics of the windows that lie wholly inside, (H, W) -> (H - 10, W - 10)."""
    mean = smooth(image)
    return Windowed(image, mean, smooth(image * image) - mean * mean)


def structure_agreement(one: Windowed, other: Windowed) -> float:
    """Return the mean over the windows of SSIM's contrast-structure term, for a range of 255."""
    covariance = smooth(one.image * other.image) - one.mean * other.mean
    guarded = (2 * covariance + CONTRAST_GUARD) / (one.variance + other.variance + CONTRAST_GUARD)
    return float(guarded.mean())


def smooth(image: Floats) -> Floats:
    """Return the Gaussian mean, sigma 1.5, of the windows of 11 x 11 wholly inside."""
    return np.asarray(cv2.GaussianBlur(image, (11, 11), 1.5)[5:-5, 5:-5], np.float64)

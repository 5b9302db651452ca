"""Simoncelli's steerable pyramid in the frequency domain: two scales of six orientations.

Own code and not pyrtools: pyrtools 1.1 puts the frequencies of an odd-sized image half a sample away
from where matlabPyrTools has them, and builds the same masks anew for each image.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from srcx.metrics.images import Floats

ORIENTATIONS = 6
ORDER = ORIENTATIONS - 1
RADIAL_STEPS = 256
ANGULAR_STEPS = 1024


@dataclass(frozen=True)
class Pyramid:
    """What is left above the first scale (H, W), and two scales of bands: (6, H, W) and (6, h, w)."""

    high: Floats
    fine: Floats
    coarse: Floats


@dataclass(frozen=True)
class Masks:
    """Factors for the spectrum of an image of one size, in the order of an FFT.

    `rows` and `cols` pick the low frequencies, of which the coarse scale is made.
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
    """The masks of images of one size; kept, since building them takes as long as using them."""
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
    """Frequencies of a centred spectrum, 1 being half the sampling rate."""
    return (np.arange(side) - side // 2) / (side / 2)


def low_half(side: int) -> NDArray[np.intp]:
    """Where the lower half of the frequencies lies in a centred spectrum."""
    kept = math.ceil((side - 0.5) / 2)
    return np.arange(kept) + side // 2 - kept // 2


def high_pass(octave: Floats, level: int) -> Floats:
    """Half a cosine over one octave: 0 below -1 - level, 1 above -level, in log2 of frequency."""
    octaves, high = radial_table()
    return np.interp(octave, octaves - level, high)


def low_pass(octave: Floats, level: int) -> Floats:
    """What `high_pass` leaves: the squares of the two sum to 1 at the steps of the table."""
    octaves, high = radial_table()
    return np.interp(octave, octaves - level, np.sqrt(np.abs(1 - high**2)))


def radial_table() -> tuple[Floats, Floats]:
    """Steps from one octave below the highest frequency up to it, and the high-pass there."""
    phase = np.pi * np.arange(-RADIAL_STEPS - 1, 2) / (2 * RADIAL_STEPS)
    power = np.cos(phase) ** 2
    power[0], power[-1] = power[1], power[-2]
    return -0.5 + (2 / np.pi) * (phase + np.pi / 4), np.sqrt(power)


def oriented(angle: Floats, k: int) -> Floats:
    """cos(angle - k pi / 6)^5, scaled so that the squares of the six sum to 1."""
    scale = 2 ** (2 * ORDER) * math.factorial(ORDER) ** 2 / (ORIENTATIONS * math.factorial(2 * ORDER))
    steps = np.pi * np.arange(-2 * ANGULAR_STEPS - 1, ANGULAR_STEPS + 2) / ANGULAR_STEPS
    return np.interp(angle, steps + np.pi * k / ORIENTATIONS, math.sqrt(scale) * np.cos(steps) ** ORDER)

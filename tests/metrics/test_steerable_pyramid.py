import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import fft

from srcx.metrics.steerable_pyramid import frequencies, low_half, low_pass, masks_of, steerable_pyramid

SIZES = [(64, 96), (65, 96), (51, 77), (66, 50)]


def mirrored(mask):
    """The mask at the opposite frequency."""
    return np.roll(mask[..., ::-1, ::-1], 1, axis=(-2, -1))


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_the_bands_have_their_sizes(height, width, rng):
    pyramid = steerable_pyramid(rng.uniform(0, 255, (height, width)))
    assert pyramid.high.shape == (height, width)
    assert pyramid.fine.shape == (6, height, width)
    assert pyramid.coarse.shape == (6, -(-height // 2), -(-width // 2))


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_the_fine_scale_keeps_all_energy_between_two_low_passes(height, width):
    across, down = np.meshgrid(frequencies(width), frequencies(height))
    octave = np.log2(np.maximum(np.hypot(across, down), 1e-9))
    masks = masks_of(height, width)
    total = masks.high**2 + (masks.fine**2).sum(axis=0)
    remainder = fft.ifftshift(low_pass(octave, 0) * low_pass(octave, 1)) ** 2
    assert_allclose(total + remainder, 1, atol=2e-5)  # the tables interpolate linearly


def test_opposite_frequencies_agree_in_odd_sizes():
    masks = masks_of(51, 77)
    assert_allclose(masks.high, mirrored(masks.high), atol=1e-12)
    assert_allclose(masks.fine, -mirrored(masks.fine), atol=1e-9)  # cos^5 is odd
    assert_allclose(masks.coarse, -mirrored(masks.coarse), atol=1e-9)


@pytest.mark.parametrize("side", [8, 9, 10, 11, 13])
def test_the_low_half_has_the_middle_in_its_middle(side):
    kept = low_half(side)
    assert kept[len(kept) // 2] == side // 2


def test_a_wave_lands_in_the_band_of_its_direction():
    row, col = np.mgrid[:96, :96]
    pyramid = steerable_pyramid(np.sin(2 * np.pi * 24 * col / 96) * 100)  # across, half the highest frequency
    energy = (pyramid.fine**2).mean(axis=(1, 2))
    assert energy.argmax() == 0
    pyramid = steerable_pyramid(np.sin(2 * np.pi * 24 * row / 96) * 100)
    assert (pyramid.fine**2).mean(axis=(1, 2)).argmax() == 3


def test_constants_do_not_matter(rng):
    image = rng.uniform(0, 255, (48, 48))
    for one, other in zip(
        vars(steerable_pyramid(image)).values(), vars(steerable_pyramid(image + 50)).values(), strict=True
    ):
        assert_allclose(one, other, atol=1e-10)


@pytest.mark.parametrize("size", [(64, 96), (66, 50)])
def test_equals_pyrtools_for_even_sizes(size, rng):
    pyrtools = pytest.importorskip("pyrtools")
    image = rng.uniform(0, 255, size)
    ours = steerable_pyramid(image)
    theirs = pyrtools.pyramids.SteerablePyramidFreq(image, height=2, order=5).pyr_coeffs
    assert_allclose(ours.high, theirs["residual_highpass"], atol=1e-8)
    for level, bands in enumerate((ours.fine, ours.coarse)):
        assert_allclose(bands, [theirs[level, k] for k in range(6)], atol=1e-8)

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import fft

from srcx.errors import ImageError
from srcx.metrics import ma_gsm
from srcx.metrics.ma_gsm import (
    frequencies,
    gsm_features,
    low_half,
    low_pass,
    masks_of,
    normalised,
    steerable_pyramid,
    structure_agreement,
    whitener,
    windowed,
)


def normalised_written_out(bands, k, parent):
    """norm_sender_normalized of the authors' code, place by place."""
    height, width = bands.shape[1] - 2, bands.shape[2] - 2
    vectors = []
    for i in range(1, height + 1):
        for j in range(1, width + 1):
            around = list(bands[k, i - 1 : i + 2, j - 1 : j + 2].ravel())
            around += [] if parent is None else [parent[i, j]]
            around += [bands[other, i, j] for other in range(len(bands)) if other != k]
            vectors.append(around)
    vectors = np.array(vectors)
    inverse = np.linalg.pinv(vectors.T @ vectors / len(vectors))
    count = 9 if parent is None else 10
    scale = np.sqrt(np.array([vector @ inverse @ vector for vector in vectors]) / count)
    centre = bands[k, 1:-1, 1:-1].ravel()
    return ((centre - centre.mean()) / scale).reshape(height, width)


@pytest.mark.parametrize("with_parent", [True, False])
def test_normalised_equals_the_authors_steps_written_out(with_parent, rng):
    bands = rng.standard_normal((6, 12, 14)).cumsum(axis=1)
    parent = rng.standard_normal((12, 14)) if with_parent else None
    assert_allclose(normalised(bands, 2, parent), normalised_written_out(bands, 2, parent), rtol=1e-9)


def test_the_whitener_squares_to_the_inverse(rng):
    samples = rng.standard_normal((5, 40))
    white = whitener(samples @ samples.T)
    assert_allclose(white.T @ white, np.linalg.inv(samples @ samples.T))


def test_negative_eigenvalues_are_removed_and_the_sum_stays():
    white = whitener(np.diag([4.0, 2.0, -1.0]))
    assert_allclose(white.T @ white, np.diag([6 / 20, 6 / 10, 0]), atol=1e-12)


def test_structure_agreement_is_ssim_without_luminance(rng):
    one, other = rng.uniform(0, 255, (2, 11, 11))
    ramp = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    weights = np.outer(ramp, ramp) / ramp.sum() ** 2
    x, y = one - (weights * one).sum(), other - (weights * other).sum()
    c = (0.03 * 255) ** 2
    wanted = (2 * (weights * x * y).sum() + c) / ((weights * (x**2 + y**2)).sum() + c)
    assert structure_agreement(windowed(one), windowed(other)) == pytest.approx(wanted)


def test_an_image_agrees_with_itself(rng):
    one = windowed(rng.uniform(0, 255, (20, 20)))
    assert structure_agreement(one, one) == pytest.approx(1)


def test_only_the_first_five_fine_orientations_have_a_parent(photo, monkeypatch):
    seen = []

    def spy(bands, k, parent):
        seen.append((bands.shape[1], k, parent is not None))
        return normalised(bands, k, parent)

    monkeypatch.setattr(ma_gsm, "normalised", spy)
    gsm_features(photo[..., 0])
    fine, coarse = photo.shape[0], photo.shape[0] // 2
    assert seen == [(fine, k, k < 5) for k in range(6)] + [(coarse, k, False) for k in range(6)]


def test_odd_sizes_work(draw):
    features = gsm_features(draw(91, 87)[..., 0])
    assert features.shape == (45,)
    assert np.isfinite(features).all()


def test_the_scale_of_grey_levels_does_not_change_shapes(photo):
    grey = photo[..., 0] // 2
    assert_allclose(gsm_features(grey)[:18], gsm_features(2 * grey)[:18], atol=0.0011)


def test_a_constant_image_is_an_error():
    with pytest.raises(ImageError, match="ma: the image has no structure"):
        gsm_features(np.full((64, 64), 90, np.uint8))


def test_stripes_are_an_error():
    stripes = np.tile(np.arange(64, dtype=np.uint8) % 8 * 30, (64, 1))
    with pytest.raises(ImageError, match="no structure in some orientation"):
        gsm_features(stripes)


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
def test_the_fine_scale_has_all_energy_between_two_low_passes(height, width):
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
    indices = low_half(side)
    assert indices[len(indices) // 2] == side // 2


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

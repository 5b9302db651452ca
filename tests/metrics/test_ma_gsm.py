import numpy as np
import pytest
from numpy.testing import assert_allclose

from srcx.errors import ImageError
from srcx.metrics import ma_gsm
from srcx.metrics.ma_gsm import gsm_features, normalised, structure_agreement, whitener, windowed


def normalised_by_the_book(bands, k, parent):
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
    assert_allclose(normalised(bands, 2, parent), normalised_by_the_book(bands, 2, parent), rtol=1e-9)


def test_the_whitener_squares_to_the_inverse(rng):
    samples = rng.standard_normal((5, 40))
    white = whitener(samples @ samples.T)
    assert_allclose(white.T @ white, np.linalg.inv(samples @ samples.T))


def test_negative_eigenvalues_are_removed_and_the_sum_is_kept():
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


def test_a_image_agrees_with_itself(rng):
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

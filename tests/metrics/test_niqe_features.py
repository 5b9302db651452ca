import math

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.ndimage import correlate
from scipy.special import gamma

from srcx.imaging.color import rgb_to_y
from srcx.metrics.niqe_features import asymmetric_fit, block_features, blocks_of, normalised, statistics

RAMP = np.exp(-(np.arange(-3, 4) ** 2) / (2 * (7 / 6) ** 2))
WINDOW = np.outer(RAMP, RAMP) / RAMP.sum() ** 2


def fit_by_the_book(values):
    """estimateaggdparam of the authors' code, one vector."""
    shapes = np.arange(0.2, 10.0005, 0.001)
    ratios = gamma(2 / shapes) ** 2 / (gamma(1 / shapes) * gamma(3 / shapes))
    left = math.sqrt(np.mean(values[values < 0] ** 2))
    right = math.sqrt(np.mean(values[values > 0] ** 2))
    ratio = left / right
    moments = np.mean(np.abs(values)) ** 2 / np.mean(values**2)
    wanted = moments * (ratio**3 + 1) * (ratio + 1) / (ratio**2 + 1) ** 2
    shape = shapes[np.argmin((ratios - wanted) ** 2)]
    scale = math.sqrt(gamma(1 / shape) / gamma(3 / shape))
    return shape, left * scale, right * scale


def statistics_by_the_book(block):
    """computefeature of the authors' code, one block."""
    shape, left, right = fit_by_the_book(block.ravel())
    numbers = [shape, (left + right) / 2]
    for shift in ((0, 1), (1, 0), (1, 1), (-1, 1)):
        shape, left, right = fit_by_the_book((block * np.roll(block, shift, axis=(0, 1))).ravel())
        numbers += [shape, (right - left) * gamma(2 / shape) / gamma(1 / shape), left, right]
    return numbers


def test_equal_the_formulas_written_out(rng):
    blocks = rng.standard_normal((3, 24, 24)) ** 3 + 0.2
    assert_allclose(statistics(blocks), [statistics_by_the_book(block) for block in blocks], rtol=1e-12)


def test_a_normal_distribution_is_recognised(rng):
    shape, left, right = asymmetric_fit(3 * rng.standard_normal((1, 200_000)))
    assert_allclose([shape[0], left[0], right[0]], [2, 3 * math.sqrt(2), 3 * math.sqrt(2)], rtol=0.02)


def test_one_sided_values_give_nan_on_the_other_side():
    shape, left, right = asymmetric_fit(np.array([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]]))
    assert_allclose(shape, 0.2)
    assert_allclose(np.isnan(left), [True, True])
    assert_allclose(np.isnan(right), [False, True])


def test_normalised_is_the_formula_with_a_2d_window(rng):
    image = rng.uniform(0, 255, (30, 40))
    mean = correlate(image, WINDOW, mode="nearest")
    deviation = np.sqrt(np.abs(correlate(image**2, WINDOW, mode="nearest") - mean**2))
    assert_allclose(normalised(image), (image - mean) / (deviation + 1), atol=1e-9)


@pytest.mark.parametrize("level", [37, 100, 235])
def test_round_off_in_flat_areas_is_zero(level, rng):
    """Whatever order the local mean is summed in, these pixels are on neither side of zero."""
    image = np.full((20, 20), float(level))
    assert not normalised(image).any()
    image[:, 12:] = rng.uniform(0, 255, (20, 8))
    assert not normalised(image)[:, :9].any()
    assert normalised(image)[:, 12:].all()


def test_blocks_go_down_the_columns():
    image = np.kron(np.array([[0, 2, 4], [1, 3, 5]]), np.ones((4, 4)))
    assert_allclose(blocks_of(image, 2, 3)[:, 0, 0], range(6))


@pytest.mark.parametrize(("name", "index", "kind"), [("Set5", 3, "HR")])
def test_equal_the_authors_block_by_block(reference, name, index, kind):
    stored = np.load(reference.folder / "niqe_features.npz")[f"{name}_{index:03d}_{kind}_feat"]
    image = reference.hr(name, index) if kind == "HR" else reference.bicubic(name, index)
    ours = block_features(rgb_to_y(image)[4:-4, 4:-4].astype(np.float64))
    assert_allclose(ours, stored, rtol=1e-10, atol=1e-12)

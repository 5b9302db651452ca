import math

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from scipy.ndimage import correlate
from scipy.special import gamma

from srcx.errors import ImageError
from srcx.imaging import read_image
from srcx.imaging.color import rgb_to_y
from srcx.metrics import niqe
from srcx.metrics.niqe import block_features, blocks_of, normalised, parameters, statistics


def test_parameters_are_a_gaussian():
    mean, covariance = parameters()
    assert mean.shape == (36,)
    assert_allclose(covariance, covariance.T)
    assert np.linalg.eigvalsh(covariance).min() > 0


def test_is_the_distance_between_two_gaussians(photo):
    grey = photo[..., 1]
    mean, covariance = parameters()
    blocks = block_features(grey[4:-4, 4:-4].astype(float))
    apart = mean - blocks.mean(axis=0)
    pooled = (covariance + np.cov(blocks.T)) / 2
    assert niqe(grey) == pytest.approx(math.sqrt(apart @ np.linalg.solve(pooled, apart)))


def test_blurring_makes_it_worse(photo, blurred):
    assert niqe(blurred) > niqe(photo)


def test_a_batch_scores_as_its_images_do(photo):
    batch = torch.from_numpy(photo / 255).permute(2, 0, 1).float()[None].repeat(2, 1, 1, 1)
    assert_allclose(niqe(batch), [niqe(photo)] * 2, rtol=1e-6)


@pytest.mark.parametrize(("name", "index"), [("Set5", 3), ("Set5", 4), ("Set5", 5)])
@pytest.mark.parametrize("kind", ["HR", "bicubic"])
def test_equals_the_authors_code(reference, name, index, kind):
    """In flat areas the code's own figure hangs on the sign of round-off: its variant with zeros counts."""
    figures = reference.figures(name, index)
    image = reference.hr(name, index) if kind == "HR" else reference.bicubic(name, index)
    round_off = figures[f"NIQE_{kind}_roundoff"]
    if round_off["flat_fraction"] == 0:
        assert niqe(image) == pytest.approx(figures[f"NIQE_{kind}"], abs=1e-9)
    else:
        assert niqe(image) == pytest.approx(round_off["C_flat_zeroed"], abs=1e-9)


def test_equals_the_one_figure_of_matlab_that_is_known(shared):
    """BasicSR's tests quote MATLAB R2021a's for their baboon.png, which has flat areas."""
    image = read_image(shared / "data/benchmark/Set14/HR/baboon.png")
    assert niqe(image, crop_px=0) == pytest.approx(5.72957338, abs=1e-6)


def test_less_than_a_block_is_an_error(draw):
    with pytest.raises(ImageError, match=r"niqe: needs at least 96 x 96 pixels after shaving 4 .* 103 x 300"):
        niqe(draw(300, 103))


def test_one_block_is_an_error(draw):
    with pytest.raises(ImageError, match=r"at least two blocks .*got 1 of 1"):
        niqe(draw(104, 190))


@pytest.mark.parametrize("level", [0, 37, 255])
def test_a_constant_image_is_an_error(level):
    with pytest.raises(ImageError, match="with structure in them; got 0 of 4"):
        niqe(np.full((200, 200, 3), level, np.uint8))


def test_constant_blocks_are_left_out_of_the_covariance(draw):
    image = draw(208, 304)
    image[:104, :104] = 90
    assert math.isfinite(niqe(image))


def test_alpha_is_an_error():
    with pytest.raises(ImageError, match="niqe: sr has an alpha channel"):
        niqe(np.zeros((200, 200, 4), np.uint8))


RAMP = np.exp(-(np.arange(-3, 4) ** 2) / (2 * (7 / 6) ** 2))
WINDOW = np.outer(RAMP, RAMP) / RAMP.sum() ** 2


def fit_written_out(values):
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


def statistics_written_out(block):
    """computefeature of the authors' code, one block."""
    shape, left, right = fit_written_out(block.ravel())
    numbers = [shape, (left + right) / 2]
    for shift in ((0, 1), (1, 0), (1, 1), (-1, 1)):
        shape, left, right = fit_written_out((block * np.roll(block, shift, axis=(0, 1))).ravel())
        numbers += [shape, (right - left) * gamma(2 / shape) / gamma(1 / shape), left, right]
    return numbers


def test_equal_the_formulas_written_out(rng):
    blocks = rng.standard_normal((3, 24, 24)) ** 3 + 0.2
    assert_allclose(statistics(blocks), [statistics_written_out(block) for block in blocks], rtol=1e-12)


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

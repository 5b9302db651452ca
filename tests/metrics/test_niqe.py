import math

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from srcx.errors import ImageError
from srcx.imaging import read_image
from srcx.metrics import niqe
from srcx.metrics.niqe import parameters
from srcx.metrics.niqe_features import block_features


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

"""The grid loss against its definition, and what it is blind to."""

import math

import pytest
import torch
from torch.testing import assert_close

from srcx.errors import ImageError, OptionsError
from srcx.losses.grid import GridLoss


def wave(period: float, side: int = 96) -> torch.Tensor:
    """Columns that rise and fall once every `period` pixels, (1, 3, side, side), of mean square 1 / 2."""
    return torch.sin(2 * math.pi * torch.arange(side) / period + 0.3).expand(1, 3, side, side)


@pytest.mark.parametrize("period", [2, 3, 4])
def test_a_grid_costs_its_mean_square(period):
    grid = torch.randn(1, 3, period, period).tile(1, 1, 96 // period, 96 // period)
    grid = grid - grid.mean((2, 3), keepdim=True)
    gt = torch.rand(1, 3, 96, 96)
    assert_close(GridLoss(period)(gt + grid, gt), grid.square().mean(), rtol=1e-4, atol=0)


@pytest.mark.parametrize("period", [3, 16, 6.5, math.inf])
def test_what_repeats_otherwise_is_free(period):
    loss = GridLoss(period=4, kernel_size=9, sigma=2.0)
    assert loss(wave(period), torch.zeros(1, 3, 96, 96)) < 2e-3


def test_a_grid_of_gt_is_no_fault():
    assert GridLoss()(wave(4), wave(4)) == 0


def test_gradient_is_that_of_finite_differences():
    loss = GridLoss(period=2, kernel_size=3, sigma=1.0)
    gt = torch.rand(1, 1, 8, 8)
    sr = torch.rand(1, 1, 8, 8, requires_grad=True)
    loss(sr, gt).backward()
    step = torch.zeros_like(gt)
    step[..., 3, 4] = 1e-2
    slope = (loss(sr + step, gt) - loss(sr - step, gt)) / 2e-2
    assert_close(sr.grad[0, 0, 3, 4], slope, rtol=1e-2, atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 3, 96, 98), (1, 3, 32, 96)])
def test_images_that_do_not_fit_are_refused(shape):
    with pytest.raises(ImageError, match="GridLoss: made for multiples of 4 from 36 on"):
        GridLoss()(torch.rand(shape), torch.rand(shape))


@pytest.mark.parametrize(("args", "named"), [({"kernel_size": 4}, "4"), ({"period": 1}, "1")])
def test_wrong_arguments_are_named(args, named):
    with pytest.raises(OptionsError, match=named):
        GridLoss(**args)

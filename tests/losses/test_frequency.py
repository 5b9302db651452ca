"""The low-frequency loss, the grid loss and the focal frequency loss against their definitions."""

import math
from functools import partial

import cv2
import numpy as np
import pytest
import torch
from torch.testing import assert_close

from srcx.errors import ImageError, OptionsError
from srcx.losses.frequency import FFTLoss, FocalFrequencyLoss, GridLoss, LowFrequencyLoss
from srcx.tensors import gaussian_blur


def test_blur_is_opencvs_gaussian():
    image = torch.rand(1, 1, 40, 50)
    blurred = cv2.GaussianBlur(image[0, 0].numpy(), (21, 21), 3, borderType=cv2.BORDER_REFLECT_101)
    assert_close(gaussian_blur(image)[0, 0], torch.from_numpy(blurred), atol=1e-6, rtol=1e-5)


def test_a_constant_shift_costs_its_square():
    gt = torch.rand(2, 3, 32, 32)
    assert_close(LowFrequencyLoss()(gt + 0.1, gt), torch.tensor(0.01), atol=1e-6, rtol=1e-4)
    assert_close(LowFrequencyLoss(criterion="l1")(gt + 0.1, gt), torch.tensor(0.1), atol=1e-6, rtol=1e-4)


def test_fine_detail_costs_almost_nothing():
    checkerboard = (
        (torch.arange(32)[:, None] + torch.arange(32)[None]).remainder(2).float().expand(1, 3, 32, 32)
    )
    assert LowFrequencyLoss()(checkerboard, 1 - checkerboard) < 1e-4


@pytest.mark.parametrize("criterion", ["l1", "l2"])
def test_gradient_equals_autograds_of_the_plain_formula(criterion):
    sr, gt = torch.rand(2, 1, 1, 12, 12, dtype=torch.float64)
    sr.requires_grad_()
    blur = partial(gaussian_blur, kernel_size=5, sigma=1)
    assert torch.autograd.gradcheck(blur, (sr,))
    low = blur(sr) - blur(gt)
    (expected,) = torch.autograd.grad(low.abs().mean() if criterion == "l1" else (low**2).mean(), sr)
    (found,) = torch.autograd.grad(LowFrequencyLoss(kernel_size=5, sigma=1, criterion=criterion)(sr, gt), sr)
    assert_close(found, expected, atol=1e-7, rtol=1e-4)


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
def test_patterns_of_other_periods_cost_nothing(period):
    loss = GridLoss(period=4, kernel_size=9, sigma=2.0)
    assert loss(wave(period), torch.zeros(1, 3, 96, 96)) < 2e-3


def test_a_grid_that_gt_has_too_costs_nothing():
    assert GridLoss()(wave(4), wave(4)) == 0


def test_gradient_of_the_grid_loss_equals_finite_differences():
    loss = GridLoss(period=2, kernel_size=3, sigma=1.0)
    gt = torch.rand(1, 1, 8, 8)
    sr = torch.rand(1, 1, 8, 8, requires_grad=True)
    loss(sr, gt).backward()
    step = torch.zeros_like(gt)
    step[..., 3, 4] = 1e-2
    slope = (loss(sr + step, gt) - loss(sr - step, gt)) / 2e-2
    assert_close(sr.grad[0, 0, 3, 4], slope, rtol=1e-2, atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 3, 96, 98), (1, 3, 32, 96)])
def test_images_of_unsuitable_size_are_refused(shape):
    with pytest.raises(ImageError, match="GridLoss: height and width must be multiples of 4, at least 36"):
        GridLoss()(torch.rand(shape), torch.rand(shape))


@pytest.mark.parametrize(
    ("loss", "args", "named"),
    [
        (GridLoss, {"kernel_size": 4}, "4"),
        (GridLoss, {"period": 1}, "1"),
        (LowFrequencyLoss, {"kernel_size": 20}, "20"),
        (LowFrequencyLoss, {"criterion": "l3"}, "'l3'"),
    ],
)
def test_wrong_arguments_are_named(loss, args, named):
    with pytest.raises(OptionsError, match=f"{loss.__name__}: .*{named}"):
        loss(**args)


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("factor", [1, 2])
def test_the_focal_loss_equals_the_formula_written_out_slowly(alpha, factor):
    sr, gt = torch.rand(2, 2, 3, 8, 12)
    values = []
    for channel in (sr - gt).flatten(0, 1).numpy():
        for rows in np.split(channel, factor, 0):
            for patch in np.split(rows, factor, 1):
                size = np.abs(np.fft.fft2(patch, norm="ortho"))
                values.append((size**alpha / (size**alpha).max() * size**2).mean())
    assert FocalFrequencyLoss(alpha, factor)(sr, gt).item() == pytest.approx(np.mean(values), rel=1e-5)


def test_the_focal_loss_of_one_frequency_is_the_mean_square_and_a_second_weaker_one_adds_less():
    wave = 0.1 * torch.cos(2 * math.pi * torch.arange(16) / 4).expand(1, 3, 16, 16)
    weak = 0.05 * torch.cos(2 * math.pi * torch.arange(16) / 8).expand(1, 3, 16, 16)
    gt = torch.full((1, 3, 16, 16), 0.5)
    assert_close(FocalFrequencyLoss()(gt + wave, gt), wave.square().mean())
    assert_close(
        FocalFrequencyLoss()(gt + wave + weak, gt), wave.square().mean() + 0.5 * weak.square().mean()
    )
    assert_close(FocalFrequencyLoss(0.0)(gt + wave + weak, gt), (wave + weak).square().mean())


def test_the_weights_of_the_focal_loss_have_no_gradient_and_equal_images_a_finite_one():
    gt = torch.rand(1, 3, 8, 8)
    sr = (gt + 0.25).requires_grad_()
    FocalFrequencyLoss()(sr, gt).backward()
    assert_close(sr.grad, torch.full_like(gt, 2 * 0.25 / gt.numel()), atol=1e-6, rtol=1e-3)
    same = gt.clone().requires_grad_()
    loss = FocalFrequencyLoss(0.5)(same, gt)
    loss.backward()
    assert loss == 0
    assert torch.isfinite(same.grad).all()


def test_the_focal_loss_refuses_wrong_arguments_and_sizes():
    with pytest.raises(
        OptionsError, match="alpha of at least 0 and patch_factor of at least 1; got -1 and 1"
    ):
        FocalFrequencyLoss(alpha=-1)
    image = torch.rand(1, 3, 9, 8)
    with pytest.raises(ImageError, match=r"multiples of patch_factor 2; got \(1, 3, 9, 8\)"):
        FocalFrequencyLoss(patch_factor=2)(image, image)


def test_fft_is_the_mean_of_the_real_and_imaginary_differences(rng):
    sr, gt = (rng.random((2, 3, 6, 5)) for _ in range(2))
    spectra = [np.fft.fft2(one) for one in (sr, gt)]
    difference = spectra[0] - spectra[1]
    expected = (np.abs(difference.real).mean() + np.abs(difference.imag).mean()) / 2
    found = FFTLoss()(torch.from_numpy(sr), torch.from_numpy(gt))
    assert found.item() == pytest.approx(expected, rel=1e-5)
    total = FFTLoss(reduction="sum")(torch.from_numpy(sr), torch.from_numpy(gt))
    assert total.item() == pytest.approx(2 * sr.size * expected, rel=1e-5)
    with pytest.raises(OptionsError, match="reduction must be"):
        FFTLoss(reduction="none")

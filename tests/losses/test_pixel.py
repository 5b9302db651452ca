import pytest
import torch
from torch.testing import assert_close

from srcx.errors import ImageError, OptionsError
from srcx.losses.pixel import (
    CharbonnierLoss,
    L1Loss,
    MSELoss,
    PSNRLoss,
    TotalVariationLoss,
    charbonnier,
    total_variation,
)

ALL = [L1Loss, MSELoss, CharbonnierLoss]


def test_match_the_formulas_by_hand():
    sr, gt = torch.full((1, 1, 1, 2), 0.7), torch.full((1, 1, 1, 2), 0.3)
    assert_close(L1Loss()(sr, gt), torch.tensor(0.4))
    assert_close(MSELoss()(sr, gt), torch.tensor(0.16))
    assert_close(CharbonnierLoss(eps=0.09)(sr, gt), torch.tensor(0.5))  # sqrt(0.4² + 0.3²)


def test_psnr_is_that_of_each_image():
    sr, gt = torch.full((2, 3, 4, 4), 0.5), torch.full((2, 3, 4, 4), 0.5)
    sr[0] += 0.1  # 20 dB
    assert_close(PSNRLoss()(sr, gt), torch.tensor(-50.0), atol=1e-3, rtol=0)
    assert_close(PSNRLoss(reduction="sum")(sr, gt), torch.tensor(-100.0), atol=1e-3, rtol=0)


@pytest.mark.parametrize("loss", ALL)
def test_sum_is_the_mean_times_the_number_of_values(loss):
    sr, gt = torch.rand(2, 3, 4, 5), torch.rand(2, 3, 4, 5)
    assert_close(loss(reduction="sum")(sr, gt), loss()(sr, gt) * sr.numel())


@pytest.mark.parametrize("loss", ALL)
def test_gradient_equals_finite_differences(loss):
    sr, gt = torch.rand(1, 2, 3, 3, dtype=torch.float64, requires_grad=True), torch.rand(1, 2, 3, 3).double()
    assert torch.autograd.gradcheck(loss(), (sr, gt))


def test_charbonnier_at_equal_images_has_a_finite_gradient():
    sr = torch.rand(1, 3, 4, 4, requires_grad=True)
    charbonnier(sr, sr.detach()).sum().backward()
    assert torch.isfinite(sr.grad).all()


@pytest.mark.parametrize("loss", ALL)
def test_the_error_names_both_shapes_when_they_differ(loss):
    with pytest.raises(ImageError, match=r"sr \(1, 3, 8, 8\) and gt \(1, 3, 4, 4\)"):
        loss()(torch.rand(1, 3, 8, 8), torch.rand(1, 3, 4, 4))


def test_unknown_reduction_is_named():
    with pytest.raises(OptionsError, match="'none'"):
        L1Loss(reduction="none")


def test_total_variation_counts_both_directions():
    x = torch.tensor([[[[0.0, 1.0], [0.0, 1.0]]]])
    assert_close(total_variation(x), torch.tensor(1.0))  # columns differ by 1, rows by 0
    assert_close(total_variation(x.mT), torch.tensor(1.0))


def test_a_constant_image_has_no_total_variation_for_any_ground_truth():
    assert TotalVariationLoss()(torch.ones(1, 3, 4, 4), torch.rand(1, 3, 4, 4)) == 0

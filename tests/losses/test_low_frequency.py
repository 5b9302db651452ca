from functools import partial

import cv2
import pytest
import torch
from torch.testing import assert_close

from srcx.errors import OptionsError
from srcx.imaging.tensors import gaussian_blur
from srcx.losses.low_frequency import LowFrequencyLoss


def test_blur_is_opencvs_gaussian():
    image = torch.rand(1, 1, 40, 50)
    blurred = cv2.GaussianBlur(image[0, 0].numpy(), (21, 21), 3, borderType=cv2.BORDER_REFLECT_101)
    assert_close(gaussian_blur(image)[0, 0], torch.from_numpy(blurred), atol=1e-6, rtol=1e-5)


def test_a_constant_shift_costs_its_square():
    gt = torch.rand(2, 3, 32, 32)
    assert_close(LowFrequencyLoss()(gt + 0.1, gt), torch.tensor(0.01), atol=1e-6, rtol=1e-4)
    assert_close(LowFrequencyLoss(criterion="l1")(gt + 0.1, gt), torch.tensor(0.1), atol=1e-6, rtol=1e-4)


def test_fine_detail_hardly_counts():
    checkerboard = (
        (torch.arange(32)[:, None] + torch.arange(32)[None]).remainder(2).float().expand(1, 3, 32, 32)
    )
    assert LowFrequencyLoss()(checkerboard, 1 - checkerboard) < 1e-4


@pytest.mark.parametrize("criterion", ["l1", "l2"])
def test_gradient_is_that_of_the_plain_formula_whose_blur_has_that_of_finite_differences(criterion):
    sr, gt = torch.rand(2, 1, 1, 12, 12, dtype=torch.float64)
    sr.requires_grad_()
    blur = partial(gaussian_blur, kernel_size=5, sigma=1)
    assert torch.autograd.gradcheck(blur, (sr,))
    low = blur(sr) - blur(gt)
    (expected,) = torch.autograd.grad(low.abs().mean() if criterion == "l1" else (low**2).mean(), sr)
    (found,) = torch.autograd.grad(LowFrequencyLoss(kernel_size=5, sigma=1, criterion=criterion)(sr, gt), sr)
    assert_close(found, expected, atol=1e-7, rtol=1e-4)


@pytest.mark.parametrize(("args", "named"), [({"kernel_size": 20}, "20"), ({"criterion": "l3"}, "'l3'")])
def test_wrong_arguments_are_named(args, named):
    with pytest.raises(OptionsError, match=named):
        LowFrequencyLoss(**args)

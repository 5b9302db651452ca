import pytest
import torch
from skimage.metrics import structural_similarity
from torch.testing import assert_close

from srcx.errors import ImageError
from srcx.losses.ssim import SSIMLoss


def test_equal_images_cost_nothing():
    image = torch.rand(2, 3, 16, 16)
    assert_close(SSIMLoss()(image, image), torch.tensor(0.0), atol=1e-6, rtol=0)


def test_matches_scikit_image_on_the_valid_region():
    sr, gt = torch.rand(1, 3, 24, 30).double(), torch.rand(1, 3, 24, 30).double()
    _, windows = structural_similarity(
        sr[0].numpy(), gt[0].numpy(), data_range=1, channel_axis=0, gaussian_weights=True, sigma=1.5,
        use_sample_covariance=False, full=True,
    )  # fmt: skip
    expected = 1 - windows[:, 5:-5, 5:-5].mean()
    assert_close(SSIMLoss()(sr, gt).item(), expected, atol=1e-5, rtol=0)


def test_gradient_is_finite_at_constant_and_equal_images():
    sr = torch.full((1, 3, 12, 12), 0.5, requires_grad=True)
    SSIMLoss()(sr, sr.detach()).backward()
    assert torch.isfinite(sr.grad).all()


def test_too_small_images_are_refused():
    with pytest.raises(ImageError, match="at least 11 x 11"):
        SSIMLoss()(torch.rand(1, 3, 10, 20), torch.rand(1, 3, 10, 20))

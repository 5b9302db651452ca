import numpy as np
import pytest
import torch
from numpy.lib.stride_tricks import sliding_window_view
from skimage.metrics import structural_similarity
from torch.testing import assert_close

from srcx.errors import ImageError, OptionsError
from srcx.losses.ssim import MSSSIMLoss, SSIMLoss


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


def slow_ms_ssim(one, other, weights):
    """MS-SSIM of one channel each, (H, W): windows cut out one by one, and averages of 2 x 2 pixels."""
    taps = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    window = np.outer(taps, taps) / taps.sum() ** 2
    product = 1.0
    for place, weight in enumerate(weights):
        views = [sliding_window_view(image, (11, 11)) for image in (one, other)]
        mean_1, mean_2 = ((view * window).sum((2, 3)) for view in views)
        var_1, var_2 = (
            (view**2 * window).sum((2, 3)) - mean**2
            for view, mean in zip(views, (mean_1, mean_2), strict=True)
        )
        covariance = (views[0] * views[1] * window).sum((2, 3)) - mean_1 * mean_2
        factor = (2 * covariance + 0.03**2) / (var_1 + var_2 + 0.03**2)
        if place == len(weights) - 1:
            factor = factor * (2 * mean_1 * mean_2 + 0.01**2) / (mean_1**2 + mean_2**2 + 0.01**2)
        product *= factor.mean() ** weight
        height, width = (side // 2 * 2 for side in one.shape)
        one, other = (
            image[:height, :width].reshape(height // 2, 2, width // 2, 2).mean((1, 3))
            for image in (one, other)
        )
    return product


@pytest.mark.parametrize("weights", [(0.3, 0.4, 0.3), (1.0,)])
def test_ms_ssim_equals_the_formula_written_out_slowly(weights):
    gt = torch.rand(2, 3, 46, 52).double()
    sr = (gt + 0.2 * torch.rand_like(gt)).clamp(0, 1)
    expected = 1 - np.mean(
        [slow_ms_ssim(sr[n, c].numpy(), gt[n, c].numpy(), weights) for n in range(2) for c in range(3)]
    )
    assert MSSSIMLoss(weights)(sr, gt).item() == pytest.approx(expected, abs=1e-5)


def test_ms_ssim_of_two_greys_is_the_luminance_at_the_coarsest_scale():
    sr, gt = torch.full((1, 3, 176, 180), 0.3), torch.full((1, 3, 176, 180), 0.6)
    luminance = (2 * 0.3 * 0.6 + 1e-4) / (0.3**2 + 0.6**2 + 1e-4)
    assert MSSSIMLoss()(sr, gt).item() == pytest.approx(1 - luminance**0.1333, abs=1e-5)


def test_ms_ssim_of_inverted_noise_has_a_gradient_from_the_coarser_scales():
    checks, ramp = torch.rand(1, 3, 44, 44) - 0.5, torch.linspace(0, 1, 44).expand(1, 3, 44, 44)
    sr = (ramp - 0.3 * checks).requires_grad_()
    loss = MSSSIMLoss([0.3, 0.3, 0.4])(sr, ramp + 0.3 * checks)
    loss.backward()
    assert sr.grad.isfinite().all()
    assert sr.grad.abs().sum() > 0


def test_ms_ssim_says_how_large_images_must_be_for_its_scales():
    small = torch.rand(1, 3, 96, 96)
    with pytest.raises(ImageError, match=r"at least 176 x 176; .* larger crops or fewer scale_weights"):
        MSSSIMLoss()(small, small)
    with pytest.raises(OptionsError, match="expected scale_weights such as"):
        MSSSIMLoss([0.5, 0.0])

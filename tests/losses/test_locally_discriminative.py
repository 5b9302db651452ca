import pytest
import torch
from torch.testing import assert_close

from srcx.errors import ImageError, OptionsError
from srcx.losses.locally_discriminative import LDLLoss, artifact_map


def images(size=12):
    return torch.rand(3, 2, 3, size, size, dtype=torch.float64)


def test_the_weight_of_a_pixel_is_its_local_variance_times_the_fifth_root_of_that_of_the_image():
    sr, gt, sr_ema = images()
    found = artifact_map(sr, gt, sr_ema, window_px=3)
    residual = (gt - sr).abs().sum(1)
    nearer = residual < (gt - sr_ema).abs().sum(1)
    assert found.shape == (2, 1, 12, 12)
    assert 0 < nearer.sum() < nearer.numel()
    for n in range(2):
        for y in range(1, 11):
            for x in range(1, 11):
                window = residual[n, y - 1 : y + 2, x - 1 : x + 2]
                expected = 0 if nearer[n, y, x] else residual[n].var() ** 0.2 * window.var()
                assert found[n, 0, y, x].item() == pytest.approx(float(expected), abs=1e-12)


def test_the_loss_is_the_l1_of_weighted_images():
    sr, gt, sr_ema = images()
    weight = artifact_map(sr, gt, sr_ema)
    assert_close(LDLLoss()(sr, gt, sr_ema), (weight * (sr - gt)).abs().mean())
    assert_close(LDLLoss(reduction="sum")(sr, gt, sr_ema), (weight * (sr - gt)).abs().sum())


def test_gradient_equals_finite_differences():
    sr, gt, sr_ema = (one[:1, :, :5, :5] for one in images(5))
    loss = LDLLoss(window_px=3)
    assert torch.autograd.gradcheck(lambda x: loss(x, gt, sr_ema), sr.requires_grad_())


def test_different_shapes_and_even_windows_are_refused():
    sr, gt, sr_ema = images()
    with pytest.raises(ImageError, match="artifact_map"):
        artifact_map(sr, gt, sr_ema[..., :8])
    with pytest.raises(OptionsError, match="window_px must be odd and at least 3; got 4"):
        LDLLoss(window_px=4)

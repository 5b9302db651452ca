from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from srcx.errors import ImageError, OptionsError
from srcx.features.extractor import FeatureExtractor
from srcx.features.lpips_network import lpips_network
from srcx.losses.lpips import LPIPSLoss
from srcx.weights.checkpoint import save_state


@pytest.fixture(autouse=True)
def made_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_state(tmp_path / "alexnet.safetensors", FeatureExtractor.random("alexnet").state_dict())
    monkeypatch.setenv("SRCX_WEIGHTS", str(tmp_path))


def test_returns_the_mean_distance_of_images_in_0_to_1() -> None:
    sr, gt = torch.rand(2, 2, 3, 40, 40)
    assert_close(LPIPSLoss()(sr, gt), lpips_network("alex")(sr * 2 - 1, gt * 2 - 1).mean())


def test_equal_images_give_zero_and_a_finite_gradient() -> None:
    sr = torch.rand(1, 3, 40, 40, requires_grad=True)
    value = LPIPSLoss()(sr, sr.detach().clone())
    value.backward()
    assert value.item() == 0
    assert sr.grad is not None
    assert sr.grad.isfinite().all()


def test_a_step_along_the_gradient_lowers_the_loss() -> None:
    sr, gt = torch.rand(2, 1, 3, 40, 40)
    sr.requires_grad_()
    loss = LPIPSLoss()
    before = loss(sr, gt)
    before.backward()
    assert sr.grad is not None
    after = loss(sr.detach() - 1e-3 * sr.grad / sr.grad.abs().max(), gt)
    assert after < before
    assert not any(weight.requires_grad for weight in loss.parameters())


def test_training_mode_changes_nothing() -> None:
    loss, (sr, gt) = LPIPSLoss(), torch.rand(2, 1, 3, 40, 40)
    before = loss(sr, gt)
    assert_close(loss.train()(sr, gt), before, rtol=0, atol=0)  # its dropout would


@pytest.mark.parametrize("constant", [0.0, 0.5, 1.0])
def test_constant_images_are_finite(constant: float) -> None:
    sr = torch.full((1, 3, 40, 40), constant, requires_grad=True)
    value = LPIPSLoss()(sr, torch.rand(1, 3, 40, 40))
    value.backward()
    assert value.isfinite()
    assert sr.grad is not None
    assert sr.grad.isfinite().all()


def test_wrong_images_and_nets_are_named() -> None:
    with pytest.raises(OptionsError, match="expected one of alex, vgg"):
        LPIPSLoss("squeeze")
    with pytest.raises(ImageError, match=r"H and W at least 31, got \(1, 3, 30, 40\)"):
        LPIPSLoss()(torch.rand(1, 3, 30, 40), torch.rand(1, 3, 30, 40))
    with pytest.raises(ImageError, match=r"got \(1, 1, 40, 40\)"):
        LPIPSLoss()(torch.rand(1, 1, 40, 40), torch.rand(1, 1, 40, 40))
    with pytest.raises(ImageError, match="lpips"):
        LPIPSLoss()(torch.rand(1, 3, 40, 40), torch.rand(1, 3, 40, 44))

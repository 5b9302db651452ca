import numpy as np
import pytest
import torch
from torch.testing import assert_close

from srcx import registry
from srcx.basicsr_compat.importing import open_basicsr
from srcx.basicsr_compat.register import NOT_LENT, lend_all


@pytest.fixture(scope="module")
def basicsr_registry(basicsr):
    lend_all()
    return open_basicsr("basicsr.utils.registry")


def test_lends_every_network_loss_and_metric(basicsr_registry):
    assert all(f"{name}_srcx" in basicsr_registry.ARCH_REGISTRY for name in registry.NETWORKS)
    assert all(f"{name}_srcx" in basicsr_registry.LOSS_REGISTRY for name in registry.LOSSES.keys() - NOT_LENT)
    assert all(f"{name}_srcx" in basicsr_registry.METRIC_REGISTRY for name in registry.METRICS)


def test_lending_twice_adds_nothing(basicsr_registry):
    assert lend_all() == []


def test_a_lent_loss_takes_basicsrs_weight(basicsr_registry):
    loss = basicsr_registry.LOSS_REGISTRY.get("L1Loss_srcx")(loss_weight=0.5, reduction="sum")
    sr, gt = torch.rand(1, 3, 4, 4), torch.rand(1, 3, 4, 4)
    assert_close(loss(sr, gt), 0.5 * (sr - gt).abs().sum())


def test_a_lent_metric_takes_bgr_images_and_better(basicsr_registry):
    sr, gt = (np.random.default_rng(seed).integers(0, 256, (16, 16, 3), np.uint8) for seed in (0, 1))
    lent = basicsr_registry.METRIC_REGISTRY.get("psnr_srcx")(img=sr, img2=gt, better="higher", crop_px=0)
    assert lent == pytest.approx(registry.METRICS["psnr"](sr[..., ::-1], gt[..., ::-1], crop_px=0))


def test_basicsrs_model_takes_a_step_with_a_lent_network_and_loss(basicsr_registry):
    options = {
        "model_type": "SRModel",
        "num_gpu": 0,
        "dist": False,
        "is_train": True,
        "rank": 0,
        "path": {},
        "network_g": {"type": "SRResNet_srcx", "num_feat": 4, "num_block": 1, "upscale": 2},
        "train": {
            "pixel_opt": {"type": "CharbonnierLoss_srcx", "loss_weight": 1.0},
            "optim_g": {"type": "Adam", "lr": 1e-3},
            "scheduler": {"type": "MultiStepLR", "milestones": [10]},
        },
    }
    model = open_basicsr("basicsr.models").build_model(options)
    before = [weight.clone() for weight in model.net_g.parameters()]
    model.feed_data({"lq": torch.rand(2, 3, 4, 4), "gt": torch.rand(2, 3, 8, 8)})
    model.optimize_parameters(1)
    assert model.get_current_log()["l_pix"] > 0
    assert all(not torch.equal(old, new) for old, new in zip(before, model.net_g.parameters(), strict=True))

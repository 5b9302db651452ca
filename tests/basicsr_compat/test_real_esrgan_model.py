"""RealESRGANModel's numbers, with LDL and its choice of sharpened gt, and MultiScaleGANLoss's."""

import json
import runpy
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from srcx.basicsr_compat.importing import open_basicsr
from srcx.losses.gan import MultiScaleGANLoss
from srcx.losses.locally_discriminative import artifact_map
from srcx.training import build
from srcx.training.options import load_training

SCRIPT = Path(__file__).resolve().parents[2] / "scripts/bench/compare_with_basicsr.py"
ADAM = {"type": "Adam", "lr": 1e-4, "weight_decay": 0, "betas": [0.9, 0.99]}
THEIR_TERMS = {
    "pixel": "l_g_pix",
    "ldl": "l_g_ldl",
    "gan": "l_g_gan",
    "d_real": "l_d_real",
    "d_fake": "l_d_fake",
    "out_d_real": "out_d_real",
    "out_d_fake": "out_d_fake",
}


def options(**flags):
    return {
        "name": "compare",
        "model_type": "RealESRGANModel",
        "scale": 4,
        "num_gpu": 0,
        "high_order_degradation": False,
        "percep_gt_usm": True,
        **flags,
        "datasets": {
            "train": {
                "name": "noise",
                "type": "RealESRGANPairedDataset",
                "dataroot_gt": "none",
                "dataroot_lq": "none",
                "gt_size": 32,
            }
        },
        "network_g": {"type": "MSRResNet", "num_feat": 8, "num_block": 2, "upscale": 4},
        "network_d": {"type": "UNetDiscriminatorSN", "num_in_ch": 3, "num_feat": 4},
        "train": {
            "total_iter": 1000,
            "ema_decay": 0.9,
            "channels_last": False,
            "optim_g": dict(ADAM),
            "optim_d": dict(ADAM),
            "scheduler": {"type": "MultiStepLR", "milestones": [5], "gamma": 0.5},
            "pixel_opt": {"type": "L1Loss", "loss_weight": 0.5, "reduction": "mean"},
            "ldl_opt": {"type": "L1Loss", "loss_weight": 1.0, "reduction": "mean"},
            "gan_opt": {
                "type": "GANLoss",
                "gan_type": "vanilla",
                "real_label_val": 1.0,
                "fake_label_val": 0.0,
                "loss_weight": 0.1,
            },
        },
    }


@pytest.mark.parametrize(("l1_gt_usm", "gan_gt_usm"), [(True, False), (False, True)])
def test_ten_iterations_equal_basicsrs(basicsr, tmp_path, monkeypatch, l1_gt_usm, gan_gt_usm):
    monkeypatch.setattr(torch.nn.Module, "cuda", lambda self: self)
    chosen = options(l1_gt_usm=l1_gt_usm, gan_gt_usm=gan_gt_usm)
    (tmp_path / "compare.yml").write_text(json.dumps(chosen))
    checked = load_training(tmp_path / "compare.yml")
    ours, theirs = (
        build.model(checked, build.accelerator(checked)),
        runpy.run_path(str(SCRIPT))["BasicSRModel"](chosen),
    )
    theirs.start_from(*(one.net.state_dict() for one in ours.networks.values()))
    for _ in range(10):
        gt = torch.rand(2, 3, 32, 32)
        gt = torch.nn.functional.interpolate(gt[..., ::4, ::4], scale_factor=4, mode="bicubic").clamp(0, 1)
        batch = {"lq": torch.nn.functional.avg_pool2d(gt, 4), "gt": gt}
        their_terms = theirs.step(batch)
        our_terms = ours.step(batch | {"gt_sharp": theirs.model.usm_sharpener(gt)})
        assert {THEIR_TERMS[name] for name in our_terms} == set(their_terms)
        for name, value in our_terms.items():
            assert value == pytest.approx(their_terms[THEIR_TERMS[name]], abs=1e-5)
    for name, weight in theirs.model.net_g_ema.named_parameters():
        assert_close(ours.ema.module.state_dict()[name], weight.data, rtol=0, atol=1e-5)


def test_the_artifact_map_equals_basicsrs_with_its_gradient(basicsr):
    theirs = open_basicsr("basicsr.losses.loss_util").get_refined_artifact_map
    for _ in range(5):
        sr, gt, sr_ema = torch.rand(3, 2, 3, 20, 24)
        sr.requires_grad_()
        ours, their = artifact_map(sr, gt, sr_ema), theirs(gt, sr, sr_ema, 7)
        assert_close(ours, their, rtol=0, atol=1e-6)
        gradients = [torch.autograd.grad(one.square().sum(), sr)[0] for one in (ours, their)]
        assert_close(*gradients, rtol=0, atol=1e-5)


@pytest.mark.parametrize("gan_type", ["vanilla", "lsgan", "wgan", "wgan_softplus", "hinge"])
def test_the_loss_of_several_scales_equals_basicsrs(basicsr, gan_type):
    theirs = open_basicsr("basicsr.losses.gan_loss").MultiScaleGANLoss(gan_type)
    logits = [[torch.randn(2, 8, 9, 9), torch.randn(2, 1, 9, 9)], torch.randn(2, 1, 4, 4)]
    for real, is_disc in ((True, False), (True, True), (False, True)):
        ours = MultiScaleGANLoss(gan_type)(logits, real, is_disc=is_disc)
        assert_close(ours, theirs(logits, real, is_disc=is_disc))

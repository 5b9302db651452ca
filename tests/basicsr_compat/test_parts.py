import pytest
import torch

from srcx import registry
from srcx.basicsr_compat.parts import AllParts
from srcx.errors import BasicSRError

parts = AllParts()


def only_message(kind, type_name, args=()):
    ((name, message),) = parts.problems(kind, type_name, dict(args))
    assert name is None
    return message


def test_srcx_comes_before_basicsr(basicsr):
    assert parts.network("MSRResNet") is registry.NETWORKS["MSRResNet"]
    assert parts.network("basicsr.MSRResNet").__module__ == "basicsr.archs.srresnet_arch"


def test_any_other_network_is_basicsrs(basicsr):
    assert parts.network("SwinIR").__module__ == "basicsr.archs.swinir_arch"
    assert parts.problems("network", "SwinIR", {"embed_dim": 60, "upsampler": "pixelshuffledirect"}) == []


def test_any_other_loss_is_basicsrs(basicsr):
    assert parts.part("loss", "WeightedTVLoss")(reduction="mean")(torch.ones(1, 1, 2, 2), None) == 0


@pytest.mark.parametrize(
    ("kind", "type_name", "args"),
    [
        ("network", "SRResNet", {"num_feat": 64, "num_block": 16, "upscale": 4}),
        ("network", "UNetDiscriminatorSN", {"num_in_ch": 3, "num_feat": 64, "skip_connection": True}),
        ("loss", "GANLoss", {"gan_type": "vanilla", "real_label_val": 1.0, "fake_label_val": 0.0}),
        ("loss", "L1Loss", {"reduction": "mean"}),
        (
            "loss",
            "PerceptualLoss",
            {"layer_weights": {"conv5_4": 1}, "perceptual_weight": 1, "style_weight": 0},
        ),
        ("metric", "calculate_psnr", {"crop_border": 4, "test_y_channel": False}),
        ("metric", "psnr", {"crop_px": 4}),
        ("optimizer", "Adam", {"lr": 1e-4, "weight_decay": 0, "betas": [0.9, 0.99]}),
        ("scheduler", "MultiStepLR", {"milestones": [100, 200], "gamma": 0.5}),
        (
            "scheduler",
            "CosineAnnealingRestartLR",
            {"periods": [10, 10], "restart_weights": [1, 1], "eta_min": 1e-7},
        ),
    ],
)
def test_what_option_files_write_is_no_problem(kind, type_name, args):
    assert parts.problems(kind, type_name, args) == []


@pytest.mark.parametrize(
    ("kind", "type_name", "near"),
    [
        ("network", "SRResNett", "SRResNet"),
        ("network", "RRDBNett", "RRDBNet"),
        ("loss", "L1Los", "L1Loss"),
        ("metric", "psnrr", "psnr"),
        ("metric", "pnsr", "psnr"),
        ("metric", "calculate_pnsr", "calculate_psnr"),
        ("metric", "calculate_lpips", "lpips"),
        ("metric", "calculate_dists", "dists"),
        ("optimizer", "Adamm", "Adam"),
        ("scheduler", "MultistepLR", "MultiStepLR"),
    ],
)
def test_names_the_nearest_part(basicsr, kind, type_name, near):
    assert only_message(kind, type_name) == f"unknown {kind} '{type_name}'; did you mean '{near}'?"


@pytest.mark.parametrize(
    ("kind", "type_name"),
    [
        ("loss", "EdgeLoss"),
        ("dataset", "FFHQDataset"),
        ("scheduler", "TrueCosineAnnealingLR"),
    ],
)
def test_a_name_that_only_ends_alike_gets_the_list_and_no_wrong_hint(basicsr, kind, type_name):
    message = only_message(kind, type_name)
    assert message.startswith(f"unknown {kind} '{type_name}'; srcx has ")
    assert "did you mean" not in message


def test_lists_what_both_have_when_nothing_is_near(basicsr):
    message = only_message("network", "Qqq")
    assert message.startswith("unknown network 'Qqq'; srcx has FeatureDiscriminator, MSRResNet, ")
    assert "; BasicSR has ECBSR, " in message
    assert "EDVR" not in message
    assert message.endswith("; spandrel has more, as spandrel.NAME")


def test_names_the_argument_of_a_part(basicsr):
    assert parts.problems("network", "RRDBNet", {"num_in_ch": 3, "num_feet": 64}) == [
        ("num_feet", "unknown argument; did you mean 'num_feat'?"),
        (None, "RRDBNet needs the argument 'num_out_ch'"),
    ]


def test_raises_for_an_unknown_part(basicsr):
    with pytest.raises(BasicSRError, match="unknown network 'SRResNett'; did you mean 'SRResNet'"):
        parts.network("SRResNett")


def test_without_basicsr_own_parts_work_and_others_say_why_not(no_basicsr):
    assert parts.network("SRResNet") is registry.NETWORKS["SRResNet"]
    message = only_message("network", "RRDBNet")
    assert message.startswith("unknown network 'RRDBNet'; srcx has FeatureDiscriminator, ")
    assert "; BasicSR is not installed: " in message

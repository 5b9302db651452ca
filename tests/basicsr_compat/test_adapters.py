import inspect

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from srcx import registry
from srcx.archs import MSRResNet, SRVGGNetCompact, UNetDiscriminatorSN, VGGStyleDiscriminator
from srcx.basicsr_compat.adapters import (
    NOT_REGISTERED,
    basicsr_names,
    basicsr_part,
    register_in_basicsr,
)
from srcx.basicsr_compat.importing import open_basicsr
from srcx.errors import BasicSRError


def test_a_network_has_two_names(basicsr):
    assert basicsr_part("network", "RRDBNet") is basicsr_part("network", "basicsr.RRDBNet")
    net = basicsr_part("network", "RRDBNet")(
        num_in_ch=3, num_out_ch=3, num_feat=4, num_block=1, num_grow_ch=2
    )
    assert net(torch.rand(1, 3, 4, 4)).shape == (1, 3, 16, 16)


def test_finds_parts_registered_with_a_suffix_in_silence(basicsr, capsys):
    assert basicsr_part("network", "SRVGGNetCompact").__name__ == "SRVGGNetCompact"
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("kind", "name"), [("network", "SwinIR"), ("loss", "L1Loss"), ("dataset", "REDSDataset")]
)
def test_lists_the_names_of_a_kind(basicsr, kind, name):
    assert name in basicsr_names(kind)
    assert basicsr_names(kind) == sorted(basicsr_names(kind))
    assert not any(other.endswith(("_basicsr", "_srcx")) for other in basicsr_names(kind))


def test_names_the_nearest_network(basicsr):
    with pytest.raises(
        BasicSRError, match=r"^basicsr\.RRDBNett: BasicSR has no such network; did you mean 'RRDBNet'\?$"
    ):
        basicsr_part("network", "basicsr.RRDBNett")


def test_lists_what_there_is_when_nothing_is_near(basicsr):
    with pytest.raises(
        BasicSRError, match=r"^Qqq: BasicSR has no such network; it has BasicVSR, .*, VGGStyleDisc"
    ):
        basicsr_part("network", "Qqq")


def test_says_why_where_basicsr_is_absent(no_basicsr):
    with pytest.raises(BasicSRError, match="BasicSR is not installed"):
        basicsr_part("network", "RRDBNet")


def test_its_losses_are_called_like_ours_and_have_no_weight(basicsr):
    sr, gt = torch.rand(1, 3, 4, 4), torch.rand(1, 3, 4, 4)
    l1 = basicsr_part("loss", "basicsr.L1Loss")
    assert list(inspect.signature(l1).parameters) == ["reduction"]
    assert_close(l1(reduction="sum")(sr, gt), (sr - gt).abs().sum())


def test_its_losses_of_sr_alone_are_not_given_gt(basicsr):
    variation = basicsr_part("loss", "WeightedTVLoss")()
    sr = torch.rand(1, 3, 4, 4)
    assert_close(variation(sr, torch.rand(1, 3, 4, 4)), variation(sr, torch.rand(1, 3, 4, 4)))


def test_its_adversarial_losses_are_refused(basicsr):
    with pytest.raises(BasicSRError, match=r"MultiScaleGANLoss: .* does not compare images; use GANLoss"):
        basicsr_part("loss", "MultiScaleGANLoss")


# Networks that both have.


@pytest.mark.parametrize("upscale", [2, 3, 4])
def test_msrresnet_equals_basicsrs_weight_for_weight(basicsr, upscale):
    arguments = {"num_feat": 8, "num_block": 2, "upscale": upscale}
    torch.manual_seed(1)
    ours = MSRResNet(**arguments)
    torch.manual_seed(1)
    theirs = basicsr_part("network", "MSRResNet")(**arguments)
    assert_same_state(ours, theirs)
    lq = torch.rand(2, 3, 6, 7)
    assert_close(ours(lq), theirs(lq), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    "arguments",
    [
        {"num_feat": 8, "num_conv": 3},
        {"num_feat": 4, "num_conv": 1, "upscale": 3, "act_type": "relu"},
        {"num_feat": 4, "num_conv": 2, "upscale": 5, "act_type": "leakyrelu"},
        {"num_in_ch": 1, "num_out_ch": 3, "num_feat": 4, "num_conv": 0, "upscale": 1},
    ],
)
def test_compact_network_equals_basicsrs_weight_for_weight(basicsr, arguments):
    torch.manual_seed(1)
    ours = SRVGGNetCompact(**arguments)
    torch.manual_seed(1)
    theirs = basicsr_part("network", "SRVGGNetCompact")(**arguments)
    assert_same_state(ours, theirs)
    lq = torch.rand(2, arguments.get("num_in_ch", 3), 6, 7)
    assert_close(ours(lq), theirs(lq), rtol=0, atol=0)


@pytest.mark.parametrize("skip_connection", [True, False])
def test_unet_discriminator_equals_basicsrs_weight_for_weight(basicsr, skip_connection):
    arguments = {"num_in_ch": 3, "num_feat": 4, "skip_connection": skip_connection}
    torch.manual_seed(1)
    ours = UNetDiscriminatorSN(**arguments)
    torch.manual_seed(1)
    theirs = basicsr_part("network", "UNetDiscriminatorSN")(**arguments)
    assert_same_state(ours, theirs)
    image = torch.rand(2, 3, 16, 24)
    for _ in range(2):  # each call in training mode moves the estimates of the spectral norms
        assert_close(ours(image), theirs(image))
    assert_same_state(ours, theirs)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("EDSR", {"num_feat": 4, "num_block": 1}),
        ("RCAN", {"num_feat": 16, "num_group": 1, "num_block": 1}),
        ("RRDBNet", {"num_feat": 4, "num_block": 1, "num_grow_ch": 2}),
        ("SRVGGNetCompact", {"num_feat": 4, "num_conv": 1}),
        ("SwinIR", {"upscale": 4, "window_size": 8, "depths": [1], "embed_dim": 4, "num_heads": [2]}),
    ],
)
def test_its_generators_train_in_channels_last(basicsr, name, arguments):
    """srcx keeps images and weights in that order by default."""
    channels = {"in_chans": 3} if name == "SwinIR" else {"num_in_ch": 3, "num_out_ch": 3}
    net = basicsr_part("network", name)(**channels, **arguments).to(memory_format=torch.channels_last)
    net(torch.rand(1, 3, 16, 16).to(memory_format=torch.channels_last)).sum().backward()
    assert all(weight.grad is not None for weight in net.parameters())


@pytest.mark.parametrize("input_size", [128, 256])
def test_vgg_style_discriminator_equals_basicsrs_weight_for_weight(basicsr, input_size):
    arguments = {"num_in_ch": 3, "num_feat": 2, "input_size": input_size}
    torch.manual_seed(1)
    ours = VGGStyleDiscriminator(**arguments)
    torch.manual_seed(1)
    theirs = basicsr_part("network", "VGGStyleDiscriminator")(**arguments)
    assert_same_state(ours, theirs)
    images = torch.rand(2, 3, input_size, input_size)
    assert_close(ours(images), theirs(images))


def assert_same_state(ours: torch.nn.Module, theirs: torch.nn.Module) -> None:
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    for name, tensor in theirs.state_dict().items():
        assert_close(ours.state_dict()[name], tensor, rtol=0, atol=0)


# srcx's parts in BasicSR's registries.


@pytest.fixture(scope="module")
def basicsr_registry(basicsr):
    register_in_basicsr()
    return open_basicsr("basicsr.utils.registry")


def test_registers_every_network_loss_and_metric(basicsr_registry):
    assert all(f"{name}_srcx" in basicsr_registry.ARCH_REGISTRY for name in registry.NETWORKS)
    assert all(
        f"{name}_srcx" in basicsr_registry.LOSS_REGISTRY for name in registry.LOSSES.keys() - NOT_REGISTERED
    )
    assert all(f"{name}_srcx" in basicsr_registry.METRIC_REGISTRY for name in registry.METRICS)


def test_registering_twice_adds_nothing(basicsr_registry):
    assert register_in_basicsr() == []


def test_a_registered_loss_takes_basicsrs_weight(basicsr_registry):
    loss = basicsr_registry.LOSS_REGISTRY.get("L1Loss_srcx")(loss_weight=0.5, reduction="sum")
    sr, gt = torch.rand(1, 3, 4, 4), torch.rand(1, 3, 4, 4)
    assert_close(loss(sr, gt), 0.5 * (sr - gt).abs().sum())


def test_a_registered_metric_takes_bgr_images_and_better(basicsr_registry):
    sr, gt = (np.random.default_rng(seed).integers(0, 256, (16, 16, 3), np.uint8) for seed in (0, 1))
    value = basicsr_registry.METRIC_REGISTRY.get("psnr_srcx")(img=sr, img2=gt, better="higher", crop_px=0)
    assert value == pytest.approx(registry.METRICS["psnr"](sr[..., ::-1], gt[..., ::-1], crop_px=0))


def test_basicsrs_model_takes_a_step_with_a_registered_network_and_loss(basicsr_registry):
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

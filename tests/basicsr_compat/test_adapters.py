import inspect

import pytest
import torch
from torch.testing import assert_close

from srcx.archs import MSRResNet, UNetDiscriminatorSN, VGGStyleDiscriminator
from srcx.basicsr_compat.adapters import borrow, names
from srcx.errors import BridgeError


def test_borrows_a_network_by_either_name(basicsr):
    assert borrow("network", "RRDBNet") is borrow("network", "basicsr.RRDBNet")
    net = borrow("network", "RRDBNet")(num_in_ch=3, num_out_ch=3, num_feat=4, num_block=1, num_grow_ch=2)
    assert net(torch.rand(1, 3, 4, 4)).shape == (1, 3, 16, 16)


def test_finds_parts_registered_with_a_suffix_in_silence(basicsr, capsys):
    assert borrow("network", "SRVGGNetCompact").__name__ == "SRVGGNetCompact"
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("kind", "name"), [("network", "SwinIR"), ("loss", "L1Loss"), ("dataset", "REDSDataset")]
)
def test_lists_the_names_of_a_kind(basicsr, kind, name):
    assert name in names(kind)
    assert names(kind) == sorted(names(kind))
    assert not any(other.endswith(("_basicsr", "_srcx")) for other in names(kind))


def test_names_the_nearest_network(basicsr):
    with pytest.raises(
        BridgeError, match=r"^basicsr\.RRDBNett: BasicSR has no such network; did you mean 'RRDBNet'\?$"
    ):
        borrow("network", "basicsr.RRDBNett")


def test_lists_what_there_is_when_nothing_is_near(basicsr):
    with pytest.raises(
        BridgeError, match=r"^Qqq: BasicSR has no such network; it has BasicVSR, .*, VGGStyleDisc"
    ):
        borrow("network", "Qqq")


def test_says_why_where_basicsr_is_absent(no_basicsr):
    with pytest.raises(BridgeError, match="BasicSR is not installed"):
        borrow("network", "RRDBNet")


def test_borrowed_losses_are_called_like_ours_and_weigh_nothing(basicsr):
    sr, gt = torch.rand(1, 3, 4, 4), torch.rand(1, 3, 4, 4)
    l1 = borrow("loss", "basicsr.L1Loss")
    assert list(inspect.signature(l1).parameters) == ["reduction"]
    assert_close(l1(reduction="sum")(sr, gt), (sr - gt).abs().sum())


def test_borrowed_losses_that_look_at_sr_alone_are_not_given_gt(basicsr):
    variation = borrow("loss", "WeightedTVLoss")()
    sr = torch.rand(1, 3, 4, 4)
    assert_close(variation(sr, torch.rand(1, 3, 4, 4)), variation(sr, torch.rand(1, 3, 4, 4)))


def test_adversarial_losses_are_not_lent_as_terms(basicsr):
    with pytest.raises(BridgeError, match=r"MultiScaleGANLoss: .* compares no images; use GANLoss"):
        borrow("loss", "MultiScaleGANLoss")


# What the networks of the same name promise.


@pytest.mark.parametrize("upscale", [2, 3, 4])
def test_msrresnet_equals_basicsrs_weight_for_weight(basicsr, upscale):
    arguments = {"num_feat": 8, "num_block": 2, "upscale": upscale}
    torch.manual_seed(1)
    ours = MSRResNet(**arguments)
    torch.manual_seed(1)
    theirs = borrow("network", "MSRResNet")(**arguments)
    assert_same_state(ours, theirs)
    lq = torch.rand(2, 3, 6, 7)
    assert_close(ours(lq), theirs(lq), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("skip_connection", [True, False])
def test_unet_discriminator_equals_basicsrs_weight_for_weight(basicsr, skip_connection):
    arguments = {"num_in_ch": 3, "num_feat": 4, "skip_connection": skip_connection}
    torch.manual_seed(1)
    ours = UNetDiscriminatorSN(**arguments)
    torch.manual_seed(1)
    theirs = borrow("network", "UNetDiscriminatorSN")(**arguments)
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
def test_borrowed_generators_train_in_channels_last(basicsr, name, arguments):
    """srcx keeps images and weights in that order unless told otherwise."""
    channels = {"in_chans": 3} if name == "SwinIR" else {"num_in_ch": 3, "num_out_ch": 3}
    net = borrow("network", name)(**channels, **arguments).to(memory_format=torch.channels_last)
    net(torch.rand(1, 3, 16, 16).to(memory_format=torch.channels_last)).sum().backward()
    assert all(weight.grad is not None for weight in net.parameters())


@pytest.mark.parametrize("input_size", [128, 256])
def test_vgg_style_discriminator_equals_basicsrs_weight_for_weight(basicsr, input_size):
    arguments = {"num_in_ch": 3, "num_feat": 2, "input_size": input_size}
    torch.manual_seed(1)
    ours = VGGStyleDiscriminator(**arguments)
    torch.manual_seed(1)
    theirs = borrow("network", "VGGStyleDiscriminator")(**arguments)
    assert_same_state(ours, theirs)
    images = torch.rand(2, 3, input_size, input_size)
    assert_close(ours(images), theirs(images))


def assert_same_state(ours: torch.nn.Module, theirs: torch.nn.Module) -> None:
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    for name, tensor in theirs.state_dict().items():
        assert_close(ours.state_dict()[name], tensor, rtol=0, atol=0)

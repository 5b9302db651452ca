"""Properties of the generators."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from srcx.archs import MSRResNet, SRResNet, SRVGGNetCompact
from srcx.archs.layers import ResizeConv
from srcx.errors import OptionsError


def compact(*channels: int, num_block: int, **others: int) -> nn.Module:
    return SRVGGNetCompact(*channels, num_conv=num_block, **others)


GENERATORS = [MSRResNet, SRResNet, compact]


def parameter_count(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


@pytest.mark.parametrize("network", GENERATORS)
@pytest.mark.parametrize("upscale", [1, 2, 3, 4, 8])
def test_upscales_by_the_factor(network, upscale):
    net = network(num_feat=4, num_block=1, upscale=upscale)
    assert net(torch.rand(2, 3, 5, 7)).shape == (2, 3, 5 * upscale, 7 * upscale)


@pytest.mark.parametrize("network", GENERATORS)
def test_takes_other_channel_counts(network):
    assert network(1, 1, num_feat=4, num_block=1, upscale=2)(torch.rand(1, 1, 4, 4)).shape == (1, 1, 8, 8)


@pytest.mark.parametrize("network", [MSRResNet, SRResNet])
def test_an_unknown_scale_is_an_error_that_names_the_known_ones(network):
    with pytest.raises(OptionsError, match=rf"{network.__name__}: upscale must be one of 1, 2, .*; got 5"):
        network(upscale=5)


@pytest.mark.parametrize(("network", "count"), [(MSRResNet, "num_block"), (SRVGGNetCompact, "num_conv")])
def test_a_count_below_0_is_an_error_and_not_a_network_without_them(network, count):
    with pytest.raises(OptionsError, match=f"{network.__name__}: {count} must be 0 or more; got -3"):
        network(**{count: -3})


@pytest.mark.parametrize("network", GENERATORS)
def test_keeps_channels_last(network):
    net = network(num_feat=8, num_block=1).to(memory_format=torch.channels_last)
    sr = net(torch.rand(2, 3, 6, 6).to(memory_format=torch.channels_last))
    assert sr.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("network", GENERATORS)
def test_values_do_not_depend_on_the_memory_format(network):
    net, lq = network(num_feat=8, num_block=2), torch.rand(2, 3, 6, 6)
    before = net(lq)
    net = net.to(memory_format=torch.channels_last)
    assert_close(net(lq.to(memory_format=torch.channels_last)), before, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("network", GENERATORS)
def test_every_parameter_has_a_gradient(network):
    net = network(num_feat=4, num_block=2)
    net(torch.rand(2, 3, 6, 6)).square().mean().backward()
    still = [name for name, weight in net.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert still == []


@pytest.mark.parametrize("network", GENERATORS)
def test_gradient_equals_finite_differences(network):
    net = network(num_feat=2, num_block=1, upscale=2).double()
    assert torch.autograd.gradcheck(net, torch.rand(2, 3, 3, 3, dtype=torch.double, requires_grad=True))


@pytest.mark.parametrize("network", GENERATORS)
def test_bf16_autocast_stays_near_fp32(network):
    net, lq = network(num_feat=16, num_block=2).eval(), torch.rand(1, 3, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        half = net(lq)
    assert_close(half.float(), net(lq), rtol=0, atol=0.02)


def test_msrresnet_has_the_parameters_of_the_published_network():
    assert parameter_count(MSRResNet()) == 1_517_571


def test_direct_upsampling_has_no_convolution_at_a_larger_size():
    net = MSRResNet(num_block=6, upsampling="direct")
    assert parameter_count(net) == 472_624
    sizes = []
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda module, lq, sr: sizes.append(lq[0].shape[-2:]))
    net(torch.rand(1, 3, 5, 7))
    assert sizes == [(5, 7)] * 14


@pytest.mark.parametrize("upsampling", ["subpixel", "bilinear", "direct"])
def test_msrresnet_starts_near_the_bilinear_image(upsampling):
    lq = torch.rand(1, 3, 8, 8)
    bilinear = nn.functional.interpolate(lq, scale_factor=4, mode="bilinear", align_corners=False)
    assert_close(MSRResNet(upsampling=upsampling)(lq), bilinear, rtol=0, atol=0.05)


def test_msrresnet_keeps_fp32_in_the_skip_under_autocast():
    with torch.autocast("cpu", torch.bfloat16):
        assert MSRResNet(num_feat=4, num_block=1)(torch.rand(1, 3, 4, 4)).dtype == torch.float32


@pytest.mark.parametrize("upsampling", ["bilinear", "direct"])
@pytest.mark.parametrize("upscale", [1, 2, 3, 4, 8])
def test_msrresnet_upsamples_in_other_ways_to_the_same_sizes(upscale, upsampling):
    net = MSRResNet(num_feat=4, num_block=1, upscale=upscale, upsampling=upsampling)
    assert net(torch.rand(2, 3, 5, 7)).shape == (2, 3, 5 * upscale, 7 * upscale)


@pytest.mark.parametrize(("upsampling", "is_even"), [("bilinear", True), ("subpixel", False)])
def test_only_subpixels_give_a_constant_image_a_grid(upsampling, is_even):
    net = MSRResNet(num_feat=8, num_block=1, upsampling=upsampling)
    for conv in (net.upconv1, net.upconv2, net.conv_hr, net.conv_last):
        nn.init.normal_(conv.weight)
    inner = net(torch.full((1, 3, 16, 16), 0.5))[..., 24:40, 24:40]
    spread = (inner - inner[..., :1, :1]).abs().max() / inner.abs().max()
    assert (spread < 1e-5) == is_even


def test_a_linear_ramp_is_upscaled_without_steps():
    conv, rise = ResizeConv(3, 5, 4), torch.arange(16.0).expand(1, 3, 16, 16)
    larger = conv(rise)[..., 8:-8, 8:-8]
    assert_close(larger.diff(n=2), torch.zeros_like(larger[..., 2:]), rtol=0, atol=1e-5)


def test_srresnet_has_the_layers_of_the_paper():
    net = SRResNet()
    kernels = [module.kernel_size[0] for module in net.modules() if isinstance(module, nn.Conv2d)]
    assert kernels == [9] + [3] * (2 * 16 + 1 + 2) + [9]
    count = {kind: sum(isinstance(m, kind) for m in net.modules()) for kind in (nn.BatchNorm2d, nn.PReLU)}
    assert count == {nn.BatchNorm2d: 33, nn.PReLU: 1 + 16 + 2}


def test_srresnet_in_evaluation_mode_gives_an_image_the_same_output_alone_and_in_a_batch():
    net, lq = SRResNet(num_feat=8, num_block=2).eval(), torch.rand(3, 3, 6, 6)
    assert_close(net(lq)[:1], net(lq[:1]))


def test_the_compact_network_has_the_parameters_of_the_published_one():
    assert parameter_count(SRVGGNetCompact(num_conv=32)) == 1_213_296  # realesr-general-x4v3


def test_the_compact_network_keeps_fp32_in_the_skip_under_autocast():
    with torch.autocast("cpu", torch.bfloat16):
        assert SRVGGNetCompact(num_feat=4, num_conv=1)(torch.rand(1, 3, 4, 4)).dtype == torch.float32


def test_without_detail_the_compact_network_repeats_pixels():
    net, lq = SRVGGNetCompact(num_feat=4, num_conv=1, upscale=3), torch.rand(1, 3, 5, 7)
    nn.init.zeros_(net.body[-1].weight)
    nn.init.zeros_(net.body[-1].bias)
    assert_close(net(lq), lq.repeat_interleave(3, 2).repeat_interleave(3, 3), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"upscale": 0}, "SRVGGNetCompact: upscale must be 1 or more; got 0"),
        ({"act_type": "gelu"}, "SRVGGNetCompact: act_type must be relu, prelu or leakyrelu; got 'gelu'"),
    ],
)
def test_wrong_arguments_of_the_compact_network_are_named(wrong, message):
    with pytest.raises(OptionsError, match=message):
        SRVGGNetCompact(**wrong)

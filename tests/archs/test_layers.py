import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.testing import assert_close

from srcx.archs.layers import SubPixelConv, scale_kaiming_normal, shuffle_factors
from srcx.errors import OptionsError

FORMATS = [torch.contiguous_format, torch.channels_last]


def test_factors_multiply_to_the_scale():
    assert [shuffle_factors("N", scale) for scale in (1, 2, 3, 4, 8)] == [[], [2], [3], [2, 2], [2, 2, 2]]


@pytest.mark.parametrize("upscale", [0, 5, 6, "4"])
def test_an_unknown_scale_is_an_error_that_names_the_known_ones(upscale):
    with pytest.raises(OptionsError, match=r"MyNet: upscale must be one of 1, 2, 3, 4, 8; got"):
        shuffle_factors("MyNet", upscale)


def test_weights_have_the_scaled_standard_deviation_of_he_and_biases_are_zero():
    conv = nn.Conv2d(64, 256, 3)
    scale_kaiming_normal([conv, nn.Conv2d(4, 4, 3, bias=False)], 0.1)
    assert conv.weight.std().item() == pytest.approx(0.1 * (2 / (64 * 9)) ** 0.5, rel=0.02)
    assert torch.equal(conv.bias, torch.zeros(256))


def convolve_then_shuffle(layer: SubPixelConv, x: torch.Tensor) -> torch.Tensor:
    return functional.pixel_shuffle(functional.conv2d(x, layer.weight, layer.bias, padding=1), layer.factor)


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("factor", [2, 3])
def test_subpixel_convolution_equals_convolution_then_shuffle(factor, memory_format):
    layer = SubPixelConv(4, 5, factor).to(memory_format=memory_format)
    x = torch.rand(2, 4, 6, 7).to(memory_format=memory_format)
    assert_close(layer(x), convolve_then_shuffle(layer, x))


@pytest.mark.parametrize("memory_format", FORMATS)
def test_subpixel_convolution_keeps_the_memory_format(memory_format):
    x = torch.rand(2, 4, 6, 7).to(memory_format=memory_format)
    assert SubPixelConv(4, 5, 2)(x).is_contiguous(memory_format=memory_format)


def test_subpixel_gradients_equal_those_of_convolution_then_shuffle():
    layer = SubPixelConv(4, 5, 2).to(memory_format=torch.channels_last)
    x = torch.rand(2, 4, 6, 7).to(memory_format=torch.channels_last).requires_grad_()
    towards = torch.rand(2, 5, 12, 14)
    wanted = torch.autograd.grad(
        (convolve_then_shuffle(layer, x) * towards).sum(), [x, layer.weight, layer.bias]
    )
    got = torch.autograd.grad((layer(x) * towards).sum(), [x, layer.weight, layer.bias])
    assert_close(got, wanted)

import pytest
import torch
from torch.nn import functional
from torch.testing import assert_close

from srcx.archs.subpixel_conv import SubPixelConv

FORMATS = [torch.contiguous_format, torch.channels_last]


def convolve_then_shuffle(layer: SubPixelConv, x: torch.Tensor) -> torch.Tensor:
    return functional.pixel_shuffle(functional.conv2d(x, layer.weight, layer.bias, padding=1), layer.factor)


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("factor", [2, 3])
def test_equals_convolution_then_shuffle(factor, memory_format):
    layer = SubPixelConv(4, 5, factor).to(memory_format=memory_format)
    x = torch.rand(2, 4, 6, 7).to(memory_format=memory_format)
    assert_close(layer(x), convolve_then_shuffle(layer, x))


@pytest.mark.parametrize("memory_format", FORMATS)
def test_keeps_the_memory_format(memory_format):
    x = torch.rand(2, 4, 6, 7).to(memory_format=memory_format)
    assert SubPixelConv(4, 5, 2)(x).is_contiguous(memory_format=memory_format)


def test_gradients_equal_those_of_convolution_then_shuffle():
    layer = SubPixelConv(4, 5, 2).to(memory_format=torch.channels_last)
    x = torch.rand(2, 4, 6, 7).to(memory_format=torch.channels_last).requires_grad_()
    towards = torch.rand(2, 5, 12, 14)
    wanted = torch.autograd.grad(
        (convolve_then_shuffle(layer, x) * towards).sum(), [x, layer.weight, layer.bias]
    )
    got = torch.autograd.grad((layer(x) * towards).sum(), [x, layer.weight, layer.bias])
    assert_close(got, wanted)

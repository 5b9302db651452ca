import pytest
import torch
from torch import nn

from srcx.archs.layers import scale_kaiming_normal, shuffle_factors
from srcx.errors import OptionsError


def test_factors_multiply_to_the_scale():
    assert [shuffle_factors("N", scale) for scale in (1, 2, 3, 4, 8)] == [[], [2], [3], [2, 2], [2, 2, 2]]


@pytest.mark.parametrize("upscale", [0, 5, 6, "4"])
def test_says_which_scales_there_are(upscale):
    with pytest.raises(OptionsError, match=r"MyNet: upscale must be one of 1, 2, 3, 4, 8; got"):
        shuffle_factors("MyNet", upscale)


def test_weights_have_the_scaled_deviation_of_he_and_biases_are_zero():
    conv = nn.Conv2d(64, 256, 3)
    scale_kaiming_normal([conv, nn.Conv2d(4, 4, 3, bias=False)], 0.1)
    assert conv.weight.std().item() == pytest.approx(0.1 * (2 / (64 * 9)) ** 0.5, rel=0.02)
    assert torch.equal(conv.bias, torch.zeros(256))

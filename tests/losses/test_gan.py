import math

import pytest
import torch
from torch.testing import assert_close

from srcx.errors import OptionsError
from srcx.losses.gan import GANLoss, MultiScaleGANLoss

LOGITS = torch.tensor([2.0, -1.0])


def softplus(x):
    return math.log1p(math.exp(x))


@pytest.mark.parametrize(
    ("gan_type", "real", "is_disc", "expected"),
    [
        ("vanilla", True, False, (softplus(-2) + softplus(1)) / 2),
        ("vanilla", False, True, (softplus(2) + softplus(-1)) / 2),
        ("lsgan", True, True, (1 + 4) / 2),
        ("lsgan", False, False, (4 + 1) / 2),
        ("wgan", True, False, -0.5),
        ("wgan", False, True, 0.5),
        ("wgan_softplus", True, False, (softplus(-2) + softplus(1)) / 2),
        ("wgan_softplus", False, True, (softplus(2) + softplus(-1)) / 2),
        ("hinge", True, True, (0 + 2) / 2),
        ("hinge", False, True, (3 + 0) / 2),
        ("hinge", True, False, -0.5),
    ],
)
def test_matches_the_formula_by_hand(gan_type, real, is_disc, expected):
    assert_close(GANLoss(gan_type)(LOGITS, real, is_disc=is_disc), torch.tensor(expected))


def test_all_scales_have_equal_weight_and_a_list_of_layers_counts_by_its_last():
    loss, bare = MultiScaleGANLoss("lsgan"), GANLoss("lsgan")
    large, small = torch.rand(1, 1, 8, 8), torch.rand(1, 1, 4, 4)
    expected = (bare(large, True, is_disc=True) + bare(small, True, is_disc=True)) / 2
    assert_close(loss([large, small], True, is_disc=True), expected)
    layers = [[torch.rand(1, 3, 9, 9), large], [torch.rand(1, 3, 5, 5), small]]
    assert_close(loss(layers, True, is_disc=True), expected)
    assert_close(loss(large, False), bare(large, False))


def test_labels_can_be_softened():
    assert_close(GANLoss("lsgan", real_label_val=0.9)(torch.tensor([0.9]), True), torch.tensor(0.0))


def test_half_precision_logits_give_a_float32_loss():
    assert GANLoss("vanilla")(LOGITS.bfloat16(), True).dtype == torch.float32


def test_unknown_type_names_the_known_ones():
    with pytest.raises(OptionsError, match=r"vanilla.*hinge.*'vanila'"):
        GANLoss("vanila")

"""Pictures freed of local brightness and contrast."""

import numpy as np
import torch
from torch.testing import assert_close

from srcx.features.mscn import mscn
from srcx.metrics.niqe_features import normalised


def test_is_that_of_niqe_where_contrast_is_strong():
    picture = torch.rand(1, 1, 40, 40, dtype=torch.float64)
    ours = mscn(picture)[0, 0]
    theirs = torch.from_numpy(normalised(255 * picture[0, 0].numpy()))
    assert_close(ours[3:-3, 3:-3], theirs[3:-3, 3:-3], rtol=0.05, atol=1e-3)


def test_neither_light_nor_contrast_matters():
    picture = torch.rand(1, 3, 24, 24)
    assert_close(mscn(0.3 + 0.5 * picture), mscn(picture), rtol=0.01, atol=1e-4)


def test_a_flat_picture_gives_zeros_and_a_gradient():
    picture = torch.full((1, 3, 9, 9), 0.5, requires_grad=True)
    grain = mscn(picture)
    grain[0, 0, 4, 4].backward()
    assert picture.grad is not None
    assert grain.abs().max() < 1e-3
    assert np.isfinite(picture.grad.numpy()).all()
    assert picture.grad[0, 0, 4, 4] > 100  # a level of 255 is no small thing there


def test_bf16_makes_no_variance_below_zero():
    picture = 0.9 + 0.01 * torch.rand(1, 3, 24, 24)
    with torch.autocast("cpu", torch.bfloat16):
        grain = mscn(picture)
    assert_close(grain, mscn(picture))

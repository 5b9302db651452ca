"""Images without local brightness and contrast."""

import numpy as np
import torch
from torch.testing import assert_close

from srcx.features.mscn import mscn
from srcx.metrics.niqe import normalised


def test_equals_that_of_niqe_where_contrast_is_strong():
    image = torch.rand(1, 1, 40, 40, dtype=torch.float64)
    ours = mscn(image)[0, 0]
    theirs = torch.from_numpy(normalised(255 * image[0, 0].numpy()))
    assert_close(ours[3:-3, 3:-3], theirs[3:-3, 3:-3], rtol=0.05, atol=1e-3)


def test_does_not_depend_on_brightness_and_contrast():
    image = torch.rand(1, 3, 24, 24)
    assert_close(mscn(0.3 + 0.5 * image), mscn(image), rtol=0.01, atol=1e-4)


def test_a_flat_image_gives_zeros_and_a_gradient():
    image = torch.full((1, 3, 9, 9), 0.5, requires_grad=True)
    grain = mscn(image)
    grain[0, 0, 4, 4].backward()
    assert image.grad is not None
    assert grain.abs().max() < 1e-3
    assert np.isfinite(image.grad.numpy()).all()
    assert image.grad[0, 0, 4, 4] > 100  # one level of 255 is large there


def test_bf16_autocast_changes_nothing():
    image = 0.9 + 0.01 * torch.rand(1, 3, 24, 24)
    with torch.autocast("cpu", torch.bfloat16):
        grain = mscn(image)
    assert_close(grain, mscn(image))

import pytest
import torch
from torch.testing import assert_close

from srcx.errors import ImageError, OptionsError
from srcx.losses.color import ColorLoss, oklab_chroma, ycbcr_chroma


def flat(*rgb: float, size: int = 24) -> torch.Tensor:
    return torch.tensor(rgb, dtype=torch.float64).view(1, 3, 1, 1).expand(1, 3, size, size)


def test_primary_colours_have_the_published_oklab_coordinates():
    expected = {(1, 0, 0): (0.2249, 0.1258), (0, 1, 0): (-0.2339, 0.1795), (0, 0, 1): (-0.0325, -0.3115)}
    for rgb, chroma in expected.items():
        found = oklab_chroma(flat(*rgb, size=1)).flatten()
        assert_close(found, torch.tensor(chroma, dtype=torch.float64), atol=1e-4, rtol=0)


def test_primary_colours_have_the_chroma_of_jpeg():
    found = ycbcr_chroma(torch.cat([flat(1, 0, 0, size=1), flat(0, 0, 1, size=1)])).view(2, 2)
    expected = torch.tensor([[-0.168736, 0.5], [0.5, -0.081312]], dtype=torch.float64)
    assert_close(found, expected, atol=1e-6, rtol=0)


def test_the_two_branches_of_srgb_meet():
    below, above = (oklab_chroma(flat(value, 0.0, 0.0, size=1)) for value in (0.040449, 0.040451))
    assert_close(below, above, atol=1e-5, rtol=0)


@pytest.mark.parametrize("space", ["oklab", "ycbcr"])
def test_greys_have_no_colour_whatever_their_lightness(space):
    assert ColorLoss(space)(flat(0.2, 0.2, 0.2), flat(0.9, 0.9, 0.9)) == pytest.approx(0, abs=1e-6)


def test_a_shift_of_blue_costs_its_chroma():
    expected = (0.5 + 0.081312) / 2 * 0.1
    assert ColorLoss("ycbcr")(flat(0.5, 0.5, 0.6), flat(0.5, 0.5, 0.5)) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("space", ["oklab", "ycbcr"])
def test_colour_of_fine_texture_costs_little_and_a_shift_of_the_same_size_much(space):
    grey, sign = torch.full((1, 3, 32, 32), 0.5), (torch.arange(32)[:, None] + torch.arange(32)) % 2 * 2 - 1
    blue = torch.tensor([0.0, 0, 0.05]).view(1, 3, 1, 1)
    loss = ColorLoss(space)
    assert loss(grey + blue * sign, grey) < loss(grey + blue, grey) / 20


@pytest.mark.parametrize("space", ["oklab", "ycbcr"])
def test_gradient_equals_finite_differences_outside_the_range_too(space):
    loss = ColorLoss(space, kernel_size=3, sigma=1.0)
    chroma = oklab_chroma if space == "oklab" else ycbcr_chroma
    image = torch.empty(1, 3, 2, 3, dtype=torch.float64).uniform_(-0.1, 1.1).requires_grad_()
    assert torch.autograd.gradcheck(chroma, image)
    sr = torch.zeros(1, 3, 4, 4, requires_grad=True)
    loss(sr, torch.rand(1, 3, 4, 4)).backward()
    assert torch.isfinite(sr.grad).all()


def test_wrong_arguments_and_images_are_refused():
    with pytest.raises(OptionsError, match="space must be 'oklab' or 'ycbcr'; got 'lab'"):
        ColorLoss("lab")
    with pytest.raises(OptionsError, match="kernel_size must be odd"):
        ColorLoss(kernel_size=4)
    with pytest.raises(ImageError, match="ColorLoss: expected RGB"):
        ColorLoss()(torch.rand(1, 1, 24, 24), torch.rand(1, 1, 24, 24))
    with pytest.raises(ImageError, match="share one shape"):
        ColorLoss()(torch.rand(1, 3, 24, 24), torch.rand(1, 3, 24, 25))

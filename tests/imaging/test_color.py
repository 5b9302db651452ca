import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from torch.testing import assert_close

from srcx.errors import ImageError
from srcx.imaging.color import GREY_WEIGHTS, Y_WEIGHTS, on_white, rgb_to_grey, rgb_to_y, y_of_tensor


def test_y_of_the_corners_of_the_colour_cube_is_bt601():
    corners = np.array([[[0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255]]], np.uint8)
    assert_array_equal(rgb_to_y(corners), [[16, 235, 81, 145, 41]])


def test_the_exact_ties_fall_as_in_matlab():
    # Where Y is a whole number and a half in exact arithmetic, the order of the sums decides.
    red, green, blue = np.meshgrid(*[np.arange(256, dtype=np.int32)] * 3, indexing="ij")
    sums = 65481 * red + 128553 * green + 24966 * blue  # in units of 1 / 255000
    ties = np.column_stack([axis[sums % 255000 == 127500] for axis in (red, green, blue)])
    assert len(ties) == 194
    one_over = [(1 / 255) * weight for weight in Y_WEIGHTS]
    expected = [
        int(np.floor(((one_over[0] * r + one_over[1] * g) + one_over[2] * b) + 16 + 0.5)) for r, g, b in ties
    ]
    assert_array_equal(rgb_to_y(ties[None].astype(np.uint8))[0], expected)
    other = [
        int(np.floor((Y_WEIGHTS[0] * r + Y_WEIGHTS[1] * g + Y_WEIGHTS[2] * b) / 255 + 16.5))
        for r, g, b in ties
    ]
    assert expected != other  # so the order does matter


def test_grey_uses_matlabs_fifteen_digits():
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    exact = np.floor(image @ np.array(GREY_WEIGHTS) + 0.5)
    assert_array_equal(rgb_to_grey(image), exact)
    assert_array_equal(rgb_to_grey(np.full((1, 1, 3), 77, np.uint8)), [[77]])


def test_grey_weights_are_the_first_row_of_the_inverse_of_yiq():
    to_rgb = [[1, 0.956, 0.621], [1, -0.272, -0.647], [1, -1.106, 1.703]]
    assert_allclose(np.linalg.inv(to_rgb)[0], GREY_WEIGHTS, rtol=0, atol=1e-15)


def test_a_grey_image_is_its_own_luma():
    grey = np.arange(6, dtype=np.uint8).reshape(2, 3)
    assert rgb_to_y(grey) is grey
    assert rgb_to_grey(grey) is grey


def test_y_of_a_tensor_is_the_unrounded_y(device):
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    x = torch.from_numpy(image).permute(2, 0, 1)[None].to(device) / 255
    y = y_of_tensor(x) * 255
    assert y.shape == (1, 1, 16, 16)
    assert np.abs(y[0, 0].cpu().numpy() - rgb_to_y(image)).max() < 0.5 + 1e-4


def test_gradient_of_y_is_the_weights():
    x = torch.rand(1, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(y_of_tensor(x).sum(), x)
    assert_close(gradient[0, :, 0, 0] * 255, torch.tensor(Y_WEIGHTS, dtype=torch.float64))


@pytest.mark.parametrize(
    "image", [np.zeros((2, 2, 4), np.uint8), np.zeros((2, 2, 3), np.uint16), np.zeros((2,), np.uint8)]
)
@pytest.mark.parametrize("function", [rgb_to_y, rgb_to_grey])
def test_says_what_kind_of_image_is_expected(function, image):
    with pytest.raises(ImageError, match=rf"{function.__name__}: expected .* got"):
        function(image)


def test_says_which_shape_a_tensor_must_have():
    with pytest.raises(ImageError, match=r"\(N, 3, H, W\); got \(3, 4, 4\)"):
        y_of_tensor(torch.rand(3, 4, 4))


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_alpha_shows_white_through(kind):
    white = np.iinfo(kind).max
    image = np.array([[[0, 0, 0, white], [0, 0, 0, 0], [white // 2, 0, white, white // 2]]], kind)
    expected = [[0, 0, 0], [white] * 3, [white // 4 * 3, white // 2 + 1, white]]
    assert on_white(image).dtype == kind
    assert np.abs(on_white(image)[0].astype(int) - expected).max() <= 2


def test_an_image_without_alpha_stays_as_it_is(rng):
    for shape in ((4, 5), (4, 5, 3)):
        image = rng.integers(0, 256, shape, np.uint8)
        assert on_white(image) is image

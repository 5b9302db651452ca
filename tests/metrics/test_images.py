import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal

from srcx.errors import ImageError, UsageError
from srcx.metrics.images import as_bytes, batch_as_bytes, check_pair, protocol_view


def test_16_bits_are_rounded_to_8():
    sixteen = np.array([[0, 128, 129, 257 * 100, 65535]], np.uint16)
    assert_array_equal(as_bytes("psnr", "sr", sixteen), [[0, 0, 1, 100, 255]])


def test_bytes_stay_as_they_are():
    image = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    assert as_bytes("psnr", "sr", image) is image


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (np.zeros((4, 4), np.float32), "float32: convert it"),
        (np.zeros((4, 4), bool), "bool"),
        (np.zeros((4, 4, 4), np.uint8), "alpha"),
        (np.zeros((4, 4, 2), np.uint8), "alpha"),
        (np.zeros((4, 4, 1), np.uint8), r"\(4, 4, 1\)"),
        (np.zeros((0, 4), np.uint8), r"\(0, 4\)"),
        (np.zeros(4, np.uint8), r"\(4,\)"),
        ([[1, 2]], "got list"),
    ],
)
def test_refuses_what_is_no_image(image, words):
    with pytest.raises(ImageError, match=f"psnr: sr .*{words}"):
        as_bytes("psnr", "sr", image)


def test_a_batch_becomes_the_images_it_would_be_saved_as():
    batch = torch.tensor([0.0, 0.4999 / 255, 0.5 / 255, 1.0]).repeat(1, 3, 1, 1)
    assert_array_equal(batch_as_bytes("psnr", "sr", batch)[0][0, :, 0], [0, 0, 1, 255])


def test_an_empty_batch_is_no_images():
    assert batch_as_bytes("psnr", "sr", torch.zeros(0, 3, 8, 8)) == []


@pytest.mark.parametrize(
    ("batch", "words"),
    [
        (torch.full((1, 3, 4, 4), torch.nan), "not finite"),
        (torch.full((1, 3, 4, 4), torch.inf), "not finite"),
        (torch.full((1, 3, 4, 4), 1.01), r"\[0, 1\].*1.01: clamp"),
        (torch.full((1, 3, 4, 4), -0.01), r"\[0, 1\]"),
        (torch.zeros(1, 3, 4, 4, dtype=torch.uint8), "torch.uint8"),
        (torch.zeros(3, 4, 4), r"\(3, 4, 4\)"),
        (torch.zeros(1, 1, 4, 4), r"\(1, 1, 4, 4\)"),
        (torch.zeros(1, 3, 0, 4), r"\(1, 3, 0, 4\)"),
    ],
)
def test_refuses_a_batch_that_cannot_be_meant(batch, words):
    with pytest.raises(ImageError, match=f"psnr: gt .*{words}"):
        batch_as_bytes("psnr", "gt", batch)


def test_one_bad_value_among_many_is_found():
    batch = torch.rand(2, 3, 16, 16)
    batch[1, 2, 3, 4] = torch.nan
    with pytest.raises(ImageError, match="not finite"):
        batch_as_bytes("psnr", "sr", batch)


def test_says_both_shapes_when_they_differ():
    with pytest.raises(ImageError, match=r"ssim: .*sr \(4, 4, 3\) and gt \(4, 4\)"):
        check_pair("ssim", np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.uint8))


def test_refuses_an_array_beside_a_tensor():
    with pytest.raises(ImageError, match="both be arrays or both tensors"):
        check_pair("ssim", np.zeros((4, 4), np.uint8), torch.zeros(4, 4))


def test_shaves_before_anything_else_and_takes_y():
    image = np.zeros((10, 12, 3), np.uint8)
    image[4:6, 4:8] = 255
    view = protocol_view("psnr", image, y_only=True, crop_px=4)
    assert_array_equal(view, np.full((2, 4), 235))


def test_a_grey_image_is_taken_as_y():
    image = np.full((9, 9), 255, np.uint8)
    assert protocol_view("psnr", image, y_only=True, crop_px=4).item() == 255


def test_nothing_left_is_an_error():
    with pytest.raises(ImageError, match=r"1 x 1 pixels after shaving 4 .* 9 x 8"):
        protocol_view("psnr", np.zeros((8, 9), np.uint8), y_only=True, crop_px=4)


@pytest.mark.parametrize("crop_px", [-1, 1.5, "4", None])
def test_a_border_that_is_no_whole_number_of_pixels_is_an_error(crop_px):
    with pytest.raises(UsageError, match=rf"crop_px must be a whole number, 0 or more; got {crop_px!r}"):
        protocol_view("psnr", np.zeros((8, 9), np.uint8), y_only=True, crop_px=crop_px)

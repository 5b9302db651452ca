import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_array_equal

from srcx.errors import ImageError
from srcx.imaging.tensors import to_image, to_tensor

SHAPES = st.tuples(st.integers(1, 9), st.integers(1, 9), st.sampled_from([3, 4]))


@given(st.sampled_from([np.uint8, np.uint16]).flatmap(lambda dtype: arrays(dtype, SHAPES)))
@settings(max_examples=40)
def test_to_a_tensor_and_back_loses_nothing(image):
    tensor = to_tensor(image)
    assert tensor.shape == (1, image.shape[2], *image.shape[:2])
    assert tensor.dtype == torch.float32
    assert 0 <= tensor.min() <= tensor.max() <= 1
    back = to_image(tensor, bits=image.itemsize * 8)
    assert back.dtype == image.dtype
    assert_array_equal(back, image)


def test_every_16_bit_value_comes_back_and_grey_stays_two_dimensional():
    image = np.arange(2**16, dtype=np.uint16).reshape(256, 256)
    assert to_tensor(image).shape == (1, 1, 256, 256)
    assert_array_equal(to_image(to_tensor(image), bits=16), image)


def test_rounds_half_up_and_clamps(device):
    x = torch.tensor([-1.0, 0.5 / 255, 1.5 / 255, 2.0, 0.49 / 255], device=device).view(1, 1, 1, 5)
    assert_array_equal(to_image(x), [[0, 1, 2, 255, 0]])


def test_the_tensor_does_not_share_memory_with_the_image():
    image = np.zeros((2, 2, 3), np.uint8)
    tensor = to_tensor(image)
    image[:] = 255
    assert tensor.max() == 0


def test_takes_read_only_and_half_precision():
    image = np.zeros((2, 2, 3), np.uint8)
    image.flags.writeable = False
    assert to_image(to_tensor(image).to(torch.bfloat16)).shape == (2, 2, 3)


def test_refuses_values_that_are_not_numbers():
    with pytest.raises(ImageError, match="not numbers"):
        to_image(torch.full((1, 3, 2, 2), float("nan")))


@pytest.mark.parametrize("image", [np.zeros((2, 2), np.float32), np.zeros((2,), np.uint8)])
def test_says_what_kind_of_image_is_expected(image):
    with pytest.raises(ImageError, match=f"got {image.dtype}"):
        to_tensor(image)


def test_says_that_one_image_at_a_time_is_turned():
    with pytest.raises(ImageError, match=r"one image.* got \(2, 3, 4, 4\)"):
        to_image(torch.zeros(2, 3, 4, 4))

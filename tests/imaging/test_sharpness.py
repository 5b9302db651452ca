import cv2
import numpy as np
import pytest
import skimage.data
from PIL import Image

from srcx.imaging import imresize
from srcx.imaging.sharpness import sharpness


@pytest.fixture(scope="module", params=["astronaut", "coffee", "chelsea"])
def sharp(request) -> np.ndarray:
    """A photograph shrunk, so that it has detail up to the highest frequencies."""
    return imresize(getattr(skimage.data, request.param)()[..., :3], scale=0.5)


def enlarged(image: np.ndarray, scale: int) -> np.ndarray:
    height, width = image.shape[:2]
    small = Image.fromarray(imresize(image, size=(height // scale, width // scale)))
    return np.asarray(small.resize((width, height), Image.Resampling.LANCZOS))


def test_sharp_photographs_have_no_defect(sharp):
    for image in (sharp, sharp[..., 0], sharp.astype(np.uint16) * 257):
        assert sharpness(image).defect == ""


@pytest.mark.parametrize("sigma", [1.5, 2])
def test_blur_is_found(sharp, sigma):
    assert sharpness(cv2.GaussianBlur(sharp, (0, 0), sigma)).defect == "blurred"


def test_strong_blur_has_an_empty_spectrum_whatever_it_is_called(sharp):
    found = sharpness(cv2.GaussianBlur(sharp, (0, 0), 4))
    assert found.fine < 0.01
    assert found.defect in ("blurred", "upscaled")


@pytest.mark.parametrize("scale", [3, 4])
def test_enlargement_is_found_by_the_edge_of_the_spectrum(sharp, scale):
    found = sharpness(enlarged(sharp, scale))
    assert found.defect == "upscaled"
    assert found.fine < 0.01


def test_a_blurred_background_is_no_defect(sharp):
    image = cv2.GaussianBlur(sharp, (0, 0), 4)
    image[50:150, 50:150] = sharp[50:150, 50:150]
    assert sharpness(image).defect == ""


@pytest.mark.parametrize("shape", [(200, 300), (200, 300, 3)])
def test_flat_images_are_flat(shape, rng):
    assert sharpness(np.full(shape, 90, np.uint8)).defect == "flat"
    gradient = np.broadcast_to(np.linspace(0, 200, 300, dtype=np.uint8), (200, 300))
    assert sharpness(gradient).defect == "flat"


def test_white_noise_has_its_power_in_the_upper_half(rng):
    found = sharpness(np.clip(128 + 20 * rng.standard_normal((256, 256)), 0, 255).astype(np.uint8))
    weights = ((np.arange(64) + 0.5) / 64) ** 2
    assert found.fine == pytest.approx(weights[32:].mean() / weights[4:16].mean(), rel=0.1)
    assert found.busy == 1


@pytest.mark.parametrize("shape", [(1, 1), (127, 500, 3), (8, 8, 4)])
def test_of_small_images_nothing_is_said(shape):
    assert sharpness(np.zeros(shape, np.uint8)).defect == ""


@pytest.mark.parametrize("shape", [(128, 129), (130, 700, 3), (257, 128)])
def test_sizes_of_any_kind_give_numbers(shape, rng):
    assert np.isfinite(sharpness(rng.integers(0, 256, shape, np.uint8))).all()

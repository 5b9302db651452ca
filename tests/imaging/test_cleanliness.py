import io
import time

import cv2
import numpy as np
import pytest
import skimage.data
from PIL import Image

from srcx.imaging import imresize, write_image
from srcx.imaging.cleanliness import LIMITS, blockiness, cleanliness, noise_levels

NAMES = ("astronaut", "chelsea", "coffee", "rocket")
STEPS = {40: 1.25, 60: 0.8, 75: 0.5, 85: 0.3}
"""What libjpeg multiplies the table of quality 50 by, for each quality."""


@pytest.fixture(scope="module", params=NAMES)
def clean(request) -> np.ndarray:
    """A photograph as small as what people upscale; its own JPEG blocks are gone."""
    return imresize(getattr(skimage.data, request.param)()[..., :3], scale=0.5)


@pytest.fixture(scope="module")
def coffee() -> np.ndarray:
    return imresize(skimage.data.coffee(), scale=0.5)


def jpeg(image: np.ndarray, quality: int, subsampling: int = 2) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality, subsampling=subsampling)
    return np.asarray(Image.open(file))


def noisy(image: np.ndarray, sigma: float, *, grey: bool = False) -> np.ndarray:
    shape = (*image.shape[:2], 1) if grey else image.shape
    noise = np.random.default_rng(0).normal(0, sigma, shape)
    return np.clip(image + noise, 0, 255).round().astype(np.uint8)


def grain(image: np.ndarray, sigma: float) -> np.ndarray:
    """Noise of colours in patches of two pixels, as cameras leave it."""
    height, width = (side // 2 for side in image.shape[:2])
    noise = np.random.default_rng(0).normal(0, sigma, (height, width, 3)).repeat(2, axis=0).repeat(2, axis=1)
    return np.clip(image[: 2 * height, : 2 * width] + noise, 0, 255).round().astype(np.uint8)


def test_photographs_are_clean_whole_and_shrunk(clean):
    for image in (clean, imresize(clean, scale=0.5)):
        assert str(cleanliness(image)) == "clean"
        assert cleanliness(image).is_clean


@pytest.mark.parametrize("quality", STEPS)
@pytest.mark.parametrize("offset", [(0, 0), (3, 5), (7, 1)])
def test_blockiness_is_the_step_of_the_quantisation_wherever_the_grid_lies(clean, quality, offset):
    damaged = jpeg(clean, quality)[offset[0] :, offset[1] :]
    assert blockiness(damaged) == pytest.approx(STEPS[quality], rel=0.1)
    assert not cleanliness(damaged).is_clean


@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_chroma_subsampling_does_not_matter(coffee, subsampling):
    assert blockiness(jpeg(coffee, 75, subsampling)) == pytest.approx(0.5, abs=0.03)


def test_jpeg_of_quality_90_and_more_is_clean(clean):
    for quality in (90, 92, 95, 98):
        assert blockiness(jpeg(clean, quality)) <= LIMITS.blockiness


def test_blocks_survive_a_png_file_grey_and_sixteen_bits(coffee, tmp_path):
    damaged = jpeg(coffee, 60)
    write_image(tmp_path / "a.png", damaged)
    found = cleanliness(damaged, tmp_path / "a.png")
    assert str(found) == "damaged: JPEG blocks of about quality 60"
    grey = jpeg(coffee[..., 1], 60)
    assert blockiness(grey) == pytest.approx(0.8, abs=0.06)
    assert blockiness(grey.astype(np.uint16) * 257) == blockiness(grey)
    assert blockiness(np.dstack([damaged, damaged[..., :1]])) == blockiness(damaged)


def test_noise_and_blocks_are_both_reported(coffee):
    assert blockiness(jpeg(noisy(coffee, 5), 75)) == pytest.approx(0.5, abs=0.03)
    assert blockiness(noisy(jpeg(coffee, 40), 1)) == pytest.approx(1.25, rel=0.1)
    assert cleanliness(noisy(jpeg(coffee, 60), 3)).damage == ["noise of about 3 grey levels"]


def test_noise_of_known_level_is_measured(clean):
    before = 0.0
    for sigma in (3, 5, 10, 20):
        luma, colour = noise_levels(noisy(clean, sigma))
        assert colour == pytest.approx(sigma, rel=0.15)
        assert luma == pytest.approx(0.67 * sigma, rel=0.3, abs=0.6)  # three channels are averaged
        assert before < colour
        before = colour
        assert not cleanliness(noisy(clean, sigma)).is_clean


def test_grey_noise_shows_in_luma_alone(clean):
    before = 0.0
    for sigma in (2, 5, 7, 10, 20):
        damaged = noisy(clean, sigma, grey=True)
        luma, colour = noise_levels(damaged)
        assert before < luma
        assert luma == pytest.approx(sigma, rel=0.2, abs=0.5)
        before = luma
        assert colour < LIMITS.colour_noise
        assert cleanliness(damaged).is_clean == (sigma < LIMITS.luma_noise)
        assert noise_levels(damaged[..., 0])[1] == 0


def test_coarse_colour_noise_is_noise(coffee):
    assert "noise of about" in str(cleanliness(grain(coffee, 10)))


def test_dense_texture_is_no_noise():
    for name in ("grass", "gravel", "brick"):
        assert cleanliness(imresize(getattr(skimage.data, name)(), scale=0.5)).is_clean


def test_blur_is_no_damage(coffee):
    assert cleanliness(cv2.GaussianBlur(coffee, (0, 0), 2)).is_clean


@pytest.mark.parametrize("value", [0, 128, 255])
@pytest.mark.parametrize(
    "shape", [(1, 1), (1, 1, 3), (7, 7, 3), (8, 8), (15, 9, 3), (16, 16, 4), (3, 900), (64, 64, 3)]
)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_flat_and_tiny_images_are_clean(value, shape, dtype):
    assert cleanliness(np.full(shape, value, dtype)).is_clean


@pytest.mark.parametrize("shape", [(7, 7, 3), (15, 15), (16, 16, 3), (40, 24)])
def test_tiny_images_of_anything_are_estimated_without_an_error(shape, rng):
    assert cleanliness(rng.integers(0, 256, shape, np.uint8)).blockiness == 0


def test_a_huge_image_is_estimated_from_a_megapixel(coffee):
    damaged = jpeg(coffee, 60)
    huge = np.tile(damaged[:200, :296], (12, 12, 1))  # whole blocks: one grid; 8.5 megapixels
    began_s = time.process_time()
    assert blockiness(huge[3:, 5:]) == pytest.approx(0.8, abs=0.06)
    assert noise_levels(noisy(np.full((60, 20_000, 3), 128, np.uint8), 10))[1] == pytest.approx(10, rel=0.15)
    assert time.process_time() - began_s < 10


@pytest.mark.parametrize(("quality", "phrase"), [(60, "damaged: JPEG of quality 60"), (95, "clean")])
def test_the_quality_of_a_jpeg_file_is_found(coffee, tmp_path, quality, phrase):
    Image.fromarray(coffee).save(tmp_path / "a.jpg", quality=quality)
    flat = np.full((16, 16, 3), 90, np.uint8)
    assert str(cleanliness(flat, tmp_path / "a.jpg")) == phrase


def test_a_file_with_more_pixels_than_pillow_opens_is_estimated(coffee, tmp_path, monkeypatch):
    Image.fromarray(coffee).save(tmp_path / "a.jpg", quality=60)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    assert str(cleanliness(coffee, tmp_path / "a.jpg")) == "damaged: JPEG of quality 60"


@pytest.mark.parametrize(
    ("suffix", "settings", "phrase"),
    [
        ("webp", {"quality": 80}, "damaged: lossy WebP"),
        ("webp", {"quality": 80, "exif": b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0"}, "damaged: lossy WebP"),
        ("webp", {"lossless": True}, "clean"),
        ("avif", {}, "damaged: AVIF"),
        ("png", {}, "clean"),
        ("bmp", {}, "clean"),
        ("tiff", {}, "clean"),
    ],
)
def test_other_files_tell_whether_they_are_lossy(coffee, tmp_path, suffix, settings, phrase):
    file = tmp_path / f"a.{suffix}"
    Image.fromarray(coffee).save(file, **settings)
    assert str(cleanliness(coffee, file)) == phrase

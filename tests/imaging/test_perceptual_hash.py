import io

import cv2
import numpy as np
import pytest
import skimage.data
from PIL import Image

from srcx.imaging.perceptual_hash import LIMIT, nearest, perceptual_hash


def jpeg(image: np.ndarray) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=25)
    return np.asarray(Image.open(file))


@pytest.fixture(scope="module")
def images() -> list[np.ndarray]:
    return [getattr(skimage.data, name)()[..., :3] for name in ("astronaut", "chelsea", "coffee", "rocket")]


@pytest.mark.parametrize(
    "change",
    [
        jpeg,
        lambda image: cv2.resize(image, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA),
        lambda image: cv2.GaussianBlur(image, (0, 0), 3),
        lambda image: image[8:-8, 8:-8],
        lambda image: image.astype(np.uint16) * 257,
        lambda image: np.dstack([image, image[..., 0]]),
        lambda image: cv2.cvtColor(image, cv2.COLOR_RGB2GRAY),
        lambda image: (255 * (image / 255) ** 0.7).astype(np.uint8),
    ],
)
def test_a_changed_image_is_near_itself_alone(images, change):
    hashes = [perceptual_hash(image) for image in images]
    for index, image in enumerate(images):
        found = nearest([perceptual_hash(change(image))], hashes)[0]
        assert found is not None
        assert found[0] == index


def test_different_images_are_far_from_each_other(images):
    assert nearest([perceptual_hash(image) for image in images]) == [None] * 4


def test_the_first_of_several_is_what_the_others_resemble(images):
    first, other = (perceptual_hash(image) for image in images[:2])
    assert nearest([first, other, first, first]) == [None, None, (0, 0.0), (0, 0.0)]


def test_the_distance_is_half_the_share_of_different_signs(images):
    one = perceptual_hash(images[0])
    assert one.shape == (255,)
    changed = one.copy()
    changed[:51] *= -1
    assert nearest([changed], [one]) == [(0, 0.2)]
    changed[51:77] *= -1
    assert LIMIT < 77 / 255
    assert nearest([changed], [one]) == [None]


def test_flat_images_resemble_nothing():
    flat = [perceptual_hash(np.full((40, 50, 3), value, np.uint8)) for value in (0, 200)]
    assert nearest([*flat, *flat]) == [None] * 4


def test_nothing_is_near_to_nothing(images):
    assert nearest([]) == []
    assert nearest([perceptual_hash(images[0])], []) == [None]


def test_many_are_compared_in_parts(images, monkeypatch):
    monkeypatch.setattr("srcx.imaging.perceptual_hash.ROWS", 2)
    hashes = [perceptual_hash(image) for image in [*images, *images]]
    assert nearest(hashes) == [None] * 4 + [(index, 0.0) for index in range(4)]

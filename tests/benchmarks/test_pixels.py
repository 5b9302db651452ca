import numpy as np

from srcx.benchmarks.pixels import cut, pixel_sha256, without_copies


def test_the_digest_is_of_shape_type_and_values(rng):
    image = rng.integers(0, 256, (6, 4, 3), np.uint8)
    other = image.copy()
    other[5, 3, 2] ^= 1
    digests = {pixel_sha256(one) for one in (image, other, image.reshape(4, 6, 3), image.astype(np.uint16))}
    assert len(digests) == 4
    assert pixel_sha256(np.asfortranarray(image)) == pixel_sha256(image)


def test_equal_channels_are_one(rng):
    grey = rng.integers(0, 256, (6, 4), np.uint8)
    assert without_copies(np.stack([grey] * 3, axis=2)).shape == (6, 4)
    almost = np.stack([grey] * 3, axis=2)
    almost[0, 0, 1] ^= 1
    assert without_copies(almost).shape == (6, 4, 3)


def test_cutting_keeps_the_upper_left(rng):
    image = rng.integers(0, 256, (13, 11, 3), np.uint8)
    assert np.array_equal(cut(image, 4), image[:12, :8])
    assert cut(image, 1).shape == image.shape

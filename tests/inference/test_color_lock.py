import cv2
import numpy as np
import pytest
import torch
from torch import nn

from srcx.errors import UsageError
from srcx.imaging import imresize
from srcx.inference import Model, Upscaler, color_lock
from srcx.inference.color_lock import SIGMA_PX, lock_color


class Reddish(nn.Module):
    """Repeats pixels, and shifts the colours of the left half of what it is given."""

    def forward(self, lq: torch.Tensor) -> torch.Tensor:
        sr = lq.repeat_interleave(2, 2).repeat_interleave(2, 3)
        return sr * torch.tensor([0.9, 1.0, 0.95])[:, None, None] + 0.03


@pytest.fixture
def photo(rng) -> np.ndarray:
    """Noise of every coarseness, as photographs have; far from black and white."""
    image = sum(imresize(rng.random((2**level, 2**level, 3)), size=(140, 180)) for level in range(1, 7))
    return (60 + (image - image.min()) / np.ptp(image) * 130).astype(np.uint8)


def low(image: np.ndarray) -> np.ndarray:
    return cv2.GaussianBlur(image.astype(np.float32), (0, 0), 2 * SIGMA_PX)


def shrunk(image: np.ndarray) -> np.ndarray:
    return cv2.resize(image.astype(np.float32), None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)


def upscaler(**settings) -> Upscaler:
    model = Model("reddish", 2, "test", "0" * 64, net=Reddish())
    return Upscaler(model, precision="fp32", backend="torch", **settings)


def test_the_low_frequencies_become_those_of_the_input(photo):
    shifted, locked = upscaler()(photo), upscaler(lock_color=True)(photo)
    assert np.abs(low(shrunk(shifted)) - low(photo)).mean() > 2
    assert np.abs(low(shrunk(locked)) - low(photo)).max() < 0.6


def test_detail_stays(photo):
    shifted, locked = upscaler()(photo), upscaler(lock_color=True)(photo)
    change = locked.astype(np.float32) - shifted
    assert np.abs(change[1:] - change[:-1]).max() <= 1  # a smooth change, rounded
    assert np.abs(change[:, 1:] - change[:, :-1]).max() <= 1


def test_what_fits_already_is_not_changed(photo):
    result = photo.repeat(2, 0).repeat(2, 1)
    before = result.copy()
    lock_color(result, photo)
    np.testing.assert_array_equal(result, before)


def test_noise_that_the_network_removed_does_not_come_back(rng):
    flat = np.full((200, 200), 120, np.uint8)
    noisy = np.clip(flat + 20 * rng.standard_normal(flat.shape), 0, 255).astype(np.uint8)
    result = flat.repeat(2, 0).repeat(2, 1)
    lock_color(result, noisy)
    assert result.std() < 1.5


def test_tiles_give_the_same_as_the_whole(photo):
    whole = upscaler(lock_color=True, tile=0)(photo)
    tiled = upscaler(lock_color=True, tile=32)(photo)
    assert np.abs(whole.astype(int) - tiled).max() <= 1
    assert (whole != tiled).mean() < 0.001


@pytest.mark.parametrize("rows", [1, 7, 64, 1000])
def test_bands_give_the_same_as_one(photo, monkeypatch, rows):
    result = upscaler()(photo)
    lock_color(result, photo)
    monkeypatch.setattr(color_lock, "BAND_ROWS", rows)
    other = upscaler()(photo)
    lock_color(other, photo)
    np.testing.assert_array_equal(result, other)


@pytest.mark.parametrize("shape", [(1, 1), (3, 2, 3), (40, 50), (40, 50, 4)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("scale", [None, 1.5, 3])
def test_every_kind_of_image_can_be_locked(shape, dtype, scale):
    largest = np.iinfo(dtype).max
    image = np.full(shape, largest // 2, dtype)
    result = upscaler(lock_color=True, scale=scale)(image)
    assert result.dtype == dtype
    assert result.ndim == image.ndim
    assert np.abs(result.astype(int) - largest // 2).max() <= largest // 255


def test_it_is_true_or_false():
    with pytest.raises(UsageError, match="lock_color: expected True or False; got 1"):
        upscaler(lock_color=1)


def test_a_copy_has_the_lock_too():
    locked = upscaler(lock_color=True)
    assert locked.with_model(locked.model).lock_color
    assert "lock_color=True" in repr(locked)

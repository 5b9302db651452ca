"""The kinds of images that an upscaler takes, and the way back: arrays, tensors, PIL images and files."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
from PIL import Image

from srcx.errors import ImageError
from srcx.imaging import Extras, ImageArray, read_image
from srcx.imaging.decode import upright_pixels

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Kind", "Taken", "check_image", "take"]

Kind = TypeVar("Kind", ImageArray, "Tensor", Image.Image)
"""A kind that the result has too; a path is read, and its result is an array."""


class Taken(NamedTuple):
    """The image that was given, as arrays."""

    arrays: list[ImageArray]
    """uint8 or uint16, (H, W), (H, W, 3) or (H, W, 4); several for a batch."""
    give_back: Callable[[list[ImageArray]], Any]
    """From the results, one for each array, to the kind that was given."""
    file: Path | None = None
    """Where they were read."""


def take(image: object) -> Taken:
    """Return an image of any kind as arrays.

    Args:
        image: As for `Upscaler.__call__`.

    Raises:
        ImageError: it is none of these kinds, or of another shape or range.
    """
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(image, torch.Tensor):  # without torch there are no tensors
        return _take_tensor(image)
    if isinstance(image, Image.Image):
        return _take_pillow(image)
    if isinstance(image, str | os.PathLike):
        file = Path(image)
        return Taken([read_image(file)], lambda results: results[0], file)
    return Taken([check_image(image)], lambda results: results[0])


def _take_tensor(tensor: "Tensor") -> Taken:
    """Floats become 16 bits, whose steps of 1 / 65535 nobody sees; bytes stay 8 bits."""
    import torch

    from srcx.imaging import to_image, to_tensor

    shape = tuple(tensor.shape)
    if len(shape) not in (3, 4) or shape[-3] not in (1, 3, 4) or 0 in shape:
        raise ImageError(
            "upscale: expected a tensor (N, C, H, W) or (C, H, W) of 1 (grey), 3 (RGB) or 4 (RGBA) channels; "
            f"got shape {shape}"
        )
    batch = tensor if len(shape) == 4 else tensor[None]
    if tensor.dtype == torch.uint8:
        arrays = [_channels_last(one.cpu().numpy()) for one in batch]
    elif tensor.is_floating_point():
        low, high = float(tensor.min()), float(tensor.max())
        if not (low >= 0 and high <= 1):  # nor NaN
            raise ImageError(
                f"upscale: expected a float tensor in [0, 1]; got values from {low:g} to {high:g}: divide by "
                "the largest possible value, or clamp(0, 1)"
            )
        arrays = [to_image(one, bits=16) for one in batch]
    else:
        raise ImageError(f"upscale: expected a float tensor in [0, 1] or a uint8 tensor; got {tensor.dtype}")

    def give_back(results: list[ImageArray]) -> "Tensor":
        if tensor.dtype == torch.uint8:
            tensors = [torch.from_numpy(_channels_first(one)) for one in results]
        else:
            tensors = [to_tensor(one)[0] for one in results]
        stacked = torch.stack(tensors).to(tensor.device, tensor.dtype)
        return stacked if len(shape) == 4 else stacked[0]

    return Taken(arrays, give_back)


def _take_pillow(image: Image.Image) -> Taken:
    pixels = check_image(upright_pixels(image, "upscale"))  # Pillow makes images without pixels too

    def give_back(results: list[ImageArray]) -> Image.Image:
        result = Image.fromarray(results[0])
        profile = Extras(icc=image.info.get("icc_profile") or b"").fitting(len(result.getbands())).icc
        if profile:
            result.info["icc_profile"] = profile  # saving writes it
        return result

    return Taken([pixels], give_back)


def _channels_last(planes: ImageArray) -> ImageArray:
    return planes[0] if len(planes) == 1 else np.ascontiguousarray(planes.transpose(1, 2, 0))


def _channels_first(image: ImageArray) -> ImageArray:
    return image[None] if image.ndim == 2 else np.ascontiguousarray(image.transpose(2, 0, 1))


def check_image(image: object) -> ImageArray:
    """Return an image that is an array, or refuse it.

    Raises:
        ImageError: not uint8 or uint16, or not (H, W), (H, W, 3) or (H, W, 4), or without pixels.
    """
    shape = tuple(getattr(image, "shape", ()))
    fits = len(shape) == 2 or (len(shape) == 3 and shape[2] in (3, 4))
    if not isinstance(image, np.ndarray) or image.dtype not in (np.uint8, np.uint16) or not fits:
        kind = f"{image.dtype} of shape {shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise ImageError(
            "upscale: expected a uint8 or uint16 array, (H, W) grey, (H, W, 3) RGB or (H, W, 4) RGBA, "
            f"a tensor, a PIL image or a path; got {kind}"
        )
    if 0 in shape:
        raise ImageError(f"upscale: expected an image with pixels; got shape {shape}")
    return image

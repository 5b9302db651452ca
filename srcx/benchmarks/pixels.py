"""What an image shows, whatever file holds it: a digest of its pixels."""

import hashlib

import numpy as np

from srcx.imaging.decode import ImageArray

__all__ = ["cut", "pixel_sha256", "without_copies"]


def pixel_sha256(image: ImageArray) -> str:
    """SHA-256 of the shape and the pixels; a grey image has the same one however many channels repeat it.

    Example:
        >>> grey = np.array([[0, 255]], np.uint8)
        >>> pixel_sha256(grey) == pixel_sha256(np.stack([grey] * 3, axis=2))
        True
    """
    pixels = np.ascontiguousarray(without_copies(image))
    return hashlib.sha256(f"{pixels.shape} {pixels.dtype.name}\n".encode() + pixels.tobytes()).hexdigest()


def without_copies(image: ImageArray) -> ImageArray:
    """The image as (H, W) where its three channels are equal."""
    if image.ndim == 3 and image.shape[2] == 3 and (image == image[..., :1]).all():
        return image[..., 0]
    return image


def cut(image: ImageArray, multiple: int) -> ImageArray:
    """The upper left part whose sides are multiples of `multiple`, as MATLAB's `modcrop` takes it."""
    height, width = image.shape[:2]
    return image[: height - height % multiple, : width - width % multiple]

"""What a picture shows, whatever file holds it: a digest of its pixels."""

import hashlib

import numpy as np

from srcx.imaging.decode import Picture

__all__ = ["cut", "pixel_sha256", "without_copies"]


def pixel_sha256(picture: Picture) -> str:
    """SHA-256 of the shape and the pixels; a grey picture has the same one however many channels repeat it.

    Example:
        >>> grey = np.array([[0, 255]], np.uint8)
        >>> pixel_sha256(grey) == pixel_sha256(np.stack([grey] * 3, axis=2))
        True
    """
    pixels = np.ascontiguousarray(without_copies(picture))
    return hashlib.sha256(f"{pixels.shape} {pixels.dtype.name}\n".encode() + pixels.tobytes()).hexdigest()


def without_copies(picture: Picture) -> Picture:
    """The picture as (H, W) where its three channels are equal."""
    if picture.ndim == 3 and picture.shape[2] == 3 and (picture == picture[..., :1]).all():
        return picture[..., 0]
    return picture


def cut(picture: Picture, multiple: int) -> Picture:
    """The upper left part whose sides are multiples of `multiple`, as MATLAB's `modcrop` takes it."""
    height, width = picture.shape[:2]
    return picture[: height - height % multiple, : width - width % multiple]

"""Between images (uint8 or uint16, HWC) and the arrays that networks take (float32 in [0, 1], NCHW)."""

import numpy as np
from numpy.typing import NDArray

from srcx.errors import ImageError
from srcx.imaging.decode import ImageArray

__all__ = ["Planes", "to_pixels", "to_planes"]

Planes = NDArray[np.float32]
"""(N, C, H, W) in [0, 1]."""


def to_planes(image: ImageArray) -> Planes:
    """Image to planes.

    Args:
        image: uint8 or uint16, shape (H, W) or (H, W, C).

    Returns:
        float32 in [0, 1], shape (1, C, H, W); a grey (H, W) image gives C = 1.

    Raises:
        ImageError: the type or shape is another.

    Example:
        >>> to_planes(np.array([[[0, 51, 255]]], np.uint8)).flatten()
        array([0. , 0.2, 1. ], dtype=float32)
    """
    if image.dtype not in (np.uint8, np.uint16) or image.ndim not in (2, 3):
        raise ImageError(
            f"to_tensor: expected an uint8 or uint16 image (H, W) or (H, W, C); "
            f"got {image.dtype} {image.shape}"
        )
    channels_first = image[None] if image.ndim == 2 else image.transpose(2, 0, 1)
    planes = channels_first.astype(np.float32, order="C")[None]
    planes /= np.float32(np.iinfo(image.dtype).max)
    return planes


def to_pixels(planes: Planes, *, bits: int = 8) -> ImageArray:
    """Planes of one image to the image: clamped to [0, 1], rounded half up.

    Args:
        planes: (1, C, H, W), in any order in memory.
        bits: 8 gives uint8, 16 gives uint16.

    Returns:
        Shape (H, W, C), or (H, W) for C = 1.

    Raises:
        ImageError: a value is not a number.

    Example:
        >>> to_pixels(np.array([0, 0.5, 2], np.float32).reshape(1, 3, 1, 1))
        array([[[  0, 128, 255]]], dtype=uint8)
    """
    if np.isnan(planes.max(initial=0)):
        raise ImageError("to_image: the image holds values that are not numbers (NaN)")
    values = np.clip(planes[0], 0, 1)
    values *= 2**bits - 1
    values += 0.5
    # Nothing is negative here, so that the conversion rounds down. It is made before the order changes, which
    # then moves a quarter of the bytes.
    pixels = values.astype({8: np.uint8, 16: np.uint16}[bits]).transpose(1, 2, 0)
    return np.ascontiguousarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)

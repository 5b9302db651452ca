"""Between images (uint8 or uint16, HWC) and tensors (float32 in [0, 1], NCHW)."""

import torch
from torch import Tensor

from srcx.errors import ImageError
from srcx.imaging.decode import ImageArray
from srcx.imaging.planes import to_pixels, to_planes

__all__ = ["to_image", "to_tensor"]


def to_tensor(image: ImageArray) -> Tensor:
    """Image to tensor.

    Args:
        image: uint8 or uint16, shape (H, W) or (H, W, C).

    Returns:
        float32 in [0, 1], shape (1, C, H, W); a grey (H, W) image gives C = 1.

    Raises:
        ImageError: the type or shape is another.

    Example:
        >>> import numpy as np
        >>> to_tensor(np.array([[[0, 51, 255]]], np.uint8)).flatten()
        tensor([0.0000, 0.2000, 1.0000])
    """
    return torch.from_numpy(to_planes(image))


def to_image(tensor: Tensor, *, bits: int = 8) -> ImageArray:
    """Tensor to image: clamped to [0, 1], rounded half up.

    Args:
        tensor: Floating, shape (1, C, H, W) or (C, H, W), on any device.
        bits: 8 gives uint8, 16 gives uint16.

    Returns:
        Shape (H, W, C), or (H, W) for C = 1.

    Raises:
        ImageError: the shape is another, or a value is not a number.

    Example:
        >>> to_image(torch.tensor([0.0, 0.5, 2.0]).view(1, 3, 1, 1))
        array([[[  0, 128, 255]]], dtype=uint8)
    """
    if tensor.ndim not in (3, 4) or (tensor.ndim == 4 and tensor.shape[0] != 1):
        raise ImageError(f"to_image: expected one image (1, C, H, W) or (C, H, W); got {tuple(tensor.shape)}")
    values = tensor.detach().to("cpu", torch.float32)
    return to_pixels((values if tensor.ndim == 4 else values[None]).numpy(), bits=bits)

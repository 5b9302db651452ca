"""Between images (uint8 or uint16, HWC) and tensors (float32 in [0, 1], NCHW)."""

import numpy as np
import torch
from torch import Tensor

from srcx.errors import ImageError
from srcx.imaging.decode import ImageArray

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
        >>> to_tensor(np.array([[[0, 51, 255]]], np.uint8)).flatten()
        tensor([0.0000, 0.2000, 1.0000])
    """
    if image.dtype not in (np.uint8, np.uint16) or image.ndim not in (2, 3):
        raise ImageError(
            f"to_tensor: expected an uint8 or uint16 image (H, W) or (H, W, C); "
            f"got {image.dtype} {image.shape}"
        )
    channels_first = image[None] if image.ndim == 2 else image.transpose(2, 0, 1)
    values = torch.from_numpy(channels_first.astype(np.float32, order="C"))
    return values.div_(np.iinfo(image.dtype).max)[None]


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
    if tensor.ndim == 4 and tensor.shape[0] == 1:
        tensor = tensor[0]
    if tensor.ndim != 3:
        raise ImageError(f"to_image: expected one image (1, C, H, W) or (C, H, W); got {tuple(tensor.shape)}")
    top = 2**bits - 1
    dtype = {8: np.uint8, 16: np.uint16}[bits]
    values = tensor.detach().to(torch.float32).clamp(0, 1).mul(top).add(0.5).floor()
    if bool(values.isnan().any()):
        raise ImageError("to_image: the image holds values that are not numbers (NaN)")
    # int32 in between, since not every device and release of torch knows uint16.
    array = values.to(torch.int32).permute(1, 2, 0).cpu().numpy().astype(dtype)
    return array[..., 0] if array.shape[2] == 1 else array

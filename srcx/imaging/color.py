"""Luma and grey as MATLAB makes them: the Y that every published PSNR is measured on."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from srcx.errors import ImageError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["on_white", "opaque", "rgb_to_grey", "rgb_to_y", "to_rgb", "y_of_tensor"]

# ITU-R BT.601 as in MATLAB's rgb2ycbcr, for R, G, B in [0, 255]. The products with 1/255 are made first:
# dividing by 255 instead moves exact ties (194 of the 2**24 colours are such).
Y_WEIGHTS = (65.481, 128.553, 24.966)
Y_OFFSET = 16.0
# First row of the inverse of the YIQ matrix, to the digits MATLAB's rgb2gray works with.
GREY_WEIGHTS = (0.298936021293776, 0.587043074451121, 0.114020904255103)


def opaque(image: NDArray[np.uint8 | np.uint16]) -> NDArray[np.uint8 | np.uint16]:
    """Return the image without an alpha channel that hides nothing.

    Args:
        image: (H, W), (H, W, 3) or (H, W, 4); uint8 or uint16.

    Returns:
        (H, W, 3) if `image` is RGBA and alpha has its highest value everywhere; else `image`.

    Example:
        >>> opaque(np.full((2, 2, 4), 255, np.uint8)).shape
        (2, 2, 3)
    """
    if image.ndim == 3 and image.shape[2] == 4 and (image[..., 3] == np.iinfo(image.dtype).max).all():
        return np.ascontiguousarray(image[..., :3])
    return image


def to_rgb(image: NDArray[np.uint8 | np.uint16]) -> NDArray[np.uint8]:
    """8-bit RGB as BasicSR reads every image: the high byte of 16 bits, grey in all channels, no alpha.

    Args:
        image: uint8 or uint16: (H, W) grey, (H, W, 3) RGB or (H, W, 4) RGBA.

    Returns:
        (H, W, 3), contiguous.

    Example:
        >>> to_rgb(np.full((2, 2), 0x1234, np.uint16))[0, 0].tolist()
        [18, 18, 18]
    """
    pixels = (image >> 8).astype(np.uint8) if image.dtype == np.uint16 else image.astype(np.uint8, copy=False)
    if pixels.ndim == 2:
        return np.repeat(pixels[..., None], 3, axis=2)
    return np.ascontiguousarray(pixels[..., :3])


def on_white(image: NDArray[np.uint8 | np.uint16]) -> NDArray[np.uint8 | np.uint16]:
    """Return an image with alpha as it looks on white; others are returned as they are.

    Args:
        image: uint8 or uint16: (H, W) grey, (H, W, 3) RGB or (H, W, 4) RGBA.

    Returns:
        The same type; (H, W, 3) where there was alpha.

    Example:
        >>> on_white(np.array([[[0, 0, 0, 255], [9, 9, 9, 0], [0, 0, 0, 51]]], np.uint8))[0].tolist()
        [[0, 0, 0], [255, 255, 255], [204, 204, 204]]
    """
    if image.ndim != 3 or image.shape[2] != 4:
        return image
    white = np.iinfo(image.dtype).max
    alpha = image[..., 3:] / white
    return np.rint(image[..., :3] * alpha + white * (1 - alpha)).astype(image.dtype)


def rgb_to_y(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Y of MATLAB's `rgb2ycbcr` on uint8, rounded half up, in [16, 235].

    Args:
        image: uint8, RGB (H, W, 3); a grey (H, W) image is taken as Y and returned as it is.

    Returns:
        uint8 (H, W).

    Raises:
        ImageError: the type or shape is another.

    Example:
        >>> rgb_to_y(np.array([[[0, 0, 0], [255, 255, 255], [255, 0, 0]]], np.uint8))
        array([[ 16, 235,  81]], dtype=uint8)
    """
    weights = tuple((1 / 255) * weight for weight in Y_WEIGHTS)
    return _weigh("rgb_to_y", image, weights, Y_OFFSET)


def rgb_to_grey(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """MATLAB's `rgb2gray` on uint8, rounded half up, in [0, 255].

    Args:
        image: uint8, RGB (H, W, 3); a grey (H, W) image is returned as it is.

    Returns:
        uint8 (H, W).

    Raises:
        ImageError: the type or shape is another.

    Example:
        >>> rgb_to_grey(np.array([[[0, 0, 0], [255, 255, 255], [255, 0, 0]]], np.uint8))
        array([[  0, 255,  76]], dtype=uint8)
    """
    return _weigh("rgb_to_grey", image, GREY_WEIGHTS, 0.0)


def y_of_tensor(x: "Tensor") -> "Tensor":
    """Y of RGB, not rounded and differentiable.

    Args:
        x: RGB in [0, 1], shape (N, 3, H, W).

    Returns:
        Y in [16/255, 235/255], shape (N, 1, H, W).

    Raises:
        ImageError: `x` has not three channels.

    Example:
        >>> import torch
        >>> y_of_tensor(torch.ones(1, 3, 1, 1)) * 255
        tensor([[[[235.]]]])
    """
    if x.ndim != 4 or x.shape[1] != 3:
        raise ImageError(f"y_of_tensor: expected RGB of shape (N, 3, H, W); got {tuple(x.shape)}")
    weights = x.new_tensor(Y_WEIGHTS).view(1, 3, 1, 1)
    return ((x * weights).sum(dim=1, keepdim=True) + Y_OFFSET) / 255


def _weigh(
    name: str, image: NDArray[np.uint8], weights: tuple[float, ...], offset: float
) -> NDArray[np.uint8]:
    if image.dtype != np.uint8:
        raise ImageError(f"{name}: expected an uint8 image; got {image.dtype}")
    if image.ndim == 2:
        return image
    if image.ndim != 3 or image.shape[2] != 3:
        raise ImageError(f"{name}: expected RGB (H, W, 3) or grey (H, W); got shape {image.shape}")
    # The order of these sums is MATLAB's; another one moves exact ties.
    total = image[..., 0] * np.float64(weights[0])
    total += image[..., 1] * np.float64(weights[1])
    total += image[..., 2] * np.float64(weights[2])
    total += offset
    total += 0.5
    return total.astype(np.uint8)  # nothing is negative or above 255 here, so this rounds down

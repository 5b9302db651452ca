"""Images as metrics take them: checked, and converted to the 8-bit arrays that the protocol is defined on."""

from numbers import Integral
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from srcx.errors import ImageError, UsageError
from srcx.imaging.color import Y_OFFSET, Y_WEIGHTS, rgb_to_y
from srcx.imaging.tensors import to_image, to_tensor

Array: TypeAlias = NDArray[np.uint8]
Floats: TypeAlias = NDArray[np.float64]
AnyArray: TypeAlias = NDArray[np.uint8] | NDArray[np.uint16] | NDArray[np.uint8 | np.uint16]


def as_bytes(metric: str, role: str, image: object) -> Array:
    """Check one array image and bring it to 8 bits, on which the published protocol is defined.

    Args:
        metric: Name of the metric, for the error.
        role: "sr" or "gt", for the error.
        image: uint8 or uint16, (H, W) grey or (H, W, 3) RGB; 16 bits are divided by 257 and rounded.

    Returns:
        The image in uint8, same shape.

    Raises:
        ImageError: another kind of array.
    """
    if not isinstance(image, np.ndarray):
        raise ImageError(f"{metric}: {role} must be an array or a tensor; got {type(image).__name__}")
    shape = image.shape
    if image.dtype not in (np.uint8, np.uint16):
        raise ImageError(
            f"{metric}: {role} must be a uint8 or uint16 array (or a tensor in [0, 1]); "
            f"got an array of {image.dtype}: convert it, e.g. (255 * x).round().astype('uint8')"
        )
    if len(shape) == 3 and shape[2] in (2, 4):
        raise ImageError(
            f"{metric}: {role} has an alpha channel, shape {shape}; composite it on a background first"
        )
    if len(shape) not in (2, 3) or (len(shape) == 3 and shape[2] != 3) or 0 in shape:
        raise ImageError(f"{metric}: {role} must be (H, W) grey or (H, W, 3) RGB; got shape {shape}")
    if image.dtype == np.uint16:
        return ((image.astype(np.uint32) + 128) // 257).astype(np.uint8)
    return image.astype(np.uint8, copy=False)


def as_rgb_batch(metric: str, role: str, image: object) -> Tensor:
    """Return one array image as a float batch (1, 3, H, W) in [0, 1]; grey is repeated in three channels."""
    bytes_ = as_bytes(metric, role, image)
    rgb = bytes_ if bytes_.ndim == 3 else np.repeat(bytes_[:, :, None], 3, axis=2)
    return to_tensor(rgb)


def check_batch(metric: str, role: str, batch: Tensor) -> None:
    """Refuse a tensor that is not a batch of RGB images.

    Raises:
        ImageError: `batch` is not (N, 3, H, W), not of floats, not finite, or leaves [0, 1].
    """
    shape = tuple(batch.shape)
    if batch.ndim != 4 or shape[1] != 3 or 0 in shape[2:]:
        raise ImageError(f"{metric}: {role} must be an RGB tensor (N, 3, H, W); got shape {shape}")
    if not batch.is_floating_point():
        raise ImageError(f"{metric}: {role} must be a float tensor in [0, 1]; got {batch.dtype}")
    if batch.numel() == 0:
        return
    low, high = (float(bound) for bound in torch.aminmax(batch.detach().float()))
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ImageError(f"{metric}: {role} holds values that are not finite (NaN or infinite)")
    if low < 0 or high > 1:
        raise ImageError(
            f"{metric}: {role} must lie in [0, 1]; got {low:.4g} to {high:.4g}: "
            "clamp a network's output first"
        )


def batch_as_bytes(metric: str, role: str, batch: Tensor) -> list[Array]:
    """Round a checked batch (N, 3, H, W) to the images (H, W, 3) that saving it would give."""
    check_batch(metric, role, batch)
    return [to_image(one[None]).astype(np.uint8, copy=False) for one in batch.detach().float().cpu()]


def check_pair(metric: str, sr: AnyArray | Tensor, gt: AnyArray | Tensor) -> None:
    """Refuse two images that cannot be compared.

    Raises:
        ImageError: one is a tensor and the other is not, or the shapes differ.
    """
    if isinstance(sr, Tensor) != isinstance(gt, Tensor):
        raise ImageError(
            f"{metric}: sr and gt must both be arrays or both tensors; "
            f"got {type(sr).__name__} and {type(gt).__name__}"
        )
    if np.shape(sr) != np.shape(gt):
        raise ImageError(
            f"{metric}: sr and gt must share one shape; got sr {np.shape(sr)} and gt {np.shape(gt)}: "
            "crop the larger, or give both as RGB or both as grey"
        )


def unrounded_y(view: Array) -> Floats:
    """Return Y of RGB or grey without rounding, as BasicSR measures it; float64 (H, W) in [0, 255]."""
    y: Floats = view @ (np.array(Y_WEIGHTS) / 255) + Y_OFFSET if view.ndim == 3 else view.astype(np.float64)
    return y


def protocol_view(metric: str, image: Array, *, y_only: bool, crop_px: int, least_px: int = 1) -> Array:
    """Return the part of an image that PIRM's protocol measures.

    Args:
        metric: Name of the metric, for the error.
        image: uint8, (H, W) or (H, W, 3).
        y_only: Whether to return MATLAB's rounded Y instead of all channels (a grey image is taken as Y).
        crop_px: Pixels shaved from each border.
        least_px: Height and width that must be left.

    Returns:
        uint8, shaved; (H, W) where `y_only` or grey.

    Raises:
        ImageError: less than `least_px` is left.
        UsageError: `crop_px` is no whole number, or negative.
    """
    if not isinstance(crop_px, Integral) or crop_px < 0:
        raise UsageError(f"{metric}: crop_px must be a whole number, 0 or more; got {crop_px!r}")
    height, width = image.shape[0] - 2 * crop_px, image.shape[1] - 2 * crop_px
    if min(height, width) < least_px:
        raise ImageError(
            f"{metric}: needs at least {least_px} x {least_px} pixels after shaving {crop_px} "
            f"from each border; got an image of {image.shape[1]} x {image.shape[0]}"
        )
    view = image[crop_px : crop_px + height, crop_px : crop_px + width]
    return rgb_to_y(view) if y_only else view

"""Checks and a blur of tensors of images. They need torch alone, as the losses do."""

import torch
from torch import Tensor
from torch.nn import functional

from srcx.errors import ImageError

__all__ = ["check_batches", "check_floating", "check_same_shape", "gaussian_blur"]


def check_floating(name: str, **images: object) -> None:
    """Check that images are floating-point tensors: the difference of two uint8 images wraps around at 0.

    Args:
        name: Begins the message.
        images: Role -> image.

    Raises:
        ImageError: one is another kind of array or tensor.
    """
    for role, image in images.items():
        if not isinstance(image, Tensor):
            raise ImageError(f"{name}: {role} must be a tensor; got {type(image).__name__}")
        if not image.is_floating_point():
            raise ImageError(
                f"{name}: {role} must be a floating-point tensor; got {image.dtype}: an image of 8 bits "
                "becomes one by x.float() / 255"
            )


def check_same_shape(name: str, sr: Tensor, gt: Tensor) -> None:
    """Check that `sr` and `gt` are floating-point tensors of one shape.

    Raises:
        ImageError: they are not; the message begins with `name`.
    """
    check_floating(name, sr=sr, gt=gt)
    if sr.shape != gt.shape:
        raise ImageError(
            f"{name}: sr and gt must share one shape (N, C, H, W); "
            f"got sr {tuple(sr.shape)} and gt {tuple(gt.shape)}"
        )


def check_batches(name: str, sr: Tensor, gt: Tensor) -> None:
    """Check that `sr` and `gt` are floating-point tensors of one shape (N, C, H, W).

    Raises:
        ImageError: they are not; the message begins with `name`.
    """
    check_same_shape(name, sr, gt)
    if sr.ndim != 4:
        raise ImageError(
            f"{name}: expected batches of images (N, C, H, W); got shape {tuple(sr.shape)}: of one image "
            "(C, H, W), x[None] is a batch"
        )


def gaussian_blur(x: Tensor, *, kernel_size: int = 21, sigma: float = 3.0) -> Tensor:
    """Blur with a Gaussian at full resolution, separably; borders are mirrored.

    Args:
        x: Images, (N, C, H, W).
        kernel_size: Width of the kernel in pixels, odd.
        sigma: Standard deviation in pixels.

    Returns:
        Tensor of the shape of `x`.

    Raises:
        ImageError: a side is below kernel_size // 2 + 1, so that the border cannot be mirrored.

    Example:
        >>> gaussian_blur(torch.ones(1, 3, 24, 24)).sub(1).abs().max() < 1e-6
        tensor(True)
    """
    radius = kernel_size // 2
    if min(x.shape[-2:]) <= radius:
        raise ImageError(
            f"a Gaussian of {kernel_size} pixels needs images of at least {radius + 1} pixels a side; "
            f"got {tuple(x.shape)}"
        )
    offsets = torch.arange(-radius, radius + 1, dtype=x.dtype, device=x.device)
    kernel = torch.exp(-(offsets**2) / (2 * sigma**2))
    kernel = kernel / kernel.sum()
    planes = x.reshape(-1, 1, *x.shape[-2:])
    planes = functional.pad(planes, (radius, radius, radius, radius), mode="reflect")
    planes = functional.conv2d(planes, kernel.view(1, 1, -1, 1))
    planes = functional.conv2d(planes, kernel.view(1, 1, 1, -1))
    return planes.reshape(x.shape)

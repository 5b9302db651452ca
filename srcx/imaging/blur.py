"""Gaussian blur of tensors, which gradients pass."""

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["gaussian_blur"]


def gaussian_blur(x: Tensor, *, kernel_size: int = 21, sigma: float = 3.0) -> Tensor:
    """Blur with a Gaussian at full resolution, separably; borders are mirrored.

    Args:
        x: Images, (N, C, H, W); H and W at least kernel_size // 2 + 1.
        kernel_size: Width of the kernel in pixels, odd.
        sigma: Standard deviation in pixels.

    Returns:
        Tensor of the shape of `x`.

    Example:
        >>> gaussian_blur(torch.ones(1, 3, 24, 24)).sub(1).abs().max() < 1e-6
        tensor(True)
    """
    radius = kernel_size // 2
    offsets = torch.arange(-radius, radius + 1, dtype=x.dtype, device=x.device)
    kernel = torch.exp(-(offsets**2) / (2 * sigma**2))
    kernel = kernel / kernel.sum()
    planes = x.reshape(-1, 1, *x.shape[-2:])
    planes = functional.pad(planes, (radius, radius, radius, radius), mode="reflect")
    planes = functional.conv2d(planes, kernel.view(1, 1, -1, 1))
    planes = functional.conv2d(planes, kernel.view(1, 1, 1, -1))
    return planes.reshape(x.shape)

"""Images without local brightness and contrast."""

import torch
from torch import Tensor

from srcx.tensors import gaussian_blur

__all__ = ["LEAST_PX", "mscn"]

LEAST_PX = 4  # the local mean needs this for its mirrored border


def mscn(images: Tensor) -> Tensor:
    """Return each channel minus its local mean, divided by its local standard deviation: MSCN coefficients.

    In them the grain of a wall is as strong as the leaves of a tree; a network trained on ImageNet responds
    to the leaves alone.

    Args:
        images: In [0, 1], (N, C, H, W), at least 4 x 4 pixels.

    Returns:
        Tensor of the shape of `images`; one level of 255 is added to the standard deviation.

    References:
        Mittal et al., "Making a 'Completely Blind' Image Quality Analyzer", IEEE SPL 2013, equation 1.
        Differs from the paper: every channel rather than grey, mirrored borders, and the level is added as
        root of the sum of squares, which has a gradient where an image is flat.

    Example:
        >>> board = torch.tensor([[0.0, 1.0], [1.0, 0.0]]).tile(8, 8).expand(1, 1, 16, 16)
        >>> torch.allclose(mscn(board), mscn(0.5 * board), atol=1e-3)
        True
    """
    with torch.autocast(images.device.type, enabled=False):  # in bf16 a variance may be below zero
        mean, of_squares = (gaussian_blur(x, kernel_size=7, sigma=7 / 6) for x in (images, images**2))
        variance = of_squares - mean**2
        return (images - mean) / torch.sqrt(variance + (1 / 255) ** 2)

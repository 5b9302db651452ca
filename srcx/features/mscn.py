"""Images freed of local brightness and contrast."""

import torch
from torch import Tensor

from srcx.imaging.tensors import gaussian_blur

__all__ = ["LEAST_PX", "mscn"]

LEAST_PX = 4  # the mirrored border of the local mean


def mscn(images: Tensor) -> Tensor:
    """Each channel less its local mean, over its local deviation: MSCN coefficients.

    The grain of a wall weighs as much in them as the leaves of a tree, where a network trained on
    ImageNet sees the leaves alone.

    Args:
        images: In [0, 1], (N, C, H, W), at least 4 x 4 pixels.

    Returns:
        Tensor of the shape of `images`; one level of 255 is added to the deviation.

    References:
        Mittal et al., "Making a 'Completely Blind' Image Quality Analyzer", IEEE SPL 2013, equation 1.
        Differs from the paper: every channel rather than grey, borders mirrored, and the level is added as
        root of the sum of squares, which has a gradient where an image is flat.

    Example:
        >>> board = torch.tensor([[0.0, 1.0], [1.0, 0.0]]).tile(8, 8).expand(1, 1, 16, 16)
        >>> torch.allclose(mscn(board), mscn(0.5 * board), atol=1e-3)
        True
    """
    with torch.autocast(images.device.type, enabled=False):  # in bf16 a variance comes out below zero
        mean, of_squares = (gaussian_blur(x, kernel_size=7, sigma=7 / 6) for x in (images, images**2))
        variance = of_squares - mean**2
        return (images - mean) / torch.sqrt(variance + (1 / 255) ** 2)

"""What a strided network sees of an image, moved at random."""

import torch
from torch import Tensor

__all__ = ["jittered"]


def jittered(*images: Tensor, jitter_px: int) -> tuple[Tensor, ...]:
    """All images, `jitter_px` smaller, from the same random one of their first rows and columns on.

    The strides of a network make a lattice on which its gradient is uneven: that of SRGAN's discriminator
    differs by a factor of two between the pixels of a 4 x 4 cell. A generator that builds its output
    from subpixels may learn that as a grid; on a lattice that moves it is even.

    Args:
        images: Such as sr and gt, of one shape (N, C, H, W).
        jitter_px: At best a multiple of the network's stride; 0 gives the images as they are.

    Returns:
        Views, (N, C, H - jitter_px, W - jitter_px).
    """
    if not jitter_px:
        return images
    top, left = torch.randint(jitter_px, (2,)).tolist()
    height, width = (side - jitter_px for side in images[0].shape[-2:])
    return tuple(one[..., top : top + height, left : left + width] for one in images)

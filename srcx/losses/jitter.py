"""What a strided network sees of a picture, moved at random."""

import torch
from torch import Tensor

__all__ = ["jittered"]


def jittered(sr: Tensor, gt: Tensor, jitter_px: int) -> tuple[Tensor, Tensor]:
    """Both pictures, `jitter_px` smaller, from the same random one of their first rows and columns on.

    The strides of a network make a lattice on which its gradient is uneven: that of SRGAN's discriminator
    differs by a factor of two between the pixels of a 4 x 4 cell. A generator that builds its output
    from subpixels may learn that as a grid; on a lattice that moves it is even.

    Args:
        sr: Pictures, (N, C, H, W).
        gt: Pictures of the same shape.
        jitter_px: At best a multiple of the network's stride; 0 gives the pictures as they are.

    Returns:
        Two views, (N, C, H - jitter_px, W - jitter_px).
    """
    if not jitter_px:
        return sr, gt
    top, left = torch.randint(jitter_px, (2,)).tolist()
    height, width = (side - jitter_px for side in sr.shape[-2:])
    return (
        sr[..., top : top + height, left : left + width],
        gt[..., top : top + height, left : left + width],
    )

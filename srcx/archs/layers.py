"""Pieces several networks share: residual weights' initialisation and pixel-shuffle stages."""

from collections.abc import Iterable
from typing import Literal, get_args

import torch
from torch import nn

from srcx.errors import OptionsError

__all__ = ["Upscale", "scale_kaiming_normal", "shuffle_factors"]

Upscale = Literal[2, 3, 4, 8]


def shuffle_factors(network: str, upscale: int) -> list[int]:
    """The pixel-shuffle stages that make up a scale: one of 3, or one, two or three of 2.

    Args:
        network: Name for the message of the error.
        upscale: Scale factor.

    Raises:
        OptionsError: the scale is none of 2, 3, 4, 8.

    Example:
        >>> shuffle_factors("SRResNet", 8)
        [2, 2, 2]
    """
    if upscale not in get_args(Upscale):
        known = ", ".join(str(scale) for scale in get_args(Upscale))
        raise OptionsError(f"{network}: upscale must be one of {known}; got {upscale!r}")
    return [3] if upscale == 3 else [2] * (upscale.bit_length() - 1)


@torch.no_grad()
def scale_kaiming_normal(convs: Iterable[nn.Conv2d], scale: float) -> None:
    """Draw weights from He's normal distribution and shrink them; biases become zero.

    Small first weights keep a deep residual network near its skip connections in the beginning.

    References:
        Wang et al., "ESRGAN", 2018, arXiv:1809.00219, section 3.1 (scale 0.1).
    """
    for conv in convs:
        nn.init.kaiming_normal_(conv.weight).mul_(scale)
        if conv.bias is not None:
            conv.bias.zero_()

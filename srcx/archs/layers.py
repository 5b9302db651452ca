"""Pieces several networks share."""

from collections.abc import Iterable
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from srcx.errors import ImageError, OptionsError

__all__ = ["Upscale", "check_image_size", "normalised_conv", "scale_kaiming_normal", "shuffle_factors"]

Upscale = Literal[1, 2, 3, 4, 8]


def shuffle_factors(network: str, upscale: int) -> list[int]:
    """The pixel-shuffle stages that make up a scale: one of 3, or one, two or three of 2; none for 1.

    Args:
        network: Name for the message of the error.
        upscale: Scale factor.

    Raises:
        OptionsError: the scale is none of 1, 2, 3, 4, 8.

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


def normalised_conv(num_in: int, num_out: int, *, kernel_size: int, stride: int) -> tuple[nn.Module, ...]:
    """Convolution, batch normalisation and leaky ReLU of the discriminators, padded by one pixel.

    The convolution has no bias, which the normalisation would take out again.
    """
    return (
        nn.Conv2d(num_in, num_out, kernel_size, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(num_out),
        nn.LeakyReLU(0.2, inplace=True),
    )


def check_image_size(network: str, images: Tensor, size: int) -> None:
    """Check that images have the height and width a discriminator with a dense head was made for.

    Raises:
        ImageError: they have not.
    """
    if images.shape[-2:] != (size, size):
        raise ImageError(
            f"{network}: made for images of {size} x {size} pixels, got shape {tuple(images.shape)}; "
            "set input_size of network_d to gt_size of the training set less train.jitter"
        )

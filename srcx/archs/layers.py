"""Layers and checks that several networks share."""

from collections.abc import Iterable
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from srcx.errors import ImageError, OptionsError

__all__ = [
    "ResizeConv",
    "SubPixelConv",
    "Upscale",
    "check_count",
    "check_image_size",
    "leaky",
    "normalised_conv",
    "scale_kaiming_normal",
    "shuffle_factors",
]

Upscale = Literal[1, 2, 3, 4, 8]


def shuffle_factors(network: str, upscale: int) -> list[int]:
    """Return the factors of the upsampling layers of a scale: one 3, or one to three times 2; none for 1.

    Args:
        network: Begins the message of the error.
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


def check_count(network: str, name: str, number: int, *, least: int = 0) -> None:
    """Raise an OptionsError that names the network and its argument if `number` is below `least`."""
    if number < least:
        raise OptionsError(f"{network}: {name} must be {least} or more; got {number!r}")


@torch.no_grad()
def scale_kaiming_normal(convs: Iterable[nn.Conv2d], scale: float) -> None:
    """Draw weights from He's normal distribution and multiply them by `scale`; set biases to zero.

    Small initial weights keep a deep residual network near its skip connections at first.

    References:
        Wang et al., "ESRGAN", 2018, arXiv:1809.00219, section 3.1 (scale 0.1).
    """
    for conv in convs:
        nn.init.kaiming_normal_(conv.weight).mul_(scale)
        if conv.bias is not None:
            conv.bias.zero_()


def normalised_conv(num_in: int, num_out: int, *, kernel_size: int, stride: int) -> tuple[nn.Module, ...]:
    """Return convolution, batch normalisation and leaky ReLU, padded by one pixel.

    The convolution has no bias, because the normalisation would subtract it again.
    """
    return (
        nn.Conv2d(num_in, num_out, kernel_size, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(num_out),
        nn.LeakyReLU(0.2, inplace=True),
    )


def leaky(x: Tensor) -> Tensor:
    """Return the leaky ReLU of slope 0.2, computed in place."""
    return functional.leaky_relu(x, negative_slope=0.2, inplace=True)


def check_image_size(network: str, images: Tensor, size: int) -> None:
    """Check that images have the height and width that a discriminator with a dense head needs.

    Raises:
        ImageError: they differ.
    """
    if images.shape[-2:] != (size, size):
        raise ImageError(
            f"{network}: made for images of {size} x {size} pixels, got shape {tuple(images.shape)}; "
            "set input_size of network_d to gt_size of the training set less train.jitter"
        )


class SubPixelConv(nn.Conv2d):
    """A 3 x 3 convolution to factor² times as many channels, then pixel shuffle to factor times the size.

    Args:
        num_in: Channels of the input.
        num_out: Channels of the output.
        factor: Scale factor r.

    Called with (N, num_in, H, W), it returns (N, num_out, r·H, r·W), in the memory format of the
    input. Weights and values are those of `Conv2d(num_in, num_out * r², 3, padding=1)` followed by
    `PixelShuffle(r)`.

    References:
        Shi et al., "Real-Time Single Image and Video Super-Resolution Using an Efficient
        Sub-Pixel Convolutional Neural Network", CVPR 2016, arXiv:1609.05158.

    Example:
        >>> SubPixelConv(4, 6, 3)(torch.zeros(1, 4, 5, 7)).shape
        torch.Size([1, 6, 15, 21])
    """

    bias: Tensor

    def __init__(self, num_in: int, num_out: int, factor: int) -> None:
        super().__init__(num_in, num_out * factor**2, 3, padding=1)
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        if not x.is_contiguous(memory_format=torch.channels_last):
            return functional.pixel_shuffle(super().forward(x), self.factor)
        # With the channels of each subpixel next to each other, the shuffle copies r · num_out numbers at a
        # time instead of single ones: a tenth of the time.
        n, r, (height, width) = len(x), self.factor, x.shape[2:]
        y = functional.conv2d(x, self._by_subpixel(self.weight), self._by_subpixel(self.bias), padding=1)
        runs = y.permute(0, 2, 3, 1).reshape(n, height, width, r, -1)  # (N, H, W, r, r · num_out)
        runs = runs.transpose(2, 3)  # (N, H, r, W, r · num_out)
        return runs.reshape(n, r * height, r * width, -1).permute(0, 3, 1, 2)

    def _by_subpixel(self, parameter: Tensor) -> Tensor:
        """Return the parameter with output channels reordered from (num_out, r²) to (r², num_out)."""
        subpixels = self.factor**2
        return parameter.reshape(-1, subpixels, *parameter.shape[1:]).transpose(0, 1).reshape(parameter.shape)


class ResizeConv(nn.Conv2d):
    """Bilinear interpolation to factor times the size, then a 3 x 3 convolution.

    Constant or linear features give a constant or linear output. `SubPixelConv` has one kernel for each of
    the r² output pixels of an input pixel. It gives such features a grid of period r, which noisy gradients
    make strong. Both need the same number of operations.

    Args:
        num_in: Channels of the input.
        num_out: Channels of the output.
        factor: Scale factor r.

    Called with (N, num_in, H, W), it returns (N, num_out, r·H, r·W).

    References:
        Odena, Dumoulin, Olah, "Deconvolution and Checkerboard Artifacts", Distill 2016,
        doi:10.23915/distill.00003.
        Differs from the article: bilinear, as in StyleGAN (arXiv:1812.04948), in place of nearest neighbour,
        which turns linear features into steps; after a ReLU, steps are a grid.

    Example:
        >>> ResizeConv(4, 6, 3)(torch.zeros(1, 4, 5, 7)).shape
        torch.Size([1, 6, 15, 21])
    """

    def __init__(self, num_in: int, num_out: int, factor: int) -> None:
        super().__init__(num_in, num_out, 3, padding=1)
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        larger = functional.interpolate(x, scale_factor=self.factor, mode="bilinear", align_corners=False)
        return super().forward(larger)

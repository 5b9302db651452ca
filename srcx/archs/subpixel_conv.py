"""Convolution and pixel shuffle in one: enlarges feature maps by a whole factor."""

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["SubPixelConv"]


class SubPixelConv(nn.Conv2d):
    """A 3 x 3 convolution to factor² as many channels, rearranged to factor times the height and width.

    Args:
        num_in: Channels of the input.
        num_out: Channels of the output.
        factor: Enlargement r.

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
        # With the channels of each subpixel side by side, the rearrangement moves runs of
        # r · num_out numbers instead of single ones: a tenth of the time.
        n, r, (height, width) = len(x), self.factor, x.shape[2:]
        y = functional.conv2d(x, self._by_subpixel(self.weight), self._by_subpixel(self.bias), padding=1)
        runs = (
            y.permute(0, 2, 3, 1).reshape(n, height, width, r, -1).transpose(2, 3)
        )  # (N, H, r, W, r · num_out)
        return runs.reshape(n, r * height, r * width, -1).permute(0, 3, 1, 2)

    def _by_subpixel(self, parameter: Tensor) -> Tensor:
        """Reorder output channels from (num_out, r²) to (r², num_out)."""
        subpixels = self.factor**2
        return parameter.reshape(-1, subpixels, *parameter.shape[1:]).transpose(0, 1).reshape(parameter.shape)

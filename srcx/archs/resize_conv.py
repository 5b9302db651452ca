"""Nearest-neighbour enlargement and convolution in one: enlarges feature maps with little of a grid."""

from torch import Tensor, nn
from torch.nn import functional

__all__ = ["ResizeConv"]


class ResizeConv(nn.Conv2d):
    """Repeats each pixel factor x factor times, then convolves 3 x 3.

    One kernel makes all pixels that come of one, so that even features give an even picture. Noisy
    gradients teach it far less of a periodic grid than `SubPixelConv`, which has a kernel for each
    of them. It takes as many operations.

    Args:
        num_in: Channels of the input.
        num_out: Channels of the output.
        factor: Enlargement r.

    Called with (N, num_in, H, W), it returns (N, num_out, r·H, r·W).

    References:
        Odena, Dumoulin, Olah, "Deconvolution and Checkerboard Artifacts", Distill 2016,
        doi:10.23915/distill.00003.

    Example:
        >>> import torch
        >>> ResizeConv(4, 6, 3)(torch.zeros(1, 4, 5, 7)).shape
        torch.Size([1, 6, 15, 21])
    """

    def __init__(self, num_in: int, num_out: int, factor: int) -> None:
        super().__init__(num_in, num_out, 3, padding=1)
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(functional.interpolate(x, scale_factor=self.factor, mode="nearest"))

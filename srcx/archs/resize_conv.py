"""Bilinear enlargement and convolution in one: enlarges feature maps without a grid."""

from torch import Tensor, nn
from torch.nn import functional

__all__ = ["ResizeConv"]


class ResizeConv(nn.Conv2d):
    """Enlarges factor times by bilinear interpolation, then convolves 3 x 3.

    Features that are even or rise evenly give an image that is so too. `SubPixelConv`, with a kernel for
    each pixel that comes of one, gives both of them a grid of its period, and noisy gradients teach it a
    strong one. It takes as many operations.

    Args:
        num_in: Channels of the input.
        num_out: Channels of the output.
        factor: Enlargement r.

    Called with (N, num_in, H, W), it returns (N, num_out, r·H, r·W).

    References:
        Odena, Dumoulin, Olah, "Deconvolution and Checkerboard Artifacts", Distill 2016,
        doi:10.23915/distill.00003.
        Differs from the article: bilinear, as in StyleGAN (arXiv:1812.04948), in place of nearest neighbour,
        which makes steps of what rises evenly; rectified, steps are a grid.

    Example:
        >>> import torch
        >>> ResizeConv(4, 6, 3)(torch.zeros(1, 4, 5, 7)).shape
        torch.Size([1, 6, 15, 21])
    """

    def __init__(self, num_in: int, num_out: int, factor: int) -> None:
        super().__init__(num_in, num_out, 3, padding=1)
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        larger = functional.interpolate(x, scale_factor=self.factor, mode="bilinear", align_corners=False)
        return super().forward(larger)

"""SRResNet without batch normalisation, interchangeable with BasicSR's network of the same name."""

from typing import Literal

from torch import Tensor, nn
from torch.nn import functional

from srcx.archs.layers import (
    ResizeConv,
    SubPixelConv,
    Upscale,
    check_count,
    scale_kaiming_normal,
    shuffle_factors,
)

__all__ = ["MSRResNet"]

Upsampling = Literal["subpixel", "bilinear", "direct"]


class MSRResNet(nn.Module):
    """SRResNet without batch normalisation; it adds detail to a bilinearly upscaled image.

    Args:
        num_in_ch: Channels of lq.
        num_out_ch: Channels of sr: as many as lq has, or any number if lq has one.
        num_feat: Channels inside.
        num_block: Residual blocks.
        upscale: Scale factor s: 2, 3, 4 or 8; 1 is for tasks such as denoising.
        upsampling: "subpixel": convolution and pixel shuffle. "bilinear": bilinear interpolation and
            convolution, which leave less of a grid after adversarial training. "direct": one convolution and
            one pixel shuffle make sr from the features of lq. All convolutions then run at the size of lq:
            at scale 4 half the operations for 16 blocks, a fifth for 6.

    Called with lq, RGB in [0, 1], (N, num_in_ch, H, W), it returns sr, (N, num_out_ch, s·H, s·W).

    Raises:
        OptionsError: the scale is not 1, 2, 3, 4 or 8, or the number of blocks is below 0.

    References:
        Ledig et al., "Photo-Realistic Single Image Super-Resolution Using a Generative
        Adversarial Network", CVPR 2017, arXiv:1609.04802, in the variant of BasicSR 1.4.2
        (Apache-2.0): same constructor, keys, outputs and random weights.
        Differs from the paper: no batch normalisation, 3 x 3 kernels throughout, leaky ReLU, a
        bilinear skip from input to output. Differs from BasicSR: scales 1 and 8 as well, bilinear
        upsampling (`ResizeConv`), direct upsampling as in ESPCN (`SubPixelConv`), and under
        autocast the skip keeps the precision of lq.

    Example:
        >>> import torch
        >>> MSRResNet(num_feat=4, num_block=1, upscale=2)(torch.zeros(1, 3, 5, 7)).shape
        torch.Size([1, 3, 10, 14])
    """

    def __init__(
        self,
        num_in_ch: int = 3,
        num_out_ch: int = 3,
        num_feat: int = 64,
        num_block: int = 16,
        upscale: Upscale = 4,
        upsampling: Upsampling = "subpixel",
    ) -> None:
        super().__init__()
        self.upscale = upscale
        check_count("MSRResNet", "num_block", num_block)
        factors = shuffle_factors("MSRResNet", upscale)
        self.conv_first = nn.Conv2d(num_in_ch, num_feat, 3, padding=1)
        self.body = nn.Sequential(*(ResidualBlock(num_feat) for _ in range(num_block)))
        self.upconvs: list[str] = []
        if upsampling == "direct":
            self.conv_last: nn.Conv2d = SubPixelConv(num_feat, num_out_ch, upscale)
            scale_kaiming_normal([self.conv_first, self.conv_last], 0.1)
            return
        upsample = {"subpixel": SubPixelConv, "bilinear": ResizeConv}[upsampling]
        upconvs = [upsample(num_feat, num_feat, factor) for factor in factors]
        self.upconvs = [f"upconv{stage}" for stage in range(1, len(upconvs) + 1)]
        for name, conv in zip(self.upconvs, upconvs, strict=True):
            self.add_module(name, conv)
        self.conv_hr = nn.Conv2d(num_feat, num_feat, 3, padding=1)
        self.conv_last = nn.Conv2d(num_feat, num_out_ch, 3, padding=1)
        # BasicSR's order of drawing: the same seed gives the same weights.
        first, others = upconvs[:1], upconvs[1:]
        scale_kaiming_normal([self.conv_first, *first, self.conv_hr, self.conv_last, *others], 0.1)

    def forward(self, lq: Tensor) -> Tensor:
        features = self.body(leaky(self.conv_first(lq)))
        for name in self.upconvs:
            features = leaky(self.get_submodule(name)(features))
        if hasattr(self, "conv_hr"):
            features = leaky(self.conv_hr(features))
        base = functional.interpolate(lq, scale_factor=self.upscale, mode="bilinear", align_corners=False)
        return self.conv_last(features) + base


class ResidualBlock(nn.Module):
    """x + conv(relu(conv(x))), without batch normalisation; keeps the shape (N, num_feat, H, W)."""

    def __init__(self, num_feat: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(num_feat, num_feat, 3, padding=1)
        self.conv2 = nn.Conv2d(num_feat, num_feat, 3, padding=1)
        scale_kaiming_normal([self.conv1, self.conv2], 0.1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv2(functional.relu(self.conv1(x), inplace=True)).add_(x)


def leaky(x: Tensor) -> Tensor:
    """Return the leaky ReLU of slope 0.1; not in place, which is slow in autograd on a shuffled view."""
    return functional.leaky_relu(x, negative_slope=0.1)

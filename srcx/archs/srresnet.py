"""The generator of SRGAN."""

from itertools import chain

from torch import Tensor, nn

from srcx.archs.layers import SubPixelConv, Upscale, check_count, shuffle_factors

__all__ = ["SRResNet"]


class SRResNet(nn.Module):
    """The generator of SRGAN: residual blocks with batch normalisation, then pixel shuffles.

    Args:
        num_in_ch: Channels of lq.
        num_out_ch: Channels of sr.
        num_feat: Channels inside.
        num_block: Residual blocks.
        upscale: Scale factor s: 2, 3, 4 or 8; 1 is for tasks such as denoising.

    Called with lq, RGB in [0, 1], (N, num_in_ch, H, W), it returns sr, (N, num_out_ch, s·H, s·W).

    Raises:
        OptionsError: the scale is not 1, 2, 3, 4 or 8, or the number of blocks is below 0.

    References:
        Ledig et al., "Photo-Realistic Single Image Super-Resolution Using a Generative
        Adversarial Network", CVPR 2017, arXiv:1609.04802, figure 4.
        Differs from the paper: sr is in [0, 1], where the paper's is in [-1, 1]; no convolution
        bias before a batch normalisation, which would subtract it again. The paper does not say
        how many slopes a PReLU has: here one.

    Example:
        >>> import torch
        >>> SRResNet(num_feat=4, num_block=1, upscale=3)(torch.zeros(1, 3, 5, 7)).shape
        torch.Size([1, 3, 15, 21])
    """

    def __init__(
        self,
        num_in_ch: int = 3,
        num_out_ch: int = 3,
        num_feat: int = 64,
        num_block: int = 16,
        upscale: Upscale = 4,
    ) -> None:
        super().__init__()
        check_count("SRResNet", "num_block", num_block)
        factors = shuffle_factors("SRResNet", upscale)
        self.head = nn.Sequential(nn.Conv2d(num_in_ch, num_feat, 9, padding=4), nn.PReLU())
        self.body = nn.Sequential(
            *(ResidualBlock(num_feat) for _ in range(num_block)),
            nn.Conv2d(num_feat, num_feat, 3, padding=1, bias=False),
            nn.BatchNorm2d(num_feat),
        )
        stages = ((SubPixelConv(num_feat, num_feat, factor), nn.PReLU()) for factor in factors)
        self.upsample = nn.Sequential(*chain.from_iterable(stages))
        self.tail = nn.Conv2d(num_feat, num_out_ch, 9, padding=4)

    def forward(self, lq: Tensor) -> Tensor:
        features = self.head(lq)
        features = features + self.body(features)
        return self.tail(self.upsample(features))


class ResidualBlock(nn.Module):
    """x + BN(conv(PReLU(BN(conv(x))))); keeps the shape (N, num_feat, H, W)."""

    def __init__(self, num_feat: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(num_feat, num_feat, 3, padding=1, bias=False),
            nn.BatchNorm2d(num_feat),
            nn.PReLU(),
            nn.Conv2d(num_feat, num_feat, 3, padding=1, bias=False),
            nn.BatchNorm2d(num_feat),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)

"""The U-Net discriminator of Real-ESRGAN, interchangeable with BasicSR's network of the same name."""

from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import spectral_norm

from srcx.archs.layers import leaky
from srcx.errors import ImageError

__all__ = ["UNetDiscriminatorSN"]

SHRINKAGE = 8  # three strides of 2


class UNetDiscriminatorSN(nn.Module):
    """U-Net with spectral normalisation: one logit for every pixel.

    Args:
        num_in_ch: Channels of an image.
        num_feat: Channels at full resolution; the deepest level has eight times as many.
        skip_connection: Add the features of the encoder to those of the decoder.

    Called with images, RGB in [0, 1], (N, num_in_ch, H, W), H and W multiples of 8, it
    returns logits, (N, 1, H, W): positive where a pixel looks real.

    Raises:
        ImageError: the height or width is not a multiple of 8.

    References:
        Wang et al., "Real-ESRGAN: Training Real-World Blind Super-Resolution with Pure Synthetic
        Data", ICCVW 2021, arXiv:2107.10833, in the form of BasicSR 1.4.2 (Apache-2.0): same
        constructor, keys, outputs and random weights.

    Example:
        >>> import torch
        >>> UNetDiscriminatorSN(num_feat=4)(torch.zeros(1, 3, 16, 24)).shape
        torch.Size([1, 1, 16, 24])
    """

    def __init__(self, num_in_ch: int = 3, num_feat: int = 64, skip_connection: bool = True) -> None:
        super().__init__()
        self.skip_connection = skip_connection
        self.conv0 = nn.Conv2d(num_in_ch, num_feat, 3, padding=1)
        self.conv1 = halving_conv(num_feat, num_feat * 2)
        self.conv2 = halving_conv(num_feat * 2, num_feat * 4)
        self.conv3 = halving_conv(num_feat * 4, num_feat * 8)
        self.conv4 = plain_conv(num_feat * 8, num_feat * 4)
        self.conv5 = plain_conv(num_feat * 4, num_feat * 2)
        self.conv6 = plain_conv(num_feat * 2, num_feat)
        self.conv7 = plain_conv(num_feat, num_feat)
        self.conv8 = plain_conv(num_feat, num_feat)
        self.conv9 = nn.Conv2d(num_feat, 1, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        if images.shape[-2] % SHRINKAGE or images.shape[-1] % SHRINKAGE:
            raise ImageError(
                f"UNetDiscriminatorSN: height and width must be multiples of {SHRINKAGE}; "
                f"got shape {tuple(images.shape)}"
            )
        full = leaky(self.conv0(images))
        half = leaky(self.conv1(full))
        quarter = leaky(self.conv2(half))
        x = leaky(self.conv3(quarter))  # (N, 8 * num_feat, H / 8, W / 8)

        for conv, skip in ((self.conv4, quarter), (self.conv5, half), (self.conv6, full)):
            x = leaky(conv(functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)))
            x = x + skip if self.skip_connection else x

        return self.conv9(leaky(self.conv8(leaky(self.conv7(x)))))


def halving_conv(num_in: int, num_out: int) -> nn.Module:
    """Return a spectrally normalised convolution that halves height and width."""
    return spectral_norm(nn.Conv2d(num_in, num_out, 4, stride=2, padding=1, bias=False))


def plain_conv(num_in: int, num_out: int) -> nn.Module:
    """Return a spectrally normalised convolution that keeps height and width."""
    return spectral_norm(nn.Conv2d(num_in, num_out, 3, padding=1, bias=False))

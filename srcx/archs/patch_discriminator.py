"""The discriminator of pix2pix, which classifies small patches."""

from itertools import pairwise

import torch
from torch import Tensor, nn

from srcx.archs.layers import check_count, normalised_conv
from srcx.errors import ImageError

__all__ = ["PatchDiscriminator"]

MOST_WIDENING = 8


class PatchDiscriminator(nn.Module):
    """Fully convolutional discriminator: a logit for each of many overlapping patches of an image.

    Without a dense head it accepts images of any size and is fast. The 4 x 4 kernels of its strides of 2 use
    all pixels equally often; 3 x 3 kernels would use every second pixel more often.

    Args:
        num_in_ch: Channels of an image.
        num_feat: Channels of the first convolution; each stride doubles them, up to eight times.
        num_layers: Number of strides of 2, at least 1. Patches are 16, 34, 70, 142 ... pixels wide.

    Called with images, RGB in [0, 1], (N, num_in_ch, H, W), it returns logits,
    (N, 1, H / 2^num_layers - 2, W / 2^num_layers - 2): positive where a patch looks real.

    Raises:
        OptionsError: `num_layers` is below 1.
        ImageError: an image is too small for a single logit.

    References:
        Isola et al., "Image-to-Image Translation with Conditional Adversarial Networks", CVPR 2017,
        arXiv:1611.07004, section 3.2.2 and appendix 6.1.2 (C64-C128-C256-C512).
        Differs from the paper: its input is the image alone; logits, where the paper ends in a sigmoid; no
        convolution bias before a batch normalisation, which would subtract it again.

    Example:
        >>> import torch
        >>> PatchDiscriminator(num_feat=4)(torch.zeros(2, 3, 80, 96)).shape
        torch.Size([2, 1, 8, 10])
    """

    def __init__(self, num_in_ch: int = 3, num_feat: int = 64, num_layers: int = 3) -> None:
        super().__init__()
        check_count("PatchDiscriminator", "num_layers", num_layers, least=1)
        self.least_px = 3 * 2**num_layers
        widths = [num_feat * min(2**stage, MOST_WIDENING) for stage in range(num_layers + 1)]
        self.layers = nn.Sequential(
            nn.Conv2d(num_in_ch, num_feat, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2, inplace=True),
            *(
                layer
                for stage, (before, after) in enumerate(pairwise(widths), start=1)
                for layer in normalised_conv(
                    before, after, kernel_size=4, stride=2 if stage < num_layers else 1
                )
            ),
            nn.Conv2d(widths[-1], 1, 4, padding=1),
        )
        self.apply(draw_weights)

    def forward(self, images: Tensor) -> Tensor:
        if min(images.shape[-2:]) < self.least_px:
            raise ImageError(
                f"PatchDiscriminator: made for at least {self.least_px} x {self.least_px} pixels, "
                f"got shape {tuple(images.shape)}; enlarge gt_size or lower num_layers"
            )
        return self.layers(images)


@torch.no_grad()
def draw_weights(layer: nn.Module) -> None:
    """Draw the paper's random weights: normal, standard deviation 0.02, mean 0 (convolution) or 1 (norm)."""
    if isinstance(layer, nn.Conv2d | nn.BatchNorm2d):
        nn.init.normal_(layer.weight, mean=float(isinstance(layer, nn.BatchNorm2d)), std=0.02)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)

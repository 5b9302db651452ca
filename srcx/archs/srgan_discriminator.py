"""The discriminator of SRGAN."""

from itertools import pairwise

from torch import Tensor, nn

from srcx.archs.layers import check_image_size, normalised_conv
from srcx.errors import OptionsError

__all__ = ["SRGANDiscriminator"]

SHRINKAGE = 16  # four strides of 2


class SRGANDiscriminator(nn.Module):
    """The discriminator of SRGAN: eight convolutions and a dense head, one logit per image.

    Args:
        num_in_ch: Channels of an image.
        num_feat: Channels of the first convolution; the last has eight times as many.
        input_size: Height and width of the images, a multiple of 16; the dense head needs it.

    Called with images, RGB in [0, 1], (N, num_in_ch, input_size, input_size), it returns
    logits, (N, 1): positive where an image looks real.

    Raises:
        OptionsError: `input_size` is not a positive multiple of 16.
        ImageError: an image has another size.

    References:
        Ledig et al., "Photo-Realistic Single Image Super-Resolution Using a Generative
        Adversarial Network", CVPR 2017, arXiv:1609.04802, figure 4.
        Differs from the paper: logits, where the paper ends in a sigmoid (the loss applies it);
        no convolution bias before a batch normalisation, which would subtract it again.

    Example:
        >>> import torch
        >>> SRGANDiscriminator(num_feat=4, input_size=32)(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 1])
    """

    def __init__(self, num_in_ch: int = 3, num_feat: int = 64, input_size: int = 96) -> None:
        super().__init__()
        if input_size < SHRINKAGE or input_size % SHRINKAGE:
            raise OptionsError(
                f"SRGANDiscriminator: input_size must be a positive multiple of {SHRINKAGE}; got {input_size}"
            )
        self.input_size = input_size
        widths = [num_feat * factor for factor in (1, 1, 2, 2, 4, 4, 8, 8)]
        self.features = nn.Sequential(
            nn.Conv2d(num_in_ch, num_feat, 3, padding=1),
            nn.LeakyReLU(0.2, inplace=True),
            *(
                layer
                for index, (before, after) in enumerate(pairwise(widths))
                for layer in normalised_conv(before, after, kernel_size=3, stride=2 - index % 2)
            ),
        )
        self.head = nn.Sequential(
            nn.Flatten(),
            nn.Linear(widths[-1] * (input_size // SHRINKAGE) ** 2, 1024),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Linear(1024, 1),
        )

    def forward(self, images: Tensor) -> Tensor:
        check_image_size("SRGANDiscriminator", images, self.input_size)
        return self.head(self.features(images))

"""The discriminator of ESRGAN, interchangeable with BasicSR's network of the same name."""

from itertools import pairwise
from typing import Literal, get_args

from torch import Tensor, nn

from srcx.archs.layers import check_image_size, leaky
from srcx.errors import OptionsError

__all__ = ["VGGStyleDiscriminator"]

InputSize = Literal[128, 256]
LAST_PX = 4  # height and width of the last feature map


class VGGStyleDiscriminator(nn.Module):
    """Discriminator that halves an image down to 4 x 4: one logit per image.

    Args:
        num_in_ch: Channels of an image.
        num_feat: Channels of the first convolution; the last has eight times as many.
        input_size: Height and width of the images, 128 or 256.

    Called with images, RGB in [0, 1], (N, num_in_ch, input_size, input_size), it returns
    logits, (N, 1): positive where an image looks real.

    Raises:
        OptionsError: `input_size` is neither 128 nor 256.
        ImageError: an image has another size.

    References:
        Wang et al., "ESRGAN: Enhanced Super-Resolution Generative Adversarial Networks", ECCVW 2018,
        arXiv:1809.00219, in the form of BasicSR 1.4.2 (Apache-2.0): same constructor, keys, outputs and
        random weights. Differs from BasicSR: accepts images and weights in channels-last order too.

    Example:
        >>> import torch
        >>> VGGStyleDiscriminator(3, num_feat=2)(torch.zeros(2, 3, 128, 128)).shape
        torch.Size([2, 1])
    """

    def __init__(self, num_in_ch: int, num_feat: int, input_size: InputSize = 128) -> None:
        super().__init__()
        if input_size not in get_args(InputSize):
            raise OptionsError(f"VGGStyleDiscriminator: input_size must be 128 or 256; got {input_size}")
        self.input_size = input_size
        self.stages = (input_size // LAST_PX).bit_length() - 1
        widths = [num_feat * min(2**stage, 8) for stage in range(self.stages)]
        for stage, (before, width) in enumerate(pairwise([num_in_ch, *widths])):
            self.add_module(f"conv{stage}_0", nn.Conv2d(before, width, 3, padding=1, bias=stage == 0))
            if stage > 0:
                self.add_module(f"bn{stage}_0", nn.BatchNorm2d(width))
            self.add_module(f"conv{stage}_1", nn.Conv2d(width, width, 4, stride=2, padding=1, bias=False))
            self.add_module(f"bn{stage}_1", nn.BatchNorm2d(width))
        self.linear1 = nn.Linear(widths[-1] * LAST_PX**2, 100)
        self.linear2 = nn.Linear(100, 1)

    def forward(self, images: Tensor) -> Tensor:
        check_image_size("VGGStyleDiscriminator", images, self.input_size)
        features = images
        for name in (f"{stage}_{half}" for stage in range(self.stages) for half in (0, 1)):
            features = self.get_submodule(f"conv{name}")(features)
            if name != "0_0":
                features = self.get_submodule(f"bn{name}")(features)
            features = leaky(features)
        return self.linear2(leaky(self.linear1(features.flatten(1))))

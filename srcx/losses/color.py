"""The difference of two images in colour alone, blurred: a shift of colour, and no texture."""

from typing import Literal

import torch
from torch import Tensor, nn

from srcx.errors import ImageError, OptionsError
from srcx.losses.frequency import check_kernel_size
from srcx.tensors import check_same_shape, gaussian_blur

__all__ = ["ColorLoss", "oklab_chroma", "ycbcr_chroma"]

# Rows: the two colour channels of full-range YCbCr (BT.601, as in JPEG), of R, G, B.
CBCR = ((-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))
# Oklab: linear RGB to the responses of the eye's cones, and the cube roots of these to a and b.
CONES = (
    (0.4122214708, 0.5363325363, 0.0514459929),
    (0.2119034982, 0.6806995451, 0.1073969566),
    (0.0883024619, 0.2817188376, 0.6299787005),
)
AB = ((1.9779984951, -2.4285922050, 0.4505937099), (0.0259040371, 0.7827717662, -0.8086757660))
ROOT_EPS = 1e-3
"""Response below which the cube root is made straight: its slope at 0 is infinite."""


def ycbcr_chroma(image: Tensor) -> Tensor:
    """Return Cb and Cr, of full range and without their offset: grey is 0.

    Args:
        image: RGB in [0, 1], (N, 3, H, W).

    Returns:
        (N, 2, H, W), in [-0.5, 0.5].

    References:
        ITU-T T.871 (JPEG), with the weights of ITU-R BT.601.
    """
    return _mix(image, CBCR)


def oklab_chroma(image: Tensor) -> Tensor:
    """Return a (green to red) and b (blue to yellow) of Oklab, in which equal distances look alike.

    Args:
        image: sRGB in [0, 1], (N, 3, H, W). Values outside, which a network may give, have a gradient too.

    Returns:
        (N, 2, H, W), within about [-0.4, 0.4]; grey is 0.

    References:
        Ottosson, "A perceptual color space for image processing", 2020.
        Differs from it: the cube root of x is x / (x^2 + eps^2)^(1/3), eps = 1e-3, so that its slope is
        finite; a and b are off by up to 0.02 in saturated dark colours, and by up to 2e-4 where R, G and B
        are at least 30 / 255.
    """
    power = ((image.clamp(min=0.04045) + 0.055) / 1.055) ** 2.4
    linear = torch.where(image <= 0.04045, image / 12.92, power)
    cones = _mix(linear, CONES)
    return _mix(cones / (cones.square() + ROOT_EPS**2) ** (1 / 3), AB)


SPACES = {"oklab": oklab_chroma, "ycbcr": ycbcr_chroma}


class ColorLoss(nn.Module):
    """Mean absolute difference of the colours of two images, blurred: their lightness is ignored.

    Args:
        space: "oklab", where equal distances look alike, or "ycbcr".
        kernel_size: Width of the Gaussian in pixels, odd.
        sigma: Its standard deviation in pixels.

    Called with sr and gt, RGB in [0, 1], (N, 3, H, W), it returns a scalar, 0 for any two grey images.

    Raises:
        OptionsError: `kernel_size` is even or not positive, or there is no such space.
        ImageError: the shapes differ, or the images are not RGB.

    References:
        Ignatov et al., "DSLR-Quality Photos on Mobile Devices with Deep Convolutional Networks", ICCV 2017,
        arXiv:1704.02470: blurred images are compared, so that texture does not count.
        Differs from the paper: it takes the squared distance of blurred RGB, which counts lightness too.
    """

    def __init__(
        self, space: Literal["oklab", "ycbcr"] = "oklab", kernel_size: int = 21, sigma: float = 3.0
    ) -> None:
        super().__init__()
        check_kernel_size("ColorLoss", kernel_size)
        if space not in SPACES:
            raise OptionsError(f"ColorLoss: space must be 'oklab' or 'ycbcr'; got {space!r}")
        self.chroma, self.kernel_size, self.sigma = SPACES[space], kernel_size, sigma

    def forward(self, sr: Tensor, gt: Tensor) -> Tensor:
        check_same_shape("ColorLoss", sr, gt)
        if sr.ndim != 4 or sr.shape[1] != 3:
            raise ImageError(f"ColorLoss: expected RGB images (N, 3, H, W); got {tuple(sr.shape)}")
        # The blur is linear: one blur of the difference replaces one of each image.
        difference = self.chroma(sr.float()) - self.chroma(gt.float())
        return gaussian_blur(difference, kernel_size=self.kernel_size, sigma=self.sigma).abs().mean()


def _mix(image: Tensor, rows: tuple[tuple[float, ...], ...]) -> Tensor:
    """Return the channels mixed by a matrix: (N, 3, H, W) to (N, rows, H, W)."""
    return (image.new_tensor(rows) @ image.flatten(2)).unflatten(2, image.shape[2:])

"""One minus the structural similarity of two images, at one scale or at several, as a loss."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from srcx.errors import ImageError, OptionsError
from srcx.tensors import check_batches

__all__ = ["MSSSIMLoss", "SSIMLoss"]

KERNEL_SIZE, SIGMA = 11, 1.5  # of Wang et al.
C1, C2 = 0.01**2, 0.03**2  # for a range of 1
SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
LEAST_STRUCTURE = 1e-6
"""Mean of a scale that is negative, as where noise is inverted, counts as this: a factor of 0 would leave the
other scales without a gradient."""


class SSIMLoss(nn.Module):
    """1 - SSIM, averaged over channels and over the windows that are completely inside the image.

    sr and gt are RGB in [0, 1], (N, C, H, W), H and W at least 11; the result is 0 for equal images.

    References:
        Wang et al., "Image Quality Assessment: From Error Visibility to Structural
        Similarity", IEEE TIP 13(4), 2004.
        Differs from `srcx.metrics.ssim`: every channel, not the rounded Y; differentiable.
    """

    def forward(self, sr: Tensor, gt: Tensor) -> Tensor:
        _check_size("SSIMLoss", sr, gt, least_px=KERNEL_SIZE, hint="give larger crops")
        luminance, structure = _terms(sr.float(), gt.float())
        return 1 - (luminance * structure).mean()


class MSSSIMLoss(nn.Module):
    """1 - MS-SSIM: contrast and structure at several scales, luminance at the coarsest one.

    With l and cs the two factors of SSIM, and M scales of which each halves the one before,

        loss = 1 - mean over images and channels of  mean(l_M cs_M)^w_M * prod_{j < M} mean(cs_j)^w_j

    Args:
        scale_weights: The exponents w_1 ... w_M, finest scale first; positive. Crops must be 11 * 2^(M - 1)
            pixels high and wide: 176 for the authors' five scales, 44 for three.

    Called with sr and gt, RGB in [0, 1], (N, C, H, W), it returns a scalar, 0 for equal images.

    Raises:
        OptionsError: there is no exponent, or one is not positive.
        ImageError: the shapes differ, or the images are too small for the scales.

    References:
        Wang, Simoncelli and Bovik, "Multi-Scale Structural Similarity for Image Quality Assessment",
        Asilomar 2003; numbers as in the authors' msssim.m.
        Differs from it: every channel, not grey; a last odd row or column is dropped where the code mirrors
        it; a mean below 1e-6 counts as 1e-6, where a negative one would make the product complex.

    Example:
        >>> grey = torch.full((1, 3, 176, 176), 0.5)
        >>> MSSSIMLoss()(grey, grey)
        tensor(0.)
    """

    def __init__(self, scale_weights: Sequence[float] = SCALE_WEIGHTS) -> None:
        super().__init__()
        if not scale_weights or min(scale_weights) <= 0:
            raise OptionsError(
                f"MSSSIMLoss: expected scale_weights such as {list(SCALE_WEIGHTS)}, positive, one for each "
                f"scale; got {scale_weights!r}"
            )
        self.scale_weights = tuple(scale_weights)

    def forward(self, sr: Tensor, gt: Tensor) -> Tensor:
        scales = len(self.scale_weights)
        least_px = KERNEL_SIZE * 2 ** (scales - 1)
        _check_size("MSSSIMLoss", sr, gt, least_px, "give larger crops or fewer scale_weights")
        sr, gt = sr.float(), gt.float()
        factors = []
        for scale, weight in enumerate(self.scale_weights, start=1):
            luminance, structure = _terms(sr, gt)
            of_scale = luminance * structure if scale == scales else structure
            factors.append(of_scale.mean(dim=(2, 3)).clamp(min=LEAST_STRUCTURE) ** weight)  # (N, C)
            if scale < scales:
                sr, gt = functional.avg_pool2d(sr, 2), functional.avg_pool2d(gt, 2)
        return 1 - math.prod(factors[1:], start=factors[0]).mean()


def _check_size(name: str, sr: Tensor, gt: Tensor, least_px: int, hint: str) -> None:
    check_batches(name, sr, gt)
    if min(sr.shape[-2:]) < least_px:
        raise ImageError(
            f"{name}: images must be at least {least_px} x {least_px}; got {tuple(sr.shape)}; {hint}"
        )


def _terms(sr: Tensor, gt: Tensor) -> tuple[Tensor, Tensor]:
    """Return luminance, and contrast times structure, of each window inside the image: (N, C, h, w)."""
    # One convolution for all five statistics.
    mean_sr, mean_gt, sr_sr, gt_gt, sr_gt = _window_mean(
        torch.cat([sr, gt, sr * sr, gt * gt, sr * gt])
    ).chunk(5)
    luminance = (2 * mean_sr * mean_gt + C1) / (mean_sr**2 + mean_gt**2 + C1)
    covariance = sr_gt - mean_sr * mean_gt
    variances = sr_sr - mean_sr**2 + gt_gt - mean_gt**2
    return luminance, (2 * covariance + C2) / (variances + C2)


def _window_mean(x: Tensor) -> Tensor:
    offsets = torch.arange(KERNEL_SIZE, dtype=x.dtype, device=x.device) - KERNEL_SIZE // 2
    kernel = torch.exp(-(offsets**2) / (2 * SIGMA**2))
    kernel = kernel / kernel.sum()
    planes = x.reshape(-1, 1, *x.shape[-2:])
    planes = functional.conv2d(functional.conv2d(planes, kernel.view(1, 1, -1, 1)), kernel.view(1, 1, 1, -1))
    return planes.reshape(*x.shape[:2], *planes.shape[-2:])

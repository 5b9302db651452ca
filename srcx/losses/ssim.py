"""One minus the structural similarity, as a loss."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from srcx.errors import ImageError
from srcx.imaging.tensors import check_same_shape

__all__ = ["SSIMLoss"]

KERNEL_SIZE, SIGMA = 11, 1.5  # of Wang et al.
C1, C2 = 0.01**2, 0.03**2  # for a range of 1


class SSIMLoss(nn.Module):
    """1 - SSIM, averaged over channels and over the windows that are completely inside the image.

    sr and gt are RGB in [0, 1], (N, C, H, W), H and W at least 11; the result is 0 for equal images.

    References:
        Wang et al., "Image Quality Assessment: From Error Visibility to Structural
        Similarity", IEEE TIP 13(4), 2004.
        Differs from `srcx.metrics.ssim`: every channel, not the rounded Y; differentiable.
    """

    def forward(self, sr: Tensor, gt: Tensor) -> Tensor:
        check_same_shape("SSIMLoss", sr, gt)
        if min(sr.shape[-2:]) < KERNEL_SIZE:
            raise ImageError(f"SSIMLoss: images must be at least 11 x 11; got {tuple(sr.shape)}")
        sr, gt = sr.float(), gt.float()
        # One convolution for all five statistics.
        mean_sr, mean_gt, sr_sr, gt_gt, sr_gt = _window_mean(
            torch.cat([sr, gt, sr * sr, gt * gt, sr * gt])
        ).chunk(5)
        luminance = (2 * mean_sr * mean_gt + C1) / (mean_sr**2 + mean_gt**2 + C1)
        covariance = sr_gt - mean_sr * mean_gt
        variances = sr_sr - mean_sr**2 + gt_gt - mean_gt**2
        return 1 - (luminance * (2 * covariance + C2) / (variances + C2)).mean()


def _window_mean(x: Tensor) -> Tensor:
    offsets = torch.arange(KERNEL_SIZE, dtype=x.dtype, device=x.device) - KERNEL_SIZE // 2
    kernel = torch.exp(-(offsets**2) / (2 * SIGMA**2))
    kernel = kernel / kernel.sum()
    planes = x.reshape(-1, 1, *x.shape[-2:])
    planes = functional.conv2d(functional.conv2d(planes, kernel.view(1, 1, -1, 1)), kernel.view(1, 1, 1, -1))
    return planes.reshape(*x.shape[:2], *planes.shape[-2:])

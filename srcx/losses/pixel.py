"""Losses of pixel values: L1, L2, Charbonnier and PSNR of two images, total variation of one."""

import torch
from torch import Tensor, nn

from srcx.errors import ImageError, OptionsError
from srcx.tensors import check_batches, check_floating, check_same_shape

__all__ = [
    "CharbonnierLoss",
    "L1Loss",
    "MSELoss",
    "PSNRLoss",
    "ReducedLoss",
    "TotalVariationLoss",
    "charbonnier",
    "total_variation",
]


def charbonnier(sr: Tensor, gt: Tensor, *, eps: float = 1e-12) -> Tensor:
    """Return sqrt((sr - gt)² + eps), element by element: L1 for large differences, smooth at zero.

    Args:
        sr: Network output, RGB in [0, 1], shape (N, C, H, W).
        gt: Ground truth, same shape and range as `sr`.
        eps: Square of the width of the smooth region, in pixel-value units squared.

    Returns:
        Tensor of the shape of `sr`, at least sqrt(eps).

    Raises:
        ImageError: the shapes differ.

    References:
        Lai et al., "Deep Laplacian Pyramid Networks for Fast and Accurate
        Super-Resolution", CVPR 2017, arXiv:1704.03915.
        Differs from the paper: one output, where the paper sums over the
        levels of its pyramid; `eps` is not squared, as in BasicSR.

    Example:
        >>> charbonnier(torch.zeros(1), torch.zeros(1), eps=0.25)
        tensor([0.5000])
    """
    check_same_shape("charbonnier", sr, gt)
    return torch.sqrt((sr - gt) ** 2 + eps)


class ReducedLoss(nn.Module):
    """Reduces a tensor of errors to one number; `reduction` is "mean" or "sum" (BasicSR's words)."""

    def __init__(self, reduction: str = "mean") -> None:
        super().__init__()
        if reduction not in ("mean", "sum"):
            raise OptionsError(f"{type(self).__name__}: reduction must be 'mean' or 'sum'; got {reduction!r}")
        self.reduction = reduction

    def errors(self, sr: Tensor, gt: Tensor) -> Tensor:
        raise NotImplementedError

    def forward(self, sr: Tensor, gt: Tensor) -> Tensor:
        check_same_shape(type(self).__name__, sr, gt)
        errors = self.errors(sr, gt)
        return errors.mean() if self.reduction == "mean" else errors.sum()


class L1Loss(ReducedLoss):
    """Mean (or sum) of |sr - gt|; sr and gt are RGB in [0, 1], (N, C, H, W)."""

    def errors(self, sr: Tensor, gt: Tensor) -> Tensor:
        return (sr - gt).abs()


class MSELoss(ReducedLoss):
    """Mean (or sum) of (sr - gt)²; sr and gt are RGB in [0, 1], (N, C, H, W)."""

    def errors(self, sr: Tensor, gt: Tensor) -> Tensor:
        return (sr - gt) ** 2


class CharbonnierLoss(ReducedLoss):
    """Mean (or sum) of `charbonnier`; sr and gt are RGB in [0, 1], (N, C, H, W).

    References:
        Lai et al., "Deep Laplacian Pyramid Networks for Fast and Accurate Super-Resolution", CVPR 2017,
        arXiv:1704.03915; see `charbonnier`.
    """

    def __init__(self, reduction: str = "mean", eps: float = 1e-12) -> None:
        super().__init__(reduction)
        self.eps = eps

    def errors(self, sr: Tensor, gt: Tensor) -> Tensor:
        return charbonnier(sr, gt, eps=self.eps)


class PSNRLoss(ReducedLoss):
    """Mean (or sum) over the images of -PSNR in dB; sr and gt are RGB in [0, 1], (N, C, H, W).

    Equal images have -80: 1e-8 is added to the mean square.

    References:
        Chen et al., "Simple Baselines for Image Restoration", ECCV 2022, arXiv:2204.04676; numbers as in the
        authors' PSNRLoss, whose `reduction` is always "mean" and which has Y as an option.
    """

    def errors(self, sr: Tensor, gt: Tensor) -> Tensor:
        check_batches("PSNRLoss", sr, gt)
        return 10 * torch.log10((sr - gt).square().mean(dim=(1, 2, 3)) + 1e-8)


def total_variation(x: Tensor) -> Tensor:
    """Return the mean absolute difference of vertical plus that of horizontal neighbours (anisotropic).

    Args:
        x: Images, (N, C, H, W), H and W at least 2.

    Returns:
        Scalar, zero for constant images.

    Raises:
        ImageError: `x` is not a floating-point tensor, or a side is 1, which has no neighbours.

    References:
        Rudin, Osher, Fatemi, "Nonlinear total variation based noise removal
        algorithms", Physica D 60, 1992.
        Differs from the paper: anisotropic, and the mean, so that the result does not depend on the size.
    """
    check_floating("total_variation", x=x)
    if min(x.shape[-2:]) < 2:
        raise ImageError(f"total_variation: images must be at least 2 pixels a side; got {tuple(x.shape)}")
    return x.diff(dim=-2).abs().mean() + x.diff(dim=-1).abs().mean()


class TotalVariationLoss(nn.Module):
    """`total_variation` of sr; gt is ignored.

    References:
        Rudin et al., "Nonlinear total variation based noise removal algorithms", Physica D 60, 1992; see
        `total_variation`.
    """

    def forward(self, sr: Tensor, gt: Tensor) -> Tensor:
        return total_variation(sr)

"""The loss of locally discriminative learning (LDL): L1, weighted by a map of artifacts."""

from torch import Tensor, nn
from torch.nn import functional

from srcx.errors import ImageError, OptionsError
from srcx.losses.pixel import L1Loss
from srcx.tensors import check_batches

__all__ = ["LDLLoss", "artifact_map"]


def artifact_map(sr: Tensor, gt: Tensor, sr_ema: Tensor, *, window_px: int = 7) -> Tensor:
    """Return how much each pixel of `sr` looks like an artifact, from the variance of its residual |gt - sr|.

    The weight is var(residual of the image)^(1/5) * var(residual in a window around the pixel), and 0 where
    `sr` is closer to `gt` than `sr_ema` is.

    Args:
        sr: Network output, RGB in [0, 1], shape (N, C, H, W).
        gt: Ground truth, same shape and range.
        sr_ema: Output of the EMA network, same shape and range.
        window_px: Side of the window, odd, at most 2 min(H, W) - 1.

    Returns:
        Weights, (N, 1, H, W), at least 0; they have a gradient with respect to `sr`, as in BasicSR.

    Raises:
        ImageError: the shapes differ, or the images are smaller than half a window.

    References:
        Liang et al., "Details or Artifacts: A Locally Discriminative Learning Approach to Realistic Image
        Super-Resolution", CVPR 2022, arXiv:2203.09195; numbers as in BasicSR's `get_refined_artifact_map`.

    Example:
        >>> import torch
        >>> artifact_map(torch.ones(1, 3, 8, 8), torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 8)).max()
        tensor(0.)
    """
    check_batches("artifact_map", sr, gt)
    check_batches("artifact_map", sr_ema, gt)
    residual = (gt - sr).abs().sum(1, keepdim=True)  # (N, 1, H, W)
    of_image = residual.var(dim=(1, 2, 3), keepdim=True) ** (1 / 5)  # (N, 1, 1, 1)
    border = window_px // 2
    if min(gt.shape[-2:]) <= border:
        raise ImageError(
            f"artifact_map: images must be at least {border + 1} pixels a side; got {tuple(gt.shape)}"
        )
    padded = functional.pad(residual, (border, border, border, border), mode="reflect")
    windows = padded.unfold(2, window_px, 1).unfold(3, window_px, 1)  # (N, 1, H, W, k, k)
    worse = residual >= (gt - sr_ema).abs().sum(1, keepdim=True)
    return of_image * windows.var(dim=(4, 5)) * worse


class LDLLoss(nn.Module):
    """L1 of artifact_map * sr and artifact_map * gt; also needs the output of the EMA network.

    Args:
        reduction: "mean" or "sum".
        window_px: Side of the window of `artifact_map`, odd.

    Raises:
        OptionsError: `window_px` is even or too small.

    References:
        Liang et al., "Details or Artifacts: A Locally Discriminative Learning Approach to Realistic Image
        Super-Resolution", CVPR 2022, arXiv:2203.09195; numbers as in BasicSR's LDL model.
    """

    def __init__(self, reduction: str = "mean", window_px: int = 7) -> None:
        super().__init__()
        if window_px < 3 or window_px % 2 == 0:
            raise OptionsError(f"LDLLoss: window_px must be odd and at least 3; got {window_px}")
        self.l1, self.reduction, self.window_px = L1Loss(reduction), reduction, window_px

    def forward(self, sr: Tensor, gt: Tensor, sr_ema: Tensor) -> Tensor:
        """Return the loss of `sr` against `gt`; `sr_ema` is the output of the EMA network for the same lq."""
        weight = artifact_map(sr, gt, sr_ema, window_px=self.window_px)
        return self.l1(weight * sr, weight * gt)

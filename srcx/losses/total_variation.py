"""Total variation: how much neighbouring pixels differ; a loss of the output alone."""

from torch import Tensor, nn

from srcx.imaging.tensors import check_floating

__all__ = ["TotalVariationLoss", "total_variation"]


def total_variation(x: Tensor) -> Tensor:
    """Mean absolute difference of vertical plus of horizontal neighbours (anisotropic).

    Args:
        x: Images, (N, C, H, W), H and W at least 2.

    Returns:
        Scalar, zero for constant images.

    Raises:
        ImageError: `x` is no floating-point tensor.

    References:
        Rudin, Osher, Fatemi, "Nonlinear total variation based noise removal
        algorithms", Physica D 60, 1992.
        Differs from the paper: anisotropic, and the mean, so that the patch size does not matter.
    """
    check_floating("total_variation", x=x)
    return x.diff(dim=-2).abs().mean() + x.diff(dim=-1).abs().mean()


class TotalVariationLoss(nn.Module):
    """`total_variation` of sr; gt is not looked at."""

    def forward(self, sr: Tensor, gt: Tensor) -> Tensor:
        return total_variation(sr)

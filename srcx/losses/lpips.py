"""LPIPS, the learned perceptual distance, as a loss with a gradient."""

from torch import Tensor, nn

from srcx.errors import ImageError
from srcx.tensors import check_same_shape

__all__ = ["LPIPSLoss"]


class LPIPSLoss(nn.Module):
    """Mean LPIPS (version 0.1) of a batch of pairs.

    Args:
        net: The network of the features: "alex" (AlexNet) or "vgg" (VGG16).

    Called with sr and gt, RGB in [0, 1], (N, 3, H, W), it returns a scalar, 0 for equal images.

    Raises:
        OptionsError: there is no such network.
        WeightsError: its weights are missing; the message says how to get them.

    References:
        Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric", CVPR 2018,
        arXiv:1801.03924.
    """

    def __init__(self, net: str = "alex") -> None:
        from srcx.features.lpips_network import SMALLEST_PX, lpips_network  # more packages than torch

        super().__init__()
        self.network = lpips_network(net)
        self.smallest_px = SMALLEST_PX[net]

    def train(self, mode: bool = True) -> "LPIPSLoss":
        """Stay in evaluation mode: the network is fixed, and its dropout is for training it."""
        return super().train(False)

    def forward(self, sr: Tensor, gt: Tensor) -> Tensor:
        check_same_shape("lpips", sr, gt)
        if sr.dim() != 4 or sr.shape[1] != 3 or min(sr.shape[-2:]) < self.smallest_px:
            raise ImageError(
                f"lpips: expected RGB images (N, 3, H, W), H and W at least {self.smallest_px}, "
                f"got {tuple(sr.shape)}; give larger crops, or three equal channels for grey"
            )
        distance: Tensor = self.network(sr * 2 - 1, gt * 2 - 1)  # (N, 1, 1, 1)
        return distance.mean()

"""The base of losses that look through a fixed network."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from srcx.features.extractor import FeatureExtractor, check_layers

__all__ = ["FeatureLoss"]


class FeatureLoss(nn.Module):
    """A loss on features: `compare` is the formula, `forward` makes the passes through the network.

    `WeightedSum` makes one pass for all terms that share an extractor and calls `compare` itself, so a
    subclass says all it has to say there.

    Args:
        extractor: The fixed network; None for a subclass that can do without and has its own `forward`.
        layers: The names of the layers to compare.

    Raises:
        OptionsError: the network has no such layer.
    """

    extractor: FeatureExtractor | None

    def __init__(self, extractor: FeatureExtractor | None, layers: Sequence[str]) -> None:
        super().__init__()
        if extractor is not None:
            check_layers(extractor.network, layers)
        self.extractor = extractor
        self.layers = tuple(layers)

    def compare(self, sr_features: dict[str, Tensor], gt_features: dict[str, Tensor]) -> Tensor:
        """The loss, from features; more layers than this loss's own may be there.

        Args:
            sr_features: By layer, those of the network output, (N, C, h, w).
            gt_features: By layer, those of the ground truth, without gradient.

        Returns:
            Scalar tensor.
        """
        raise NotImplementedError

    def forward(self, sr: Tensor, gt: Tensor) -> Tensor:
        """The loss of `sr` against `gt`, both RGB in [0, 1] of shape (N, 3, H, W)."""
        assert self.extractor is not None
        with torch.no_grad():
            gt_features = self.extractor(gt, self.layers)
        return self.compare(self.extractor(sr, self.layers), gt_features)

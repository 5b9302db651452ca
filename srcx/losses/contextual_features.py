"""The contextual losses on features of images: which features, which layers, which pixels count."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import torch
from torch import Tensor

from srcx.losses.contextual_maps import mask_at
from srcx.losses.contextual_options import Reduction
from srcx.losses.feature_loss import Features, LayerwiseLoss

__all__ = ["PAPER_LAYERS", "ContextualLayers"]

PAPER_LAYERS: Mapping[str, float] = MappingProxyType({"conv3_4": 1.0})  # of VGG19, arXiv:1803.04626


class ContextualLayers(LayerwiseLoss):
    """Weighted sum of a contextual loss over layers; a mask of each image says which pixels count.

    Args:
        formula: The loss of one layer's features x and y, with their masks.
        layer_weights: Layer -> weight; None is the paper's layer of our networks, and all maps of `features`.
        features: Name of a network of ours, or a callable or module as in `LayerwiseLoss`; None: `vgg_type`.
        reduction: That of the formula.
        vgg_type: This and the following arguments are those of `LayerwiseLoss`.
        use_input_norm: Normalise the images by ImageNet's mean and standard deviation first.
        range_norm: Map the images from [-1, 1] to [0, 1] first.
        pooling: "max", "average" or "l2".
        weights_path: File of the network's weights.
    """

    def __init__(
        self,
        formula: Callable[..., Tensor],
        layer_weights: Mapping[str, float] | None,
        features: Features | str | None,
        *,
        reduction: Reduction,
        vgg_type: str,
        use_input_norm: bool,
        range_norm: bool,
        pooling: str,
        weights_path: Path | str | None,
    ) -> None:
        if isinstance(features, str):
            vgg_type, features = features, None
        super().__init__(
            PAPER_LAYERS if layer_weights is None and features is None else layer_weights,
            vgg_type,
            use_input_norm=use_input_norm,
            range_norm=range_norm,
            pooling=pooling,
            weights_path=weights_path,
            features=features,
        )
        self.formula = formula
        self.reduction = reduction

    def forward(
        self, sr: Tensor, gt: Tensor, x_mask: Tensor | None = None, y_mask: Tensor | None = None
    ) -> Tensor:
        """Return the loss of `sr` against `gt`.

        Args:
            sr: RGB in [0, 1], (N, 3, H, W), or whatever `features` takes.
            gt: The same; height and width may differ. It gets no gradient.
            x_mask: True where a pixel of sr counts, bool, (N, H, W) or (N, 1, H, W); None is everywhere. A
                feature counts if all pixels of its cell do. It sees farther than that: erode the mask where
                it matters. Tokens need a mask of their own, (N, L).
            y_mask: The same for gt.
        """
        with torch.no_grad():
            gt_features = self.maps(gt)
        return self.compare(self.maps(sr), gt_features, x_mask, y_mask)

    def compare(
        self,
        sr_features: dict[str, Tensor],
        gt_features: dict[str, Tensor],
        x_mask: Tensor | None = None,
        y_mask: Tensor | None = None,
    ) -> Tensor:
        weights = self.layer_weights or dict.fromkeys(sr_features, 1.0)
        losses = []
        for layer, weight in weights.items():
            x, y = sr_features[layer], gt_features[layer]
            masks = {"x_mask": self.mask(x_mask, x), "y_mask": self.mask(y_mask, y)}
            losses.append(weight * self.formula(x, y, **masks))
        return torch.stack(losses).sum(0)

    def mask(self, mask: Tensor | None, features: Tensor) -> Tensor | None:
        """Return an image's mask at the size of its features."""
        return mask_at(type(self).__name__, mask, features)

"""Base classes of the losses that compare features of a fixed network."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from srcx.errors import OptionsError
from srcx.features.extractor import FeatureExtractor, check_layers, extractor

__all__ = ["FeatureLoss", "LayerwiseLoss"]


class FeatureLoss(nn.Module):
    """A loss on features: `compare` is the formula, `forward` runs the network.

    `WeightedSum` runs the network once for all terms that share an extractor and calls `compare` itself, so
    a subclass writes its formula there.

    Args:
        extractor: The fixed network; None for a subclass that needs no network and has its own `forward`.
        layers: Names of the layers to compare.

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
        """Return the loss of features, a scalar.

        Args:
            sr_features: Layer -> features of the network output, (N, C, h, w). May hold other layers too.
            gt_features: Layer -> features of the ground truth, without gradient.
        """
        raise NotImplementedError

    def forward(self, sr: Tensor, gt: Tensor) -> Tensor:
        """Return the loss of `sr` against `gt`, both RGB in [0, 1] of shape (N, 3, H, W)."""
        assert self.extractor is not None
        with torch.no_grad():
            gt_features = self.extractor(gt, self.layers)
        return self.compare(self.extractor(sr, self.layers), gt_features)


class LayerwiseLoss(FeatureLoss):
    """Weighted sum over layers of `layer_distance`, which a subclass defines.

    Args:
        layer_weights: Layer -> weight: "conv5_4" is VGG19's last convolution, before its ReLU; "relu5_4" is
            the output of that ReLU.
        vgg_type: "vgg19", "vgg16" or "alexnet".
        use_input_norm: Normalise the images by ImageNet's mean and standard deviation first.
        range_norm: Map the images from [-1, 1] to [0, 1] first.
        pooling: "max" as the networks were trained, "average" or "l2".
        weights_path: File of the network's weights; None searches as `find_weights` does.

    Raises:
        OptionsError: `layer_weights` is not a mapping, or there is no such network, layer or pooling.
        WeightsError: the network's weights are missing; the message says how to get them.
    """

    def __init__(
        self,
        layer_weights: Mapping[str, float],
        vgg_type: str,
        *,
        use_input_norm: bool,
        range_norm: bool,
        pooling: str,
        weights_path: Path | str | None,
    ) -> None:
        if not isinstance(layer_weights, Mapping):
            raise OptionsError(
                f"{type(self).__name__}: expected layer_weights as {{conv3_4: 1}}, got {layer_weights!r}; "
                "give each layer a weight"
            )
        check_layers(vgg_type, list(layer_weights))  # before the search for weights, which may fail
        network = extractor(
            vgg_type,
            pooling=pooling,
            use_input_norm=use_input_norm,
            range_norm=range_norm,
            weights_path=weights_path,
        )
        super().__init__(network, list(layer_weights))
        self.layer_weights = dict(layer_weights)

    def layer_distance(self, sr: Tensor, gt: Tensor) -> Tensor:
        """Return the distance of the features of one layer, (N, C, h, w), as a scalar."""
        raise NotImplementedError

    def compare(self, sr_features: dict[str, Tensor], gt_features: dict[str, Tensor]) -> Tensor:
        distances = [
            weight * self.layer_distance(sr_features[name], gt_features[name])
            for name, weight in self.layer_weights.items()
        ]
        return torch.stack(distances).sum()

"""Base classes of the losses that compare features of a fixed network; importing them needs torch alone."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from srcx.errors import OptionsError

if TYPE_CHECKING:
    from srcx.features.extractor import FeatureExtractor

__all__ = ["FeatureLoss", "Features", "LayerwiseLoss"]

Features = Callable[[Tensor], Tensor | Sequence[Tensor] | Mapping[str, Tensor]]
"""Images (N, 3, H, W) to one or several maps of features."""


class FeatureLoss(nn.Module):
    """A loss on features: `compare` is the formula, `forward` runs the network.

    `WeightedSum` runs the network once for all terms that share an extractor and calls `compare` itself, so
    a subclass writes its formula there.

    Args:
        extractor: The fixed network; None for a subclass that needs none of ours and has its own `maps`.
        layers: Names of the layers to compare.

    Raises:
        OptionsError: the network has no such layer.
    """

    extractor: "FeatureExtractor | None"

    def __init__(self, extractor: "FeatureExtractor | None", layers: Sequence[str]) -> None:
        super().__init__()
        if extractor is not None:
            from srcx.features.extractor import check_layers

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

    def maps(self, image: Tensor) -> dict[str, Tensor]:
        """Return layer -> features of an image, RGB in [0, 1] of shape (N, 3, H, W)."""
        assert self.extractor is not None
        return self.extractor(image, self.layers)

    def forward(self, sr: Tensor, gt: Tensor) -> Tensor:
        """Return the loss of `sr` against `gt`, both RGB in [0, 1] of shape (N, 3, H, W)."""
        with torch.no_grad():
            gt_features = self.maps(gt)
        return self.compare(self.maps(sr), gt_features)


class LayerwiseLoss(FeatureLoss):
    """Weighted sum over layers of `layer_distance`, which a subclass defines.

    Args:
        layer_weights: Layer -> weight: "conv5_4" is VGG19's last convolution, before its ReLU; "relu5_4" is
            the output of that ReLU. Of other `features`: name or index of a map -> weight; None is 1 each.
        vgg_type: "vgg19", "vgg16" or "alexnet".
        use_input_norm: Normalise the images by ImageNet's mean and standard deviation first.
        range_norm: Map the images from [-1, 1] to [0, 1] first.
        pooling: "max" as the networks were trained, "average" or "l2".
        weights_path: File of the network's weights; None searches as `find_weights` does.
        features: Any callable or module in place of that network. It is used as it is: the arguments from
            `vgg_type` on do nothing, and its weights are neither frozen nor trained here.

    Raises:
        OptionsError: `layer_weights` is not a mapping, or there is no such network, layer or pooling.
        WeightsError: the network's weights are missing; the message says how to get them.
    """

    def __init__(
        self,
        layer_weights: Mapping[str, float] | None,
        vgg_type: str,
        *,
        use_input_norm: bool,
        range_norm: bool,
        pooling: str,
        weights_path: Path | str | None,
        features: Features | None = None,
    ) -> None:
        own = features is None
        if not isinstance(layer_weights, Mapping) and (own or layer_weights is not None):
            raise OptionsError(
                f"{type(self).__name__}: expected layer_weights as {{conv3_4: 1}}, got {layer_weights!r}; "
                "give each layer a weight"
            )
        weights = (
            None if layer_weights is None else {str(key): weight for key, weight in layer_weights.items()}
        )
        if own:
            from srcx.features.extractor import check_layers, extractor

            check_layers(vgg_type, list(weights or ()))  # before the search for weights, which may fail
            network = extractor(
                vgg_type,
                pooling=pooling,
                use_input_norm=use_input_norm,
                range_norm=range_norm,
                weights_path=weights_path,
            )
            super().__init__(network, list(weights or ()))
        else:
            super().__init__(None, list(weights or ()))
        self.features = features
        self.layer_weights = weights

    def layer_distance(self, sr: Tensor, gt: Tensor) -> Tensor:
        """Return the distance of the features of one layer, (N, C, h, w), as a scalar."""
        raise NotImplementedError

    def maps(self, image: Tensor) -> dict[str, Tensor]:
        if self.features is None:
            return super().maps(image)
        given = self.features(image)
        if isinstance(given, Tensor):
            named: dict[str, Tensor] = {"0": given}
        elif isinstance(given, Mapping):
            named = {str(key): value for key, value in given.items()}
        else:
            named = {str(index): value for index, value in enumerate(given)}
        if absent := [name for name in self.layers if name not in named]:
            raise OptionsError(
                f"{type(self).__name__}: features gave no {', '.join(absent)} but {', '.join(named)}; "
                "name some of these in layer_weights"
            )
        return {name: named[name] for name in self.layers or named}

    def compare(self, sr_features: dict[str, Tensor], gt_features: dict[str, Tensor]) -> Tensor:
        weights = self.layer_weights or dict.fromkeys(sr_features, 1.0)
        distances = [
            weight * self.layer_distance(sr_features[name], gt_features[name])
            for name, weight in weights.items()
        ]
        return torch.stack(distances).sum()

"""The perceptual loss: how far apart two images are in the layers of a fixed network."""

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import l1_loss, mse_loss

from srcx.errors import OptionsError
from srcx.features.extractor import check_layers, extractor
from srcx.imaging.tensors import check_same_shape
from srcx.losses.feature_loss import FeatureLoss

__all__ = ["PerceptualLoss"]


def _frobenius(sr: Tensor, gt: Tensor) -> Tensor:
    """Square root of the sum, not the mean, of the squares over the whole batch, as in BasicSR."""
    return torch.linalg.vector_norm(sr - gt)


CRITERIA: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"l1": l1_loss, "l2": mse_loss, "fro": _frobenius}


class PerceptualLoss(FeatureLoss):
    """Weighted sum, over layers, of the distance between the features of two images.

    Args:
        layer_weights: Weight of each layer, by name: "conv5_4" is VGG19's last convolution, before its ReLU,
            "relu5_4" after it.
        vgg_type: "vgg19", "vgg16" or "alexnet".
        use_input_norm: The images are normalised by ImageNet's mean and standard deviation first.
        range_norm: The images come in [-1, 1] and are brought to [0, 1] first.
        criterion: "l1" (mean of differences), "l2" (mean of squares) or "fro" (Frobenius norm of the batch).
        pooling: "max" as the networks were trained, "average" or "l2".
        weights_path: The network's weights; None looks for them where `find_weights` says.

    Called with sr and gt, RGB in [0, 1], (N, 3, H, W), it returns a scalar.

    Raises:
        OptionsError: there is no such network, layer, criterion or pooling.
        WeightsError: the network's weights are not at hand; the text says what mends it.

    References:
        Johnson et al., "Perceptual Losses for Real-Time Style Transfer and Super-Resolution", ECCV 2016,
        arXiv:1603.08155. Names, defaults and values are those of BasicSR's PerceptualLoss.
        Differs from BasicSR: style is a loss of its own (`GramLoss`), a term's weight is the sum's, and "l2"
        works.
    """

    def __init__(
        self,
        layer_weights: Mapping[str, float],
        vgg_type: str = "vgg19",
        use_input_norm: bool = True,
        range_norm: bool = False,
        criterion: str = "l1",
        pooling: str = "max",
        weights_path: Path | str | None = None,
    ) -> None:
        name = type(self).__name__
        if criterion not in CRITERIA:
            raise OptionsError(
                f"{name}: expected {', '.join(CRITERIA)} as criterion, got {criterion!r}; name one of them"
            )
        if not isinstance(layer_weights, Mapping):
            raise OptionsError(
                f"{name}: expected layer_weights as {{conv5_4: 1}}, got {layer_weights!r}; weigh each layer"
            )
        check_layers(vgg_type, list(layer_weights))  # a misspelt layer is found before weights are asked for
        network = extractor(
            vgg_type,
            pooling=pooling,
            use_input_norm=use_input_norm,
            range_norm=range_norm,
            weights_path=weights_path,
        )
        super().__init__(network, list(layer_weights))
        self.layer_weights = dict(layer_weights)
        self.distance = CRITERIA[criterion]

    def compare(self, sr_features: dict[str, Tensor], gt_features: dict[str, Tensor]) -> Tensor:
        return torch.stack(
            [
                weight * self.layer_distance(sr_features[name], gt_features[name])
                for name, weight in self.layer_weights.items()
            ]
        ).sum()

    def layer_distance(self, sr: Tensor, gt: Tensor) -> Tensor:
        """The distance in one layer, whose features are (N, C, h, w)."""
        check_same_shape("perceptual", sr, gt)
        return self.distance(sr, gt)

"""Perceptual and style loss: distances of the features of two images, and of their Gram matrices."""

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import l1_loss, mse_loss

from srcx.errors import OptionsError
from srcx.losses.feature_loss import LayerwiseLoss
from srcx.tensors import check_same_shape

__all__ = ["GramLoss", "PerceptualLoss", "gram_matrix"]

CRITERIA: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "l1": l1_loss,
    "l2": mse_loss,
    # Square root of the sum, not the mean, of the squares over the whole batch, as in BasicSR.
    "fro": lambda sr, gt: torch.linalg.vector_norm(sr - gt),
}


class PerceptualLoss(LayerwiseLoss):
    """Weighted sum, over layers, of the distance between the features of two images.

    Args:
        layer_weights: Layer -> weight: "conv5_4" is VGG19's last convolution, before its ReLU; "relu5_4" is
            the output of that ReLU.
        vgg_type: "vgg19", "vgg16" or "alexnet".
        use_input_norm: Normalise the images by ImageNet's mean and standard deviation first.
        range_norm: Map the images from [-1, 1] to [0, 1] first.
        criterion: "l1" (mean of differences), "l2" (mean of squares) or "fro" (Frobenius norm of the batch).
        pooling: "max" as the networks were trained, "average" or "l2".
        weights_path: File of the network's weights; None searches as `find_weights` does.

    Called with sr and gt, RGB in [0, 1], (N, 3, H, W), it returns a scalar.

    Raises:
        OptionsError: there is no such network, layer, criterion or pooling.
        WeightsError: the network's weights are missing; the message says how to get them.

    References:
        Johnson et al., "Perceptual Losses for Real-Time Style Transfer and Super-Resolution", ECCV 2016,
        arXiv:1603.08155. Names, defaults and values are those of BasicSR's PerceptualLoss.
        Differs from BasicSR: style is a separate loss (`GramLoss`), the objective holds the weight of a term,
        and "l2" works.
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
        if criterion not in CRITERIA:
            raise OptionsError(
                f"{type(self).__name__}: expected {', '.join(CRITERIA)} as criterion, got {criterion!r}; "
                "name one of them"
            )
        super().__init__(
            layer_weights,
            vgg_type,
            use_input_norm=use_input_norm,
            range_norm=range_norm,
            pooling=pooling,
            weights_path=weights_path,
        )
        self.distance = CRITERIA[criterion]

    def layer_distance(self, sr: Tensor, gt: Tensor) -> Tensor:
        check_same_shape("perceptual", sr, gt)
        return self.distance(sr, gt)


def gram_matrix(features: Tensor) -> Tensor:
    """Return the products of all pairs of channels, summed over positions and divided by C H W.

    Args:
        features: Shape (N, C, H, W).

    Returns:
        Shape (N, C, C), symmetric.

    References:
        Gatys et al., "Image Style Transfer Using Convolutional Neural Networks", CVPR 2016; the divisor is
        that of Johnson et al., ECCV 2016, arXiv:1603.08155, as in BasicSR.

    Example:
        >>> gram_matrix(torch.tensor([1.0, 2.0]).view(1, 2, 1, 1))
        tensor([[[0.5000, 1.0000],
                 [1.0000, 2.0000]]])
    """
    vectors = features.flatten(2)  # (N, C, positions)
    return vectors @ vectors.transpose(1, 2) / features[0].numel()


class GramLoss(PerceptualLoss):
    """Weighted sum, over layers, of the distance between the Gram matrices of two images' features.

    The arguments are those of `PerceptualLoss`; sr and gt may differ in height and width. Equal to BasicSR's
    PerceptualLoss with `style_weight: 1` and `perceptual_weight: 0`.

    References:
        Gatys et al., "A Neural Algorithm of Artistic Style", 2015, arXiv:1508.06576.
        Differs from the paper: means in place of its sums and factors, as in BasicSR.
    """

    def layer_distance(self, sr: Tensor, gt: Tensor) -> Tensor:
        return self.distance(gram_matrix(sr), gram_matrix(gt))

"""The contextual loss: are the features of one image found in another, wherever they are?"""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Literal, get_args

import torch
from torch import Generator, Tensor

from srcx.errors import OptionsError
from srcx.losses.contextual_features import (
    Pair,
    check_one_of,
    check_positive,
    cosine_vectors,
    l2_vectors,
    make_pair,
    weighted_layers,
)
from srcx.losses.contextual_gradient import contextual_similarity
from srcx.losses.contextual_scores import InnerProducts, L1Distances, Scores
from srcx.losses.contextual_similarity import Formula
from srcx.losses.feature_loss import FeatureLoss

__all__ = ["PAPER_LAYERS", "ContextualLoss", "Distance", "Product", "contextual_loss"]

Distance = Literal["cosine", "l2", "l1"]
Product = Literal["fp32", "bf16"]

PAPER_LAYERS: Mapping[str, float] = MappingProxyType({"conv3_4": 1.0})  # of VGG19, arXiv:1803.04626


def contextual_loss(
    x: Tensor,
    y: Tensor,
    *,
    bandwidth: float = 0.1,
    eps: float = 1e-5,
    distance: Distance = "cosine",
    symmetric: bool = False,
    max_positions: int | None = None,
    generator: Generator | None = None,
    product: Product = "fp32",
) -> Tensor:
    """Minus the logarithm of the contextual similarity of features x to features y.

    With d_ij the distance of x_i to y_j,

        w_ij = exp((1 - d_ij / (min_k d_ik + eps)) / bandwidth)      CX_ij = w_ij / sum_k w_ik
        loss = mean over the batch of -log(mean_j max_i CX_ij)

    Exact, with memory linear in the number of positions; `scripts/bench_contextual.py` measures it.

    Args:
        x: Features of the generated image, (N, C, H, W).
        y: Features of the target, (N, C, H', W'); its height and width may be others.
        bandwidth: h, positive; the papers have 0.1 and 0.5.
        eps: Added to the smallest distance; positive.
        distance: "cosine": (1 - <x, y>) / 2 of the directions from the mean of y over batch and positions;
            "l2": sum of squared differences; "l1": sum of absolute differences, which is slow.
        symmetric: The mean of CX(x, y) and CX(y, x), with the same distances, takes the place of CX.
        max_positions: Of more positions than this so many are drawn, the same in all samples, and the
            same in x and y where both have the same size.
        generator: Draws them; None is torch's own.
        product: "bf16" multiplies directions in bfloat16: faster, and coarser as said below.

    Returns:
        Scalar tensor, at least 0; float64 if x or y is, else float32, inside autocast too.

    Raises:
        ImageError: the shapes do not fit.
        OptionsError: an argument makes no sense.

    A vector that is the mean, up to rounding, has no direction: its cosine is 0, and it gets no gradient. Of
    equal distances or affinities the first gets the whole gradient.

    With product="bf16" rows whose smallest distance is below 0.02 are multiplied in float32 all the same:
    there the formula would magnify the rounding. What is left of it, at the bandwidths 0.1 and 0.5: on
    AlexNet's conv2 of photographs and of their bicubic x4, the loss is off by up to 4e-4 of itself and the
    gradient by 0.2 to 14 % (cosine to the exact one above 0.99); on noise the gradient by 17 to 23 %
    (0.97), as near ties fall otherwise. `scripts/bench_contextual.py --error` measures it.

    References:
        Mechrez et al., "The Contextual Loss for Image Transformation with Non-Aligned Data", ECCV 2018,
        arXiv:1803.02077; details as in the authors' code (roimehrez/contextualLoss, CX/CSFlow.py): centred by
        the target alone, no division by a deviation, min and sum over targets, max over x.
        Differs from it: zero vectors are safe, and "l1" is ours.

    Example:
        >>> x = torch.eye(3).view(1, 3, 1, 3)
        >>> contextual_loss(x, x.flip(3)) < 1e-6                # the same vectors in another order
        tensor(True)
    """
    _check("contextual_loss", bandwidth, eps, distance, product)
    pair = make_pair("contextual_loss", x, y, max_positions=max_positions, generator=generator)
    rows, targets, scores = _scored(pair, distance, product)
    formula = Formula(scores, bandwidth, eps)
    cx = contextual_similarity(rows, targets, formula)
    if symmetric:
        cx = (cx + contextual_similarity(targets, rows, formula)) / 2
    return -cx.log().mean()


def _scored(
    pair: Pair, distance: Distance, product: Product
) -> tuple[Tensor, Tensor, Callable[[Tensor, Tensor, int], Scores]]:
    """Rows, targets, and how they are scored."""
    if distance == "cosine":
        return *cosine_vectors(pair), partial(InnerProducts, bias=-0.5, bf16=product == "bf16")
    if distance == "l2":
        return *l2_vectors(pair), InnerProducts
    return pair.x.transpose(1, 2), pair.y.transpose(1, 2), lambda x, y, _: L1Distances(x, y)


def _check(name: str, bandwidth: float, eps: float, distance: str, product: str) -> None:
    check_positive(name, bandwidth=bandwidth, eps=eps)
    check_one_of(name, "distance", distance, get_args(Distance))
    check_one_of(name, "product", product, get_args(Product))
    if product == "bf16" and distance != "cosine":
        raise OptionsError(
            f"{name}: product 'bf16' is for the cosine distance, got {distance!r}; take product 'fp32'"
        )


class ContextualLoss(FeatureLoss):
    """Weighted sum, over layers of a fixed network, of the contextual loss of two images' features.

    Args:
        layer_weights: Weight of each layer, by name; by default the paper's, which are VGG19's.
        vgg_type: "vgg19", "vgg16" or "alexnet".
        use_input_norm: The images are normalised by ImageNet's mean and standard deviation first.
        range_norm: The images come in [-1, 1] and are brought to [0, 1] first.
        pooling: "max" as the networks were trained, "average" or "l2".
        weights_path: The network's weights; None looks for them where `find_weights` says.
        bandwidth: As in `contextual_loss`, like all that follow.
        eps: Added to the smallest distance.
        distance: "cosine", "l2" or "l1".
        symmetric: Both directions count.
        max_positions: Of more positions than this so many are drawn; the authors' limit is 65 * 65. None,
            as exact is affordable here.
        product: "fp32", or the faster and coarser "bf16".

    Called with sr and gt, RGB in [0, 1], (N, 3, H, W) of any two sizes, it returns a scalar.

    Raises:
        OptionsError: an argument makes no sense, or there is no such network or layer.
        WeightsError: the network's weights are not at hand; the text says what mends it.

    References:
        Mechrez et al., "Maintaining Natural Image Statistics with the Contextual Loss", ACCV 2018,
        arXiv:1803.04626: layer conv3_4 of VGG19. Its text gives no bandwidth; 0.1 is a re-implementation's.
    """

    def __init__(
        self,
        layer_weights: Mapping[str, float] = PAPER_LAYERS,
        vgg_type: str = "vgg19",
        use_input_norm: bool = True,
        range_norm: bool = False,
        pooling: str = "max",
        weights_path: Path | str | None = None,
        bandwidth: float = 0.1,
        eps: float = 1e-5,
        distance: Distance = "cosine",
        symmetric: bool = False,
        max_positions: int | None = None,
        product: Product = "fp32",
    ) -> None:
        _check("ContextualLoss", bandwidth, eps, distance, product)
        network = weighted_layers(
            "ContextualLoss",
            layer_weights,
            vgg_type,
            use_input_norm=use_input_norm,
            range_norm=range_norm,
            pooling=pooling,
            weights_path=weights_path,
        )
        super().__init__(network, list(layer_weights))
        self.layer_weights = dict(layer_weights)
        self.formula = partial(
            contextual_loss,
            bandwidth=bandwidth,
            eps=eps,
            distance=distance,
            symmetric=symmetric,
            max_positions=max_positions,
            product=product,
        )

    def compare(self, sr_features: dict[str, Tensor], gt_features: dict[str, Tensor]) -> Tensor:
        return torch.stack(
            [
                weight * self.formula(sr_features[name], gt_features[name])
                for name, weight in self.layer_weights.items()
            ]
        ).sum()

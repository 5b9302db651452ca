"""Contextual loss: compare the feature vectors of two images that are not aligned."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Literal, NoReturn, get_args

import torch
from torch import Generator, Tensor

from srcx.errors import OptionsError
from srcx.losses.contextual_directions import directions
from srcx.losses.contextual_features import ContextualLayers
from srcx.losses.contextual_kernel import Formula
from srcx.losses.contextual_maps import Pair, center_of, pair_of
from srcx.losses.contextual_op import contextual_similarity
from srcx.losses.contextual_options import (
    Centering,
    Product,
    Reduction,
    check_one_of,
    check_shared,
    reduced,
    refuse_other_names,
)
from srcx.losses.feature_loss import Features

__all__ = ["ContextualLoss", "contextual_loss", "cosine_vectors"]

Distance = Literal["cosine", "l2", "l1"]
DISTANCES = get_args(Distance)


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
    x_mask: Tensor | None = None,
    y_mask: Tensor | None = None,
    centering: Centering = "batch",
    reduction: Reduction = "mean",
    **other_names: NoReturn,
) -> Tensor:
    """Return minus the logarithm of the contextual similarity of features x to features y.

    With d_ij the distance of x_i to y_j,

        w_ij = exp((1 - d_ij / (min_k d_ik + eps)) / bandwidth)      CX_ij = w_ij / sum_k w_ik
        loss = mean over the batch of -log(mean_j max_i CX_ij)

    The result is exact, and memory is linear in the number of positions; `scripts/bench/contextual.py`
    measures it.

    Args:
        x: Features of the generated image: a map (N, C, H, W), tokens (N, L, C) or a volume (N, C, D, H, W).
        y: Features of the target, of the same kind; its height and width, or its L, may differ from x's.
        bandwidth: h, positive; the papers use 0.1 and 0.5.
        eps: Added to the smallest distance; positive.
        distance: "cosine": (1 - <x, y>) / 2 of the unit vectors from the mean of y, see `centering`;
            "l2": sum of squared differences; "l1": sum of absolute differences, which is slow.
        symmetric: Use the mean of CX(x, y) and CX(y, x), both of the same distances, in place of CX.
        max_positions: If there are more positions than this, draw this many at random: the same ones in all
            samples, and in x and y if both have the same size. None uses all.
        generator: Random generator of that draw; None uses torch's default.
        product: "bf16" multiplies cosine vectors in bfloat16 on a CPU: faster and less exact, see below.
            Other devices multiply in float32 in any case.
        x_mask: True where a position of x counts, bool, (N, H, W), (N, L) or (N, D, H, W); None: all do. The
            others are as if they were not there, whatever they hold. A sample without any has the loss 0.
        y_mask: The same for y.
        centering: "batch": the mean of y over batch and positions, as in the authors' code. The loss of a
            sample then depends on its batch: gradient accumulation takes the mean of each part and every rank
            its own, so the loss is not that of the whole batch. "sample": the mean of y over the positions of
            each sample, whose loss is then the same in any batch.
        reduction: "mean" or "sum" over the batch, or "none".
        other_names: Names that other implementations have are errors that say the name here.

    Returns:
        Scalar tensor, or (N,) without reduction, at least 0; float64 if x or y is, else float32, also under
        autocast.

    Raises:
        ImageError: the shapes do not fit, or a mask is not bool.
        OptionsError: an argument is out of range.

    A vector that equals the mean up to rounding has no direction: its cosine is 0, and it gets no gradient.
    Of equal distances or affinities, the first gets the whole gradient. Values and gradients are the same in
    each run, on every device. `torch.compile` takes the loss into one graph. A second derivative is an error,
    and so is a gradient by `torch.func`.

    With product="bf16", rows whose smallest distance is below 0.02 are still multiplied in float32, because
    the formula would magnify the rounding error there. The remaining error at the bandwidths 0.1 and 0.5: on
    AlexNet's conv2 of photographs and of their bicubic x4, the loss is off by up to 4e-4 of its value and the
    gradient by 0.2 to 14 % (cosine to the exact one above 0.99). On noise the gradient is off by 17 to 23 %
    (0.97), because near ties are resolved differently. `scripts/bench/contextual.py --error` measures it.

    References:
        Mechrez et al., "The Contextual Loss for Image Transformation with Non-Aligned Data", ECCV 2018,
        arXiv:1803.02077; details as in the authors' code (roimehrez/contextualLoss, CX/CSFlow.py): centred by
        the target alone, no division by a standard deviation, min and sum over targets, max over x.
        Differs from it: zero vectors are safe; "l1", masks and the centring by sample are added.

    Example:
        >>> x = torch.eye(3).view(1, 3, 1, 3)
        >>> contextual_loss(x, x.flip(3)) < 1e-6                # the same vectors in another order
        tensor(True)
    """
    name = "contextual_loss"
    refuse_other_names(name, other_names)
    check_shared(
        name, bandwidth=bandwidth, eps=eps, product=product, reduction=reduction, centering=centering
    )
    _check_distance(name, distance, product)
    pair = pair_of(name, x, y, x_mask=x_mask, y_mask=y_mask, max_positions=max_positions, generator=generator)
    if distance == "cosine":
        rows, targets = cosine_vectors(pair, centering)
        formula = Formula(bandwidth, eps, bias=-0.5, bf16=product == "bf16")
    elif distance == "l2":
        rows, targets = _l2_vectors(pair)
        formula = Formula(bandwidth, eps)
    else:
        rows, targets = pair.x.transpose(1, 2), pair.y.transpose(1, 2)
        formula = Formula(bandwidth, eps, products=False)
    cx = contextual_similarity(rows, targets, formula, x_mask=pair.x_mask, y_mask=pair.y_mask)
    if symmetric:
        back = contextual_similarity(targets, rows, formula, x_mask=pair.y_mask, y_mask=pair.x_mask)
        cx = (cx + back) / 2
    return reduced(-cx.log(), reduction)


class ContextualLoss(ContextualLayers):
    """Weighted sum, over layers of a fixed network, of the contextual loss of two images' features.

    Args:
        layer_weights: Layer -> weight; by default the paper's layer of VGG19, or each map of `features`.
        vgg_type: "vgg19", "vgg16" or "alexnet".
        use_input_norm: Normalise the images by ImageNet's mean and standard deviation first.
        range_norm: Map the images from [-1, 1] to [0, 1] first.
        pooling: "max" as the networks were trained, "average" or "l2".
        weights_path: File of the network's weights; None searches as `find_weights` does.
        bandwidth: This and the following arguments are those of `contextual_loss`.
        eps: Added to the smallest distance.
        distance: "cosine", "l2" or "l1".
        symmetric: Use the mean of both directions.
        max_positions: Draw this many positions at random if there are more. The authors' limit is 65 * 65;
            None is affordable here.
        product: "fp32", or the faster and less exact "bf16".
        features: Name of a network, as `vgg_type`; or any callable or module that gives a map, tokens
            (N, L, C) or a volume of an image, or a list or dict of these: `layer_weights` chooses by index or
            name. It is used as it is: freeze it, and set it to evaluation, before. `torch.nn.Identity()` for
            features that you have.
        centering: "batch" or "sample", the latter where gradients are accumulated or ranks are several.
        reduction: "mean" or "sum" over the batch, or "none" for (N,).
        other_names: Names that other implementations have are errors that say the name here.

    Called with sr and gt, RGB in [0, 1], (N, 3, H, W) of any two sizes, and with bool masks of them if some
    pixels do not count (`x_mask` of sr, `y_mask` of gt), it returns a scalar.

    Raises:
        OptionsError: an argument is out of range, or there is no such network or layer.
        WeightsError: the network's weights are missing; the message says how to get them.

    Example:
        >>> x = torch.eye(3).view(1, 3, 1, 3)
        >>> ContextualLoss(features=torch.nn.Identity())(x, x) < 1e-3
        tensor(True)

    References:
        Mechrez et al., "Maintaining Natural Image Statistics with the Contextual Loss", ACCV 2018,
        arXiv:1803.04626: layer conv3_4 of VGG19. Its text gives no bandwidth; 0.1 is a re-implementation's.
    """

    def __init__(
        self,
        layer_weights: Mapping[str, float] | None = None,
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
        features: Features | str | None = None,
        centering: Centering = "batch",
        reduction: Reduction = "mean",
        **other_names: NoReturn,
    ) -> None:
        name = "ContextualLoss"
        refuse_other_names(name, other_names)
        check_shared(
            name, bandwidth=bandwidth, eps=eps, product=product, reduction=reduction, centering=centering
        )
        _check_distance(name, distance, product)
        formula = partial(
            contextual_loss,
            bandwidth=bandwidth,
            eps=eps,
            distance=distance,
            symmetric=symmetric,
            max_positions=max_positions,
            product=product,
            centering=centering,
            reduction=reduction,
        )
        super().__init__(
            formula,
            layer_weights,
            features,
            reduction=reduction,
            vgg_type=vgg_type,
            use_input_norm=use_input_norm,
            range_norm=range_norm,
            pooling=pooling,
            weights_path=weights_path,
        )


def cosine_vectors(pair: Pair, centering: Centering) -> tuple[Tensor, Tensor]:
    """Return (B, N, C) and (B, M, C) whose inner products, less 1/2, are minus the cosine distances."""
    center = center_of(pair, centering)
    return directions(pair.x, center, length=0.5), directions(pair.y, center)


def _l2_vectors(pair: Pair) -> tuple[Tensor, Tensor]:
    """Return (B, N, C + 2) and (B, M, C + 2) whose inner products are minus the squared distances."""
    # Distances do not depend on a centre; the rounding error is smallest around the mean.
    center = pair.y.detach().mean((0, 2))
    x, y = (z.transpose(1, 2) - center for z in (pair.x, pair.y))
    x_squared, y_squared = (z.square().sum(2, keepdim=True) for z in (x, y))
    rows = torch.cat([2 * x, -x_squared, torch.ones_like(x_squared)], 2)
    return rows, torch.cat([y, torch.ones_like(y_squared), -y_squared], 2)


def _check_distance(name: str, distance: str, product: str) -> None:
    check_one_of(name, "distance", distance, DISTANCES)
    if product == "bf16" and distance != "cosine":
        raise OptionsError(
            f"{name}: product 'bf16' is for the cosine distance, got {distance!r}; use product 'fp32'"
        )

"""The contextual bilateral loss (CoBi): contextual similarity that prefers what is near in space as well."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Generator, Tensor
from torch.nn import functional

from srcx.errors import ImageError, OptionsError
from srcx.losses.contextual import PAPER_LAYERS, Product
from srcx.losses.contextual_features import (
    check_one_of,
    check_positive,
    cosine_vectors,
    make_pair,
    weighted_layers,
)
from srcx.losses.contextual_gradient import contextual_similarity
from srcx.losses.contextual_scores import InnerProducts
from srcx.losses.contextual_similarity import Formula, Prior
from srcx.losses.feature_loss import FeatureLoss

__all__ = ["ContextualBilateralLoss", "Form", "contextual_bilateral_loss"]

Form = Literal["sum", "mix"]
Space = Literal["features", "patches"]


def contextual_bilateral_loss(
    x: Tensor,
    y: Tensor,
    *,
    weight_sp: float = 0.1,
    bandwidth: float = 0.1,
    eps: float = 1e-5,
    form: Form = "sum",
    max_positions: int | None = None,
    generator: Generator | None = None,
    product: Product = "fp32",
) -> Tensor:
    """Contextual loss of features x to features y, where distance in the image counts too.

    With p_i and q_j the positions of x_i and y_j, in parts of the image's height and width, D_ij the cosine
    distance and CX as in `contextual_loss`,

        form "sum", the paper's:          CX of the distances D_ij + weight_sp |p_i - q_j|
        form "mix", the published code's: (1 - weight_sp) CX of D_ij  +  weight_sp CX of |p_i - q_j|^2

    Args:
        x: Features of the generated image, (N, C, H, W).
        y: Features of the target, (N, C, H', W'); its height and width may be others.
        weight_sp: What space counts: not negative; in the form "mix" at most 1.
        bandwidth: h, positive. The published code has 0.5.
        eps: Added to the smallest distance; positive. The published code has 1e-3.
        form: "sum" or "mix".
        max_positions: Of more positions than this so many are drawn, as in `contextual_loss`.
        generator: Draws them; None is torch's own.
        product: "fp32", or the faster and coarser "bf16", as in `contextual_loss`.

    Returns:
        Scalar tensor, at least 0.

    Raises:
        ImageError: the shapes do not fit.
        OptionsError: an argument makes no sense.

    References:
        Zhang et al., "Zoom to Learn, Learn to Zoom", CVPR 2019, arXiv:1905.05169; the form "mix" as in
        ceciliavision/zoom-learn-zoom, CX/CSFlow.py.
        Differs from the paper: its equation takes the smallest distance alone; here, as in all code for it,
        that distance scales the others, and their softmax is what counts.
        Differs from the code: positions are the centres of their cells, so that two sizes lie upon each
        other; drawn features keep their own positions.

    Example:
        >>> x = torch.eye(3).view(1, 3, 1, 3)
        >>> contextual_bilateral_loss(x, x, weight_sp=0.0) < 1e-6
        tensor(True)
    """
    _check("contextual_bilateral_loss", weight_sp, bandwidth, eps, form, product)
    pair = make_pair("contextual_bilateral_loss", x, y, max_positions=max_positions, generator=generator)
    scores = partial(InnerProducts, bias=-0.5, bf16=product == "bf16")
    if form == "sum":
        scores = partial(scores, space=pair.space, space_weight=weight_sp)
        formula = Formula(scores, bandwidth, eps)
    else:
        formula = Formula(scores, bandwidth, eps, Prior(pair.space, weight_sp))
    return -contextual_similarity(*cosine_vectors(pair), formula).log().mean()


def _check(name: str, weight_sp: float, bandwidth: float, eps: float, form: str, product: str) -> None:
    check_positive(name, bandwidth=bandwidth, eps=eps)
    check_one_of(name, "form", form, get_args(Form))
    check_one_of(name, "product", product, get_args(Product))
    if not weight_sp >= 0 or (form == "mix" and weight_sp > 1):
        raise OptionsError(
            f"{name}: expected weight_sp of at least 0, and at most 1 in the form 'mix'; got {weight_sp!r}"
        )


class ContextualBilateralLoss(FeatureLoss):
    """The contextual bilateral loss of two images: of their features in a fixed network, or of RGB patches.

    Args:
        space: "features" of a network, or "patches" of the images themselves, which need none.
        layer_weights: For features: weight of each layer, by name.
        vgg_type: For features: "vgg19", "vgg16" or "alexnet".
        use_input_norm: For features: normalise the images by ImageNet's mean and deviation first.
        range_norm: For features: bring images from [-1, 1] to [0, 1] first.
        pooling: For features: "max" as the networks were trained, "average" or "l2".
        weights_path: For features: the network's weights; None looks for them where `find_weights` says.
        patch_size: For patches: their height and width in pixels; the paper has 10 at x4 and 15 at x8.
        stride: For patches: pixels from one to the next; None is half a patch.
        form: "sum" or "mix", as in `contextual_bilateral_loss`, like all that follow.
        weight_sp: What space counts.
        bandwidth: The bandwidth h.
        eps: Added to the smallest distance.
        max_positions: Of more positions than this so many are drawn.
        product: "fp32", or the faster and coarser "bf16".

    Called with sr and gt, RGB in [0, 1], (N, 3, H, W) of any two sizes, it returns a scalar.

    Raises:
        OptionsError: an argument makes no sense, or there is no such network or layer.
        WeightsError: the network's weights are not at hand; the text says what mends it.
        ImageError: an image is smaller than a patch.

    References:
        Zhang et al., "Zoom to Learn, Learn to Zoom", CVPR 2019, arXiv:1905.05169: CoBi_VGG and CoBi_RGB.
    """

    def __init__(
        self,
        space: Space = "features",
        layer_weights: Mapping[str, float] = PAPER_LAYERS,
        vgg_type: str = "vgg19",
        use_input_norm: bool = True,
        range_norm: bool = False,
        pooling: str = "max",
        weights_path: Path | str | None = None,
        patch_size: int = 10,
        stride: int | None = None,
        form: Form = "sum",
        weight_sp: float = 0.1,
        bandwidth: float = 0.1,
        eps: float = 1e-5,
        max_positions: int | None = None,
        product: Product = "fp32",
    ) -> None:
        name = "ContextualBilateralLoss"
        check_one_of(name, "space", space, get_args(Space))
        _check(name, weight_sp, bandwidth, eps, form, product)
        stride = max(patch_size // 2, 1) if stride is None else stride
        check_positive(name, patch_size=patch_size, stride=stride)
        if space == "patches":
            super().__init__(None, ())
        else:
            network = weighted_layers(
                name,
                layer_weights,
                vgg_type,
                use_input_norm=use_input_norm,
                range_norm=range_norm,
                pooling=pooling,
                weights_path=weights_path,
            )
            super().__init__(network, list(layer_weights))
        self.layer_weights = dict(layer_weights)
        self.patch_size, self.stride = patch_size, stride
        self.formula = partial(
            contextual_bilateral_loss,
            weight_sp=weight_sp,
            bandwidth=bandwidth,
            eps=eps,
            form=form,
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

    def forward(self, sr: Tensor, gt: Tensor) -> Tensor:
        if self.extractor is None:
            return self.formula(self._patches(sr), self._patches(gt))
        return super().forward(sr, gt)

    def _patches(self, image: Tensor) -> Tensor:
        """All patches of (N, 3, H, W), as features (N, 3 patch_size^2, h, w)."""
        size, step = self.patch_size, self.stride
        height, width = image.shape[2:]
        if min(height, width) < size:
            raise ImageError(
                f"ContextualBilateralLoss: expected images of at least {size} x {size} pixels, a patch; "
                f"got {tuple(image.shape)}"
            )
        patches = functional.unfold(image, size, stride=step)
        return patches.unflatten(2, ((height - size) // step + 1, (width - size) // step + 1))

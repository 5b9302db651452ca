"""Contextual bilateral loss (CoBi): the contextual loss with the distance in space."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Literal, NoReturn, get_args

from torch import Generator, Tensor
from torch.nn import functional

from srcx.errors import ImageError, OptionsError
from srcx.losses.contextual import cosine_vectors
from srcx.losses.contextual_features import ContextualLayers
from srcx.losses.contextual_kernel import Formula
from srcx.losses.contextual_maps import pair_of
from srcx.losses.contextual_op import contextual_similarity
from srcx.losses.contextual_options import (
    Centering,
    Product,
    Reduction,
    check_one_of,
    check_positive,
    check_shared,
    reduced,
    refuse_other_names,
)
from srcx.losses.feature_loss import Features

__all__ = ["ContextualBilateralLoss", "contextual_bilateral_loss"]

Form = Literal["sum", "mix"]
Source = Literal["features", "patches"]
FORMS, SOURCES = get_args(Form), get_args(Source)


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
    x_mask: Tensor | None = None,
    y_mask: Tensor | None = None,
    centering: Centering = "batch",
    reduction: Reduction = "mean",
    **other_names: NoReturn,
) -> Tensor:
    """Return the contextual loss of features x to features y, with spatial distance added (CoBi).

    With p_i and q_j the positions of x_i and y_j, as fractions of the image's height and width, D_ij the
    cosine distance and CX as in `contextual_loss`,

        form "sum", the paper's:          CX of the distances D_ij + weight_sp |p_i - q_j|
        form "mix", the published code's: (1 - weight_sp) CX of D_ij  +  weight_sp CX of |p_i - q_j|^2

    Args:
        x: Features of the generated image: a map (N, C, H, W), or a volume (N, C, D, H, W).
        y: Features of the target, of the same kind; its height and width may differ from those of x.
        weight_sp: Weight of the spatial distance: not negative; in the form "mix" at most 1.
        bandwidth: h, positive. The published code uses 0.5.
        eps: Added to the smallest distance; positive. The published code uses 1e-3.
        form: "sum" or "mix".
        max_positions: As in `contextual_loss`.
        generator: As in `contextual_loss`.
        product: "fp32", or the faster and less exact "bf16", as in `contextual_loss`.
        x_mask: True where a position of x counts; this and what follows is as in `contextual_loss`.
        y_mask: The same for y.
        centering: "batch" or "sample".
        reduction: "mean" or "sum" over the batch, or "none".
        other_names: Names that other implementations have are errors that say the name here.

    Returns:
        Scalar tensor, or (N,) without reduction, at least 0.

    Raises:
        ImageError: the shapes do not fit, or x and y are tokens, whose places are not known.
        OptionsError: an argument is out of range.

    References:
        Zhang et al., "Zoom to Learn, Learn to Zoom", CVPR 2019, arXiv:1905.05169; the form "mix" as in
        ceciliavision/zoom-learn-zoom, CX/CSFlow.py.
        Differs from the paper: its equation uses the smallest distance alone; here, as in all published code,
        that distance scales the others, and their softmax is used.
        Differs from the code: positions are the centres of their cells, so that the grids of two sizes are
        aligned; drawn features keep their own positions.

    Example:
        >>> import torch
        >>> x = torch.eye(3).view(1, 3, 1, 3)
        >>> contextual_bilateral_loss(x, x, weight_sp=0.0) < 1e-6
        tensor(True)
    """
    name = "contextual_bilateral_loss"
    refuse_other_names(name, other_names)
    check_shared(
        name, bandwidth=bandwidth, eps=eps, product=product, reduction=reduction, centering=centering
    )
    _check_form(name, form, weight_sp)
    pair = pair_of(name, x, y, x_mask=x_mask, y_mask=y_mask, max_positions=max_positions, generator=generator)
    if x.ndim == 3:
        raise ImageError(f"{name}: expected maps (N, C, H, W) or volumes, whose places are known; got tokens")
    formula = Formula(
        bandwidth,
        eps,
        bias=-0.5,
        bf16=product == "bf16",
        space_weight=weight_sp if form == "sum" else 0.0,
        prior_weight=weight_sp if form == "mix" else 0.0,
    )
    cx = contextual_similarity(
        *cosine_vectors(pair, centering),
        formula,
        x_mask=pair.x_mask,
        y_mask=pair.y_mask,
        of_x=pair.of_x,
        of_y=pair.of_y,
    )
    return reduced(-cx.log(), reduction)


class ContextualBilateralLoss(ContextualLayers):
    """The contextual bilateral loss of two images: of their features in a fixed network, or of RGB patches.

    Args:
        space: "features" of a network, or "patches" of the images themselves, which need no network.
        layer_weights: For features: layer -> weight; by default conv3_4 of VGG19, or each map of `features`.
        vgg_type: For features: "vgg19", "vgg16" or "alexnet".
        use_input_norm: For features: normalise the images by ImageNet's mean and standard deviation first.
        range_norm: For features: map the images from [-1, 1] to [0, 1] first.
        pooling: For features: "max" as the networks were trained, "average" or "l2".
        weights_path: For features: file of the network's weights; None searches as `find_weights` does.
        patch_size: For patches: height and width in pixels; the paper uses 10 at x4 and 15 at x8.
        stride: For patches: pixels from one patch to the next; None is half a patch.
        form: "sum" or "mix"; this and the following arguments are those of `contextual_bilateral_loss`.
        weight_sp: Weight of the spatial distance.
        bandwidth: The bandwidth h.
        eps: Added to the smallest distance.
        max_positions: Draw this many positions at random if there are more.
        product: "fp32", or the faster and less exact "bf16".
        features: For features: name of a network, callable or module, as in `ContextualLoss`.
        centering: "batch" or "sample".
        reduction: "mean" or "sum" over the batch, or "none" for (N,).
        other_names: Names that other implementations have are errors that say the name here.

    Called with sr and gt, RGB in [0, 1], (N, 3, H, W) of any two sizes, and with bool masks of them if some
    pixels do not count (`x_mask` of sr, `y_mask` of gt), it returns a scalar.

    Raises:
        OptionsError: an argument is out of range, or there is no such network or layer.
        WeightsError: the network's weights are missing; the message says how to get them.
        ImageError: an image is smaller than a patch.

    References:
        Zhang et al., "Zoom to Learn, Learn to Zoom", CVPR 2019, arXiv:1905.05169: CoBi_VGG and CoBi_RGB.
    """

    def __init__(
        self,
        space: Source = "features",
        layer_weights: Mapping[str, float] | None = None,
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
        features: Features | str | None = None,
        centering: Centering = "batch",
        reduction: Reduction = "mean",
        **other_names: NoReturn,
    ) -> None:
        name = "ContextualBilateralLoss"
        refuse_other_names(name, other_names)
        check_one_of(name, "space", space, SOURCES)
        check_shared(
            name, bandwidth=bandwidth, eps=eps, product=product, reduction=reduction, centering=centering
        )
        _check_form(name, form, weight_sp)
        stride = max(patch_size // 2, 1) if stride is None else stride
        check_positive(name, patch_size=patch_size, stride=stride)
        patches = partial(_patches, size=patch_size, stride=stride)
        formula = partial(
            contextual_bilateral_loss,
            weight_sp=weight_sp,
            bandwidth=bandwidth,
            eps=eps,
            form=form,
            max_positions=max_positions,
            product=product,
            centering=centering,
            reduction=reduction,
        )
        super().__init__(
            formula,
            None if space == "patches" else layer_weights,
            patches if space == "patches" else features,
            reduction=reduction,
            vgg_type=vgg_type,
            use_input_norm=use_input_norm,
            range_norm=range_norm,
            pooling=pooling,
            weights_path=weights_path,
        )
        self.space, self.patch_size, self.stride = space, patch_size, stride

    def mask(self, mask: Tensor | None, features: Tensor) -> Tensor | None:
        if mask is None or self.space == "features":
            return super().mask(mask, features)
        hidden = (
            (~mask).float().reshape(len(mask), 1, *mask.shape[-2:])
        )  # a patch counts if all its pixels do
        return functional.max_pool2d(hidden, self.patch_size, self.stride)[:, 0] == 0


def _patches(image: Tensor, *, size: int, stride: int) -> Tensor:
    """Return all patches of (N, 3, H, W) as features (N, 3 size^2, h, w)."""
    height, width = image.shape[2:]
    if min(height, width) < size:
        raise ImageError(
            f"ContextualBilateralLoss: expected images of at least {size} x {size} pixels, a patch; "
            f"got {tuple(image.shape)}"
        )
    patches = functional.unfold(image, size, stride=stride)
    return patches.unflatten(2, ((height - size) // stride + 1, (width - size) // stride + 1))


def _check_form(name: str, form: str, weight_sp: float) -> None:
    check_one_of(name, "form", form, FORMS)
    if not weight_sp >= 0 or (form == "mix" and weight_sp > 1):
        raise OptionsError(
            f"{name}: expected weight_sp of at least 0, and at most 1 in the form 'mix'; got {weight_sp!r}"
        )

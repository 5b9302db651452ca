"""Contextual and contextual bilateral loss: compare feature vectors of two images that are not aligned."""

from collections.abc import Collection, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Literal, NamedTuple, get_args

import torch
from torch import Generator, Tensor
from torch.nn import functional

from srcx.errors import ImageError, OptionsError
from srcx.imaging.tensors import check_floating
from srcx.losses.contextual_kernel import Formula, Prior, contextual_similarity
from srcx.losses.contextual_scores import InnerProducts, L1Distances, Space, directions
from srcx.losses.feature_loss import FeatureLoss, LayerwiseLoss

__all__ = [
    "PAPER_LAYERS",
    "ContextualBilateralLoss",
    "ContextualLoss",
    "contextual_bilateral_loss",
    "contextual_loss",
]

Distance = Literal["cosine", "l2", "l1"]
Product = Literal["fp32", "bf16"]
Form = Literal["sum", "mix"]
Source = Literal["features", "patches"]

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
    """Return minus the logarithm of the contextual similarity of features x to features y.

    With d_ij the distance of x_i to y_j,

        w_ij = exp((1 - d_ij / (min_k d_ik + eps)) / bandwidth)      CX_ij = w_ij / sum_k w_ik
        loss = mean over the batch of -log(mean_j max_i CX_ij)

    The result is exact, and memory is linear in the number of positions; `scripts/bench/contextual.py`
    measures it.

    Args:
        x: Features of the generated image, (N, C, H, W).
        y: Features of the target, (N, C, H', W'); its height and width may differ from those of x.
        bandwidth: h, positive; the papers use 0.1 and 0.5.
        eps: Added to the smallest distance; positive.
        distance: "cosine": (1 - <x, y>) / 2 of the unit vectors from the mean of y over batch and positions;
            "l2": sum of squared differences; "l1": sum of absolute differences, which is slow.
        symmetric: Use the mean of CX(x, y) and CX(y, x), both of the same distances, in place of CX.
        max_positions: If there are more positions than this, draw this many at random: the same ones in all
            samples, and in x and y if both have the same size. None uses all.
        generator: Random generator of that draw; None uses torch's default.
        product: "bf16" multiplies cosine vectors in bfloat16: faster and less exact, see below.

    Returns:
        Scalar tensor, at least 0; float64 if x or y is, else float32, also under autocast.

    Raises:
        ImageError: the shapes do not fit.
        OptionsError: an argument is out of range.

    A vector that equals the mean up to rounding has no direction: its cosine is 0, and it gets no gradient.
    Of equal distances or affinities, the first gets the whole gradient.

    With product="bf16", rows whose smallest distance is below 0.02 are still multiplied in float32, because
    the formula would magnify the rounding error there. The remaining error at the bandwidths 0.1 and 0.5: on
    AlexNet's conv2 of photographs and of their bicubic x4, the loss is off by up to 4e-4 of its value and the
    gradient by 0.2 to 14 % (cosine to the exact one above 0.99). On noise the gradient is off by 17 to 23 %
    (0.97), because near ties are resolved differently. `scripts/bench/contextual.py --error` measures it.

    References:
        Mechrez et al., "The Contextual Loss for Image Transformation with Non-Aligned Data", ECCV 2018,
        arXiv:1803.02077; details as in the authors' code (roimehrez/contextualLoss, CX/CSFlow.py): centred by
        the target alone, no division by a standard deviation, min and sum over targets, max over x.
        Differs from it: zero vectors are safe, and "l1" is added.

    Example:
        >>> x = torch.eye(3).view(1, 3, 1, 3)
        >>> contextual_loss(x, x.flip(3)) < 1e-6                # the same vectors in another order
        tensor(True)
    """
    _check_contextual("contextual_loss", bandwidth, eps, distance, product)
    pair = _pair("contextual_loss", x, y, max_positions, generator)
    if distance == "cosine":
        rows, targets = _cosine_vectors(pair)
        formula = Formula(partial(InnerProducts, bias=-0.5, bf16=product == "bf16"), bandwidth, eps)
    elif distance == "l2":
        rows, targets = _l2_vectors(pair)
        formula = Formula(InnerProducts, bandwidth, eps)
    else:
        rows, targets = pair.x.transpose(1, 2), pair.y.transpose(1, 2)
        formula = Formula(lambda x, y, _: L1Distances(x, y), bandwidth, eps)
    cx = contextual_similarity(rows, targets, formula)
    if symmetric:
        cx = (cx + contextual_similarity(targets, rows, formula)) / 2
    return -cx.log().mean()


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
    """Return the contextual loss of features x to features y, with spatial distance added (CoBi).

    With p_i and q_j the positions of x_i and y_j, as fractions of the image's height and width, D_ij the
    cosine distance and CX as in `contextual_loss`,

        form "sum", the paper's:          CX of the distances D_ij + weight_sp |p_i - q_j|
        form "mix", the published code's: (1 - weight_sp) CX of D_ij  +  weight_sp CX of |p_i - q_j|^2

    Args:
        x: Features of the generated image, (N, C, H, W).
        y: Features of the target, (N, C, H', W'); its height and width may differ from those of x.
        weight_sp: Weight of the spatial distance: not negative; in the form "mix" at most 1.
        bandwidth: h, positive. The published code uses 0.5.
        eps: Added to the smallest distance; positive. The published code uses 1e-3.
        form: "sum" or "mix".
        max_positions: As in `contextual_loss`.
        generator: As in `contextual_loss`.
        product: "fp32", or the faster and less exact "bf16", as in `contextual_loss`.

    Returns:
        Scalar tensor, at least 0.

    Raises:
        ImageError: the shapes do not fit.
        OptionsError: an argument is out of range.

    References:
        Zhang et al., "Zoom to Learn, Learn to Zoom", CVPR 2019, arXiv:1905.05169; the form "mix" as in
        ceciliavision/zoom-learn-zoom, CX/CSFlow.py.
        Differs from the paper: its equation uses the smallest distance alone; here, as in all published code,
        that distance scales the others, and their softmax is used.
        Differs from the code: positions are the centres of their cells, so that the grids of two sizes are
        aligned; drawn features keep their own positions.

    Example:
        >>> x = torch.eye(3).view(1, 3, 1, 3)
        >>> contextual_bilateral_loss(x, x, weight_sp=0.0) < 1e-6
        tensor(True)
    """
    _check_bilateral("contextual_bilateral_loss", weight_sp, bandwidth, eps, form, product)
    pair = _pair("contextual_bilateral_loss", x, y, max_positions, generator)
    scores = partial(InnerProducts, bias=-0.5, bf16=product == "bf16")
    if form == "sum":
        formula = Formula(partial(scores, space=pair.space, space_weight=weight_sp), bandwidth, eps)
    else:
        formula = Formula(scores, bandwidth, eps, Prior(pair.space, weight_sp))
    return -contextual_similarity(*_cosine_vectors(pair), formula).log().mean()


class ContextualLoss(LayerwiseLoss):
    """Weighted sum, over layers of a fixed network, of the contextual loss of two images' features.

    Args:
        layer_weights: Layer -> weight; by default the paper's layer of VGG19.
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

    Called with sr and gt, RGB in [0, 1], (N, 3, H, W) of any two sizes, it returns a scalar.

    Raises:
        OptionsError: an argument is out of range, or there is no such network or layer.
        WeightsError: the network's weights are missing; the message says how to get them.

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
        _check_contextual("ContextualLoss", bandwidth, eps, distance, product)
        super().__init__(
            layer_weights,
            vgg_type,
            use_input_norm=use_input_norm,
            range_norm=range_norm,
            pooling=pooling,
            weights_path=weights_path,
        )
        self.formula = partial(
            contextual_loss,
            bandwidth=bandwidth,
            eps=eps,
            distance=distance,
            symmetric=symmetric,
            max_positions=max_positions,
            product=product,
        )

    def layer_distance(self, sr: Tensor, gt: Tensor) -> Tensor:
        return self.formula(sr, gt)


class ContextualBilateralLoss(LayerwiseLoss):
    """The contextual bilateral loss of two images: of their features in a fixed network, or of RGB patches.

    Args:
        space: "features" of a network, or "patches" of the images themselves, which need no network.
        layer_weights: For features: layer -> weight.
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

    Called with sr and gt, RGB in [0, 1], (N, 3, H, W) of any two sizes, it returns a scalar.

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
        _check_one_of(name, "space", space, get_args(Source))
        _check_bilateral(name, weight_sp, bandwidth, eps, form, product)
        stride = max(patch_size // 2, 1) if stride is None else stride
        _check_positive(name, patch_size=patch_size, stride=stride)
        if space == "patches":
            FeatureLoss.__init__(self, None, ())
        else:
            super().__init__(
                layer_weights,
                vgg_type,
                use_input_norm=use_input_norm,
                range_norm=range_norm,
                pooling=pooling,
                weights_path=weights_path,
            )
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

    def layer_distance(self, sr: Tensor, gt: Tensor) -> Tensor:
        return self.formula(sr, gt)

    def forward(self, sr: Tensor, gt: Tensor) -> Tensor:
        if self.extractor is None:
            return self.formula(self._patches(sr), self._patches(gt))
        return super().forward(sr, gt)

    def _patches(self, image: Tensor) -> Tensor:
        """Return all patches of (N, 3, H, W) as features (N, 3 patch_size^2, h, w)."""
        size, step = self.patch_size, self.stride
        height, width = image.shape[2:]
        if min(height, width) < size:
            raise ImageError(
                f"ContextualBilateralLoss: expected images of at least {size} x {size} pixels, a patch; "
                f"got {tuple(image.shape)}"
            )
        patches = functional.unfold(image, size, stride=step)
        return patches.unflatten(2, ((height - size) // step + 1, (width - size) // step + 1))


class _Pair(NamedTuple):
    """The features of two images as vectors, and their positions."""

    x: Tensor  # (B, C, N) of the generated image
    y: Tensor  # (B, C, M) of the target
    space: Space  # positions as fractions of the image's height and width


def _pair(name: str, x: Tensor, y: Tensor, max_positions: int | None, generator: Generator | None) -> _Pair:
    """Return features x (B, C, H, W) and y (B, C, H', W') as vectors; `name` begins error messages."""
    check_floating(name, x=x, y=y)
    if x.ndim != 4 or y.ndim != 4 or x.shape[:2] != y.shape[:2] or not x.numel() or not y.numel():
        raise ImageError(
            f"{name}: x and y must be (N, C, H, W) with one N and one C, and not empty; "
            f"got x {tuple(x.shape)} and y {tuple(y.shape)}"
        )
    if max_positions is not None and max_positions < 1:
        raise OptionsError(f"{name}: expected max_positions of at least 1 or none, got {max_positions}")
    dtype = torch.promote_types(torch.promote_types(x.dtype, y.dtype), torch.float32)
    drawn_x = _drawn(x, max_positions, generator)
    drawn_y = drawn_x if x.shape == y.shape else _drawn(y, max_positions, generator)
    return _Pair(
        x.to(dtype).flatten(2)[:, :, drawn_x],
        y.to(dtype).flatten(2)[:, :, drawn_y],
        Space(_positions(x, dtype)[drawn_x], _positions(y, dtype)[drawn_y]),
    )


def _drawn(features: Tensor, limit: int | None, generator: Generator | None) -> Tensor | slice:
    """Return the indices of `limit` random positions, or of all if there are no more than that."""
    positions = features[0, 0].numel()
    if limit is None or positions <= limit:
        return slice(None)
    device = torch.device("cpu") if generator is None else generator.device
    return torch.randperm(positions, generator=generator, device=device)[:limit].to(features.device)


def _positions(features: Tensor, dtype: torch.dtype) -> Tensor:
    """Return row and column of each position's centre as fractions of the height and width, (H W, 2)."""
    height, width = features.shape[2:]
    rows, columns = (
        (torch.arange(n, dtype=dtype, device=features.device) + 0.5) / n for n in (height, width)
    )
    return torch.cartesian_prod(rows, columns)


def _cosine_vectors(pair: _Pair) -> tuple[Tensor, Tensor]:
    """Return (B, N, C) and (B, M, C) whose inner products, less 1/2, are minus the cosine distances."""
    center = pair.y.mean((0, 2))
    return directions(pair.x, center, length=0.5), directions(pair.y, center)


def _l2_vectors(pair: _Pair) -> tuple[Tensor, Tensor]:
    """Return (B, N, C + 2) and (B, M, C + 2) whose inner products are minus the squared distances."""
    # Distances do not depend on a centre; the rounding error is smallest around the mean.
    center = pair.y.detach().mean((0, 2))
    x, y = (z.transpose(1, 2) - center for z in (pair.x, pair.y))
    x_squared, y_squared = (z.square().sum(2, keepdim=True) for z in (x, y))
    rows = torch.cat([2 * x, -x_squared, torch.ones_like(x_squared)], 2)
    return rows, torch.cat([y, torch.ones_like(y_squared), -y_squared], 2)


def _check_contextual(name: str, bandwidth: float, eps: float, distance: str, product: str) -> None:
    _check_positive(name, bandwidth=bandwidth, eps=eps)
    _check_one_of(name, "distance", distance, get_args(Distance))
    _check_one_of(name, "product", product, get_args(Product))
    if product == "bf16" and distance != "cosine":
        raise OptionsError(
            f"{name}: product 'bf16' is for the cosine distance, got {distance!r}; use product 'fp32'"
        )


def _check_bilateral(
    name: str, weight_sp: float, bandwidth: float, eps: float, form: str, product: str
) -> None:
    _check_positive(name, bandwidth=bandwidth, eps=eps)
    _check_one_of(name, "form", form, get_args(Form))
    _check_one_of(name, "product", product, get_args(Product))
    if not weight_sp >= 0 or (form == "mix" and weight_sp > 1):
        raise OptionsError(
            f"{name}: expected weight_sp of at least 0, and at most 1 in the form 'mix'; got {weight_sp!r}"
        )


def _check_positive(name: str, **numbers: float) -> None:
    for word, number in numbers.items():
        if not number > 0:
            raise OptionsError(f"{name}: expected {word} above 0, got {number!r}")


def _check_one_of(name: str, word: str, value: object, known: Collection[str]) -> None:
    if value not in known:
        raise OptionsError(f"{name}: expected {', '.join(known)} as {word}, got {value!r}; name one of them")

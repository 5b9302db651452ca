"""What the contextual losses share: feature maps made into pairs of vector sets, and arguments checked."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from srcx.errors import ImageError, OptionsError
from srcx.features.extractor import FeatureExtractor, check_layers, extractor
from srcx.imaging.tensors import check_floating
from srcx.losses.contextual_directions import directions
from srcx.losses.contextual_scores import Space

__all__ = [
    "Pair",
    "check_one_of",
    "check_positive",
    "cosine_vectors",
    "l2_vectors",
    "make_pair",
    "weighted_layers",
]


class Pair(NamedTuple):
    """The features of two images, a vector at each position, and where these positions are."""

    x: Tensor  # (B, C, N) of the generated image
    y: Tensor  # (B, C, M) of the target
    space: Space  # in parts of the image's height and width


def make_pair(
    name: str, x: Tensor, y: Tensor, *, max_positions: int | None, generator: Generator | None
) -> Pair:
    """Features x (B, C, H, W) and y (B, C, H', W') as the losses' formulas take them.

    Args:
        name: The loss, for its errors.
        x: Features of the generated image.
        y: Features of the target.
        max_positions: Of more than this so many are drawn, the same in x and y if they have one size.
        generator: Draws them; None is torch's own.

    Raises:
        ImageError: the shapes do not fit, or x or y is no floating-point tensor.
        OptionsError: `max_positions` is below 1.
    """
    check_floating(name, x=x, y=y)
    if x.ndim != 4 or y.ndim != 4 or x.shape[:2] != y.shape[:2] or not x.numel() or not y.numel():
        raise ImageError(
            f"{name}: x and y must be (N, C, H, W) with one N and one C, and not empty; "
            f"got x {tuple(x.shape)} and y {tuple(y.shape)}"
        )
    if max_positions is not None and max_positions < 1:
        raise OptionsError(f"{name}: expected max_positions of at least 1 or none, got {max_positions}")
    dtype = torch.promote_types(torch.promote_types(x.dtype, y.dtype), torch.float32)
    of_x, of_y = _positions(x, dtype), _positions(y, dtype)
    drawn_x = _drawn(x, max_positions, generator)
    drawn_y = drawn_x if x.shape == y.shape else _drawn(y, max_positions, generator)
    return Pair(
        x.to(dtype).flatten(2)[:, :, drawn_x],
        y.to(dtype).flatten(2)[:, :, drawn_y],
        Space(of_x[drawn_x], of_y[drawn_y]),
    )


def _drawn(features: Tensor, limit: int | None, generator: Generator | None) -> Tensor | slice:
    """Indices of the positions that take part."""
    positions = features[0, 0].numel()
    if limit is None or positions <= limit:
        return slice(None)
    device = torch.device("cpu") if generator is None else generator.device
    return torch.randperm(positions, generator=generator, device=device)[:limit].to(features.device)


def _positions(features: Tensor, dtype: torch.dtype) -> Tensor:
    """Row and column of each position's centre, in parts of the height and width, (H W, 2)."""
    height, width = features.shape[2:]
    rows, columns = (
        (torch.arange(n, dtype=dtype, device=features.device) + 0.5) / n for n in (height, width)
    )
    return torch.cartesian_prod(rows, columns)


def cosine_vectors(pair: Pair) -> tuple[Tensor, Tensor]:
    """Vectors (B, N, C) and (B, M, C) whose inner products, less 1/2, are minus the cosine distances."""
    center = pair.y.mean((0, 2))
    return directions(pair.x, center, length=0.5), directions(pair.y, center)


def l2_vectors(pair: Pair) -> tuple[Tensor, Tensor]:
    """Vectors (B, N, C + 2) and (B, M, C + 2) whose inner products are minus the squared distances."""
    # Distances know no centre; round-off is least about the middle.
    center = pair.y.detach().mean((0, 2))
    x, y = (z.transpose(1, 2) - center for z in (pair.x, pair.y))
    x_squared, y_squared = (z.square().sum(2, keepdim=True) for z in (x, y))
    rows = torch.cat([2 * x, -x_squared, torch.ones_like(x_squared)], 2)
    return rows, torch.cat([y, torch.ones_like(y_squared), -y_squared], 2)


def check_positive(name: str, **numbers: float) -> None:
    """Raises OptionsError for the first of `numbers` that is not above 0."""
    for word, number in numbers.items():
        if not number > 0:
            raise OptionsError(f"{name}: expected {word} above 0, got {number!r}")


def check_one_of(name: str, word: str, value: object, known: Collection[str]) -> None:
    """Raises OptionsError if `value` is not among `known`."""
    if value not in known:
        raise OptionsError(f"{name}: expected {', '.join(known)} as {word}, got {value!r}; name one of them")


def weighted_layers(
    name: str,
    layer_weights: Mapping[str, float],
    vgg_type: str,
    *,
    use_input_norm: bool,
    range_norm: bool,
    pooling: str,
    weights_path: Path | str | None,
) -> FeatureExtractor:
    """The network for a loss that weighs its layers.

    Raises:
        OptionsError: `layer_weights` is no mapping, or there is no such network or layer.
        WeightsError: the network's weights are not at hand.
    """
    if not isinstance(layer_weights, Mapping):
        raise OptionsError(
            f"{name}: expected layer_weights as {{conv3_4: 1}}, got {layer_weights!r}; weigh each layer"
        )
    check_layers(vgg_type, list(layer_weights))  # a misspelt layer is found before weights are asked for
    return extractor(
        vgg_type,
        pooling=pooling,
        use_input_norm=use_input_norm,
        range_norm=range_norm,
        weights_path=weights_path,
    )

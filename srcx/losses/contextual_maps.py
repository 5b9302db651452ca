"""From two images' maps of features, tokens or volumes to the vectors that the contextual losses compare."""

from typing import NamedTuple

import torch
from torch import Generator, Tensor
from torch.nn import functional

from srcx.errors import ImageError, OptionsError
from srcx.losses.contextual_options import Centering
from srcx.tensors import check_floating

__all__ = ["Pair", "center_of", "mask_at", "pair_of"]

MAPS = "maps (N, C, H, W), tokens (N, L, C) or volumes (N, C, D, H, W)"


class Pair(NamedTuple):
    """The features of two images as vectors, with their positions. Masked vectors are zero."""

    x: Tensor  # (B, C, N) of the generated image
    y: Tensor  # (B, C, M) of the target
    x_mask: Tensor | None  # (B, N), True where the position counts; None: all do
    y_mask: Tensor | None  # (B, M)
    of_x: Tensor  # (N, 2), or (N, 3) of volumes: positions as fractions of the sides; (N, 0) of tokens
    of_y: Tensor  # (M, 2)


def pair_of(
    name: str,
    x: Tensor,
    y: Tensor,
    *,
    x_mask: Tensor | None,
    y_mask: Tensor | None,
    max_positions: int | None,
    generator: Generator | None,
) -> Pair:
    """Return the features of two images as vectors, in float32 or float64.

    Args:
        name: Begins error messages.
        x: Features of the generated image: a map (N, C, H, W), tokens (N, L, C) or a volume (N, C, D, H, W).
        y: Features of the target, of the same kind; the sizes may differ.
        x_mask: True where a position of x counts, (N, H, W), (N, L) or (N, D, H, W); None is everywhere.
        y_mask: The same for y.
        max_positions: Draw this many positions of each, if there are more.
        generator: Random generator of that draw; None uses torch's default.

    Raises:
        ImageError: the shapes do not fit, or a mask is not bool.
        OptionsError: `max_positions` is no whole number, or below 1.
    """
    check_floating(name, x=x, y=y)
    fits = x.ndim == y.ndim and x.ndim in (3, 4, 5) and x.numel() and y.numel()
    if not fits or len(x) != len(y) or _channels(x) != _channels(y):
        raise ImageError(
            f"{name}: x and y must both be {MAPS}, with one N and one C, and not empty; "
            f"got x {tuple(x.shape)} and y {tuple(y.shape)}"
        )
    if max_positions is not None and (isinstance(max_positions, float | str) or max_positions < 1):
        raise OptionsError(
            f"{name}: expected a whole number of at least 1 or none as max_positions, got {max_positions!r}"
        )
    dtype = torch.promote_types(torch.promote_types(x.dtype, y.dtype), torch.float32)
    drawn_x = _drawn(x, max_positions, generator)
    drawn_y = drawn_x if x.shape == y.shape else _drawn(y, max_positions, generator)
    x_mask, y_mask = _flat_mask(name, "x_mask", x_mask, x), _flat_mask(name, "y_mask", y_mask, y)
    return Pair(
        _vectors(x.to(dtype), x_mask)[:, :, drawn_x],
        _vectors(y.to(dtype), y_mask)[:, :, drawn_y],
        None if x_mask is None else x_mask[:, drawn_x],
        None if y_mask is None else y_mask[:, drawn_y],
        _positions(x, dtype)[drawn_x],
        _positions(y, dtype)[drawn_y],
    )


def center_of(pair: Pair, centering: Centering) -> Tensor:
    """Return the mean of the target's vectors: (1, 1, C) over the batch, or (B, 1, C) of each sample."""
    dims = (0, 2) if centering == "batch" else (2,)
    if pair.y_mask is None:
        mean = pair.y.mean(dims, keepdim=True)
    else:
        count = pair.y_mask[:, None].sum(dims, keepdim=True).clamp_min(1)
        mean = pair.y.sum(dims, keepdim=True) / count
    return mean.transpose(1, 2)


def mask_at(name: str, mask: Tensor | None, features: Tensor) -> Tensor | None:
    """Return an image's mask at the size of its features.

    A position counts if all pixels of its cell do, that is of its share of the image.

    Args:
        name: Begins error messages.
        mask: True where a pixel counts, (N, H, W) or (N, 1, H, W); or a mask of the features themselves.
        features: (N, C, h, w), (N, L, C) or (N, C, d, h, w).

    Returns:
        (N, h, w) or the like.

    Raises:
        ImageError: the mask is not bool, or is not of the features' size and cannot be brought to it.
    """
    if mask is None or mask.shape[-len(_sides(features)) :] == _sides(features):
        return mask
    sides = _sides(features)
    if mask.dtype != torch.bool or len(sides) == 1 or mask.ndim not in (len(sides) + 1, len(sides) + 2):
        raise ImageError(
            f"{name}: expected a bool mask of the image, (N, H, W), or of the features, "
            f"(N, {', '.join(map(str, sides))}); got {mask.dtype} of shape {tuple(mask.shape)}"
        )
    pool = functional.adaptive_max_pool2d if len(sides) == 2 else functional.adaptive_max_pool3d
    planes = mask if mask.ndim == len(sides) + 2 else mask[:, None]
    return pool((~planes).float(), sides)[:, 0] == 0


def _channels(features: Tensor) -> int:
    return features.shape[2 if features.ndim == 3 else 1]


def _sides(features: Tensor) -> torch.Size:
    return features.shape[1:2] if features.ndim == 3 else features.shape[2:]


def _vectors(features: Tensor, mask: Tensor | None) -> Tensor:
    """Return (B, C, P), with zeros where the mask is False: no NaN of a border gets further."""
    vectors = features.transpose(1, 2) if features.ndim == 3 else features.flatten(2)
    return vectors if mask is None else vectors.masked_fill(~mask[:, None], 0)


def _flat_mask(name: str, role: str, mask: Tensor | None, features: Tensor) -> Tensor | None:
    if mask is None:
        return None
    batch, sides = len(features), _sides(features)
    if mask.dtype != torch.bool or mask.shape not in ((batch, *sides), (batch, 1, *sides)):
        raise ImageError(
            f"{name}: {role} must be bool of shape {(batch, *sides)}, True where a position counts; "
            f"got {mask.dtype} of shape {tuple(mask.shape)}; weights become a mask by `weights > 0.5`"
        )
    return mask.reshape(batch, -1)


def _drawn(features: Tensor, limit: int | None, generator: Generator | None) -> Tensor | slice:
    """Return the indices of `limit` random positions, or of all if there are no more than that."""
    positions = _sides(features).numel()
    if limit is None or positions <= limit:
        return slice(None)
    device = torch.device("cpu") if generator is None else generator.device
    return torch.randperm(positions, generator=generator, device=device)[:limit].to(features.device)


def _positions(features: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the centre of each position as fractions of the sides, (P, 2) of a map."""
    if features.ndim == 3:  # where a token stands is not known
        return torch.empty(features.shape[1], 0, dtype=dtype, device=features.device)
    sides = ((torch.arange(n, dtype=dtype, device=features.device) + 0.5) / n for n in features.shape[2:])
    return torch.cartesian_prod(*sides)

"""Unit vectors from a centre to feature vectors, as an operator of torch with its gradient."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

__all__ = ["directions"]

# A vector this near the centre is rounding error; in units of the centre's length times the type's precision.
ROUNDING = 8


def directions(features: Tensor, center: Tensor, *, length: float = 1.0) -> Tensor:
    """Return vectors of equal length that point from `center` to each feature vector.

    Args:
        features: (B, C, P).
        center: (1, 1, C), or (B, 1, C) for a centre of each sample.
        length: Length of the result's vectors.

    Returns:
        (B, P, C). A vector no farther from the centre than the rounding error of their difference has no
        direction: it gives zeros, and gets no gradient.
    """
    toward, _ = _directions(features, center, length)
    return toward


@torch.library.custom_op(
    "srcx::directions",
    mutates_args=(),
    schema="(Tensor features, Tensor center, float length) -> (Tensor, Tensor)",
)
def _directions(features: Tensor, center: Tensor, length: float) -> tuple[Tensor, Tensor]:
    """Return the directions (B, P, C), and by what each vector was multiplied, (B, P, 1)."""
    toward, scale = _empty(features, center, length)
    limits = torch.finfo(toward.dtype)
    nothing = ROUNDING * limits.eps * torch.linalg.vector_norm(center, dim=2, keepdim=True) + limits.tiny**0.5
    center, nothing = (z.expand(len(features), -1, -1) for z in (center, nothing))
    for out, vectors, here, limit, by in _parts(toward, features, center, nothing, scale):
        torch.sub(_spread(vectors).mT, here, out=out)
        distance = torch.linalg.vector_norm(out, dim=-1, keepdim=True)
        by.copy_((length / distance).masked_fill_(distance <= limit, 0))
        out.mul_(by)
    return toward, scale


def _spread(vectors: Tensor) -> Tensor:
    """Return the same values (C, P); on a CPU, with columns that its cache can hold.

    It cannot where rows have a multiple of 4096 bytes: then all of a column is in one set of the cache.
    """
    if vectors.device.type != "cpu" or vectors.stride(0) * vectors.element_size() % 4096:
        return vectors
    channels, positions = vectors.shape
    return vectors.new_empty(channels, positions + 16)[:, :positions].copy_(vectors)


@_directions.register_fake
def _empty(features: Tensor, center: Tensor, length: float) -> tuple[Tensor, Tensor]:
    batch, channels, positions = features.shape
    return features.new_empty(batch, positions, channels), features.new_empty(batch, positions, 1)


@torch.library.custom_op(
    "srcx::directions_backward",
    mutates_args=(),
    schema="(Tensor grad, Tensor toward, Tensor scale, float length) -> Tensor",
)
def _backward(grad: Tensor, toward: Tensor, scale: Tensor, length: float) -> Tensor:
    """Return the gradient of the vectors, (B, P, C)."""
    whole = torch.empty_like(toward)
    for out, of_part, vectors, by in _parts(whole, grad, toward, scale):
        # Remove the part of the gradient along the vector and scale the rest, in one buffer.
        torch.mul(vectors, of_part, out=out)
        along = out.sum(-1, keepdim=True).div_(length**2)
        torch.mul(vectors, along, out=out)
        torch.sub(of_part, out, out=out).mul_(by)
    return whole


@_backward.register_fake
def _(grad: Tensor, toward: Tensor, scale: Tensor, length: float) -> Tensor:
    return torch.empty_like(toward)


def _parts(*tensors: Tensor) -> Iterable[tuple[Tensor, ...]]:
    """Return what is computed at once: on a CPU a sample, which its cache holds; elsewhere the batch."""
    return zip(*tensors, strict=True) if tensors[0].device.type == "cpu" else [tensors]


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    _, center, ctx.length = inputs
    ctx.center_shape = center.shape
    ctx.save_for_backward(*output)
    ctx.mark_non_differentiable(output[1])
    ctx.set_materialize_grads(False)


def _autograd(ctx: Any, grad: Tensor | None, _: None) -> tuple[Tensor | None, Tensor | None, None]:
    if grad is None:
        return None, None, None
    out = _backward(grad, *ctx.saved_tensors, ctx.length)
    of_center = -out.sum_to_size(ctx.center_shape) if ctx.needs_input_grad[1] else None
    # A transposed view has channels last, as the features of the networks do.
    return out.transpose(1, 2), of_center, None


_directions.register_autograd(_autograd, setup_context=_setup_context)

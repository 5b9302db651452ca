"""Directions of feature vectors as seen from a centre: what the cosine distance compares."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

__all__ = ["directions"]

# A vector this near the centre, relative to the centre's own length and the type's precision, is round-off.
ROUNDING = 8


def directions(features: Tensor, center: Tensor, *, length: float = 1.0) -> Tensor:
    """Vectors of one length from `center` towards each feature vector.

    Args:
        features: (B, C, P).
        center: (C,).
        length: The length they get.

    Returns:
        (B, P, C). A vector no farther from the centre than the rounding of their difference has no direction:
        it gives zeros, and gets no gradient.
    """
    toward: Tensor = _Directions.apply(features, center, length)
    return toward


def _vectors(features: Tensor) -> Tensor:
    """A copy of `features` (B, C, P) with one vector after the other, (B, P, C)."""
    vectors = features.new_empty(features.shape[0], features.shape[2], features.shape[1])
    for one, of_sample in zip(vectors, features, strict=True):
        one.copy_(of_sample.t())  # matrix by matrix: torch transposes those in tiles, three times as fast
    return vectors


class _Directions(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, center: Tensor, length: float) -> Tensor:
        toward = _vectors(features).sub_(center)
        distance = torch.linalg.vector_norm(toward, dim=2, keepdim=True)
        limits = torch.finfo(toward.dtype)
        nothing = ROUNDING * limits.eps * torch.linalg.vector_norm(center) + limits.tiny**0.5
        scale = (length / distance).masked_fill_(distance <= nothing, 0)
        toward.mul_(scale)
        ctx.save_for_backward(toward, scale)
        ctx.length = length
        return toward

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        toward, scale = ctx.saved_tensors
        # The part of `grad` along the vector goes, the rest is scaled; one buffer for all of it.
        out = toward * grad
        along = out.sum(2, keepdim=True).div_(ctx.length**2)
        torch.mul(toward, along, out=out)
        torch.sub(grad, out, out=out).mul_(scale)
        of_center = -out.sum((0, 1)) if ctx.needs_input_grad[1] else None
        # A transposed view: channels last, as the networks before it have them.
        return out.transpose(1, 2), of_center, None

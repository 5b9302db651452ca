"""Scores of one sample's rows against all its targets, a block of rows at a time: minus their distances.

The whole score matrix is never in memory. Products run through oneDNN where it has kernels for the processor:
its AVX-512 kernels are more than twice as fast as the BLAS behind `torch.mm` on processors of AMD.
"""

from functools import cache
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

__all__ = ["InnerProducts", "L1Distances", "Rows", "Scores", "Space", "directions"]

Rows = slice | Tensor  # consecutive rows, or the indices of rows

PRODUCTS_WORTH_A_LAYOUT = 16
# A bfloat16 product is wrong by about 3e-5 for unit vectors. That is small against a smallest distance above
# this. Below it the formula is steeper, and the row is multiplied in full precision.
CLOSE = 0.02
# A vector this near the centre is rounding error; in units of the centre's length times the type's precision.
ROUNDING = 8


class Scores(Protocol):
    """Minus the distance of every row to every target."""

    def block(self, rows: Rows) -> Tensor:
        """Return the scores of `rows` against all targets, (R, M), in memory the caller may overwrite."""
        ...

    def backward(self, rows: Tensor, grad: Tensor, grad_x: Tensor | None, grad_y: Tensor | None) -> None:
        """Backpropagate `grad` (R, M) of `block(rows)`: add to `grad_x` (N, K) and `grad_y` (M, K)."""
        ...


class Space:
    """Distances between the positions of rows and targets.

    Args:
        of_x: Coordinates of the rows, (N, 2), or (N, 3) in volumes.
        of_y: Coordinates of the targets, (M, 2) or (M, 3).
    """

    def __init__(self, of_x: Tensor, of_y: Tensor) -> None:
        self.of_x, self.of_y = of_x, of_y

    def squared(self, rows: Rows) -> Tensor:
        """Return the squared Euclidean distances of `rows` to all targets, (R, M)."""
        here, there = self.of_x[rows], self.of_y
        out = (here[:, :1] - there[:, 0]).square_()
        for axis in range(1, there.shape[1]):
            out.add_((here[:, axis, None] - there[:, axis]).square_())
        return out

    def euclidean(self, rows: Rows) -> Tensor:
        """Return the Euclidean distances of `rows` to all targets, (R, M)."""
        return self.squared(rows).sqrt_()


class InnerProducts:
    """Scores <x_i, y_j> + bias - space_weight * |p_i - q_j|.

    Args:
        x: Rows, (N, K).
        y: Targets, (M, K).
        step: Usual number of rows of a block.
        bias: Constant added to every score.
        bf16: Multiply in bfloat16 where that is exact enough (see `CLOSE`). The result is rounded to bfloat16
            too: since it is minus a distance, small distances stay precise.
        space: Positions p and q, to add the spatial distance.
        space_weight: Weight of the spatial distance.
    """

    def __init__(
        self,
        x: Tensor,
        y: Tensor,
        step: int,
        *,
        bias: float = 0.0,
        bf16: bool = False,
        space: Space | None = None,
        space_weight: float = 0.0,
    ) -> None:
        self.x, self.y, self.step, self.bias = x, y, step, bias
        self.bf16, self.space, self.space_weight = bf16, space, space_weight
        self._factors: dict[tuple[torch.dtype, bool], Tensor] = {}

    def block(self, rows: Rows) -> Tensor:
        x = self.x[rows]
        out = self._scores(x, bf16=self.bf16)
        if self.bf16 and len(close := _close(out.amax(1))):
            out[close] = self._scores(x[close])
        if self.space is not None:
            out.sub_(self.space.euclidean(rows), alpha=self.space_weight)
        return out

    def pull(self, weights: Tensor, top: Tensor) -> Tensor:
        """Return `weights` (R, M) @ targets, (R, K); `top` (R, 1) is the largest score of each row."""
        out = self._pull(weights, bf16=self.bf16)
        if self.bf16 and len(close := _close(top[:, 0])):
            out[close] = self._pull(weights[close])
        return out

    def total_score(self, rows: Rows, weights: Tensor, pulled: Tensor, mass: Tensor) -> Tensor:
        """Return the sum of weights * scores, (R, 1); `pulled` sums weights * y, `mass` sums the weights."""
        out = (self.x[rows] * pulled).sum(1, keepdim=True).add_(mass, alpha=self.bias)
        if self.space is not None:
            away = self.space.euclidean(rows).mul_(weights).sum(1, keepdim=True)
            out.sub_(away, alpha=self.space_weight)
        return out

    def backward(self, rows: Tensor, grad: Tensor, grad_x: Tensor | None, grad_y: Tensor | None) -> None:
        if grad_x is not None:
            grad_x[rows] += self._pull(grad)
        if grad_y is not None:
            grad_y += _times(grad.t(), self.x[rows].t())

    def _scores(self, x: Tensor, *, bf16: bool = False) -> Tensor:
        dtype = torch.bfloat16 if bf16 else x.dtype
        bias = x.new_full((len(self.y),), self.bias, dtype=dtype)
        return _times(x.to(dtype), self._factor(dtype, transposed=False), bias).to(x.dtype)

    def _pull(self, weights: Tensor, *, bf16: bool = False) -> Tensor:
        dtype = torch.bfloat16 if bf16 else weights.dtype
        return _times(weights.to(dtype), self._factor(dtype, transposed=True)).to(weights.dtype)

    def _factor(self, dtype: torch.dtype, *, transposed: bool) -> Tensor:
        """Return the targets in the type and layout of a product, made at the first use."""
        if (dtype, transposed) not in self._factors:
            y = (self.y.t() if transposed else self.y).to(dtype)
            self._factors[dtype, transposed] = _laid_out(y, self.step, products=len(self.x) // self.step)
        return self._factors[dtype, transposed]


class L1Distances:
    """Scores -sum |x_i - y_j|; slower, because they are not a matrix product.

    Args:
        x: Rows, (N, C).
        y: Targets, (M, C).
    """

    def __init__(self, x: Tensor, y: Tensor) -> None:
        self.x, self.y = x, y

    def block(self, rows: Rows) -> Tensor:
        return torch.cdist(self.x[rows], self.y, p=1).neg_()

    def backward(self, rows: Tensor, grad: Tensor, grad_x: Tensor | None, grad_y: Tensor | None) -> None:
        with torch.enable_grad():
            x, y = self.x[rows].detach().requires_grad_(), self.y.detach().requires_grad_()
            distances = torch.cdist(x, y, p=1)
        of_x, of_y = torch.autograd.grad(distances, (x, y), -grad)
        if grad_x is not None:
            grad_x[rows] += of_x
        if grad_y is not None:
            grad_y += of_y


def _close(top: Tensor) -> Tensor:
    """Return the rows that need more than a bfloat16 product, by their largest score (R,)."""
    return (top > -CLOSE).nonzero()[:, 0]


@cache
def _onednn_types() -> frozenset[torch.dtype]:
    """Return the types of products that oneDNN has kernels for on this machine's processor."""
    if not (
        torch.backends.mkldnn.is_available() and torch.backends.cpu.get_cpu_capability().startswith("AVX")
    ):
        return frozenset()
    ops = torch.ops.mkldnn
    if not (hasattr(ops, "_linear_pointwise") and hasattr(ops, "_reorder_linear_weight")):
        return frozenset()
    bf16 = {torch.bfloat16} if ops._is_mkldnn_bf16_supported() else set()
    return frozenset({torch.float32} | bf16)


def _onednn_serves(x: Tensor) -> bool:
    if torch.compiler.is_compiling():  # inductor accepts oneDNN products only with constant factors
        return False
    return x.device.type == "cpu" and x.dtype in _onednn_types()


def _laid_out(factor: Tensor, rows: int, *, products: int) -> Tensor:
    """Return `factor` (M, K) in oneDNN's layout if that saves time in `products` products of `rows` rows."""
    if products < PRODUCTS_WORTH_A_LAYOUT or not _onednn_serves(factor):
        return factor
    laid_out: Tensor = torch.ops.mkldnn._reorder_linear_weight(factor.contiguous(), rows)
    return laid_out


def _times(x: Tensor, factor: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return x (R, K) @ `factor` (M, K) transposed + `bias`; `factor` may come from `_laid_out`."""
    if not _onednn_serves(x):
        return functional.linear(x, factor, bias)
    out: Tensor = torch.ops.mkldnn._linear_pointwise(x, factor, bias, "none", [], "")
    return out


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
    toward: Tensor = _Directions.apply(features, center, length)
    return toward


class _Directions(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, center: Tensor, length: float) -> Tensor:
        toward = features.new_empty(features.shape[0], features.shape[2], features.shape[1])
        for one, of_sample in zip(toward, features, strict=True):
            one.copy_(of_sample.t())  # matrix by matrix: torch transposes those in tiles, three times as fast
        toward.sub_(center)
        distance = torch.linalg.vector_norm(toward, dim=2, keepdim=True)
        limits = torch.finfo(toward.dtype)
        of_center = torch.linalg.vector_norm(center, dim=2, keepdim=True)
        nothing = ROUNDING * limits.eps * of_center + limits.tiny**0.5
        scale = (length / distance).masked_fill_(distance <= nothing, 0)
        toward.mul_(scale)
        ctx.save_for_backward(toward, scale)
        ctx.length, ctx.center_shape = length, center.shape
        return toward

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        toward, scale = ctx.saved_tensors
        # Remove the part of `grad` along the vector and scale the rest, in one buffer.
        out = toward * grad
        along = out.sum(2, keepdim=True).div_(ctx.length**2)
        torch.mul(toward, along, out=out)
        torch.sub(grad, out, out=out).mul_(scale)
        of_center = -out.sum_to_size(ctx.center_shape) if ctx.needs_input_grad[1] else None
        # A transposed view has channels last, as the features of the networks do.
        return out.transpose(1, 2), of_center, None

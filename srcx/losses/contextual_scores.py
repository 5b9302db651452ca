"""Scores of the rows of some samples against all their targets, a block at a time: minus their distances.

S samples are computed at once. The whole score matrix is never in memory, unless it is small. On a CPU,
products run through oneDNN where it has kernels for the processor: its AVX-512 kernels are more than twice as
fast as the BLAS behind `torch.mm` on processors of AMD.
"""

from functools import cache
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["InnerProducts", "L1Distances", "Rows", "Scores", "Space", "on_cpu", "taken"]

Rows = slice | Tensor  # the same consecutive rows of all samples, or indices of rows (S, R)

PRODUCTS_WORTH_A_LAYOUT = 16
# A bfloat16 product is wrong by about 3e-5 for unit vectors. That is small against a smallest distance above
# this. Below it the formula is steeper, and the row is multiplied in full precision.
CLOSE = 0.02


def on_cpu(x: Tensor) -> bool:
    """Return whether a tensor is on the CPU; elsewhere batches are faster, and the host should not wait."""
    return x.device.type == "cpu"


def taken(vectors: Tensor, rows: Rows) -> Tensor:
    """Return `rows` of (S, N, K), (S, R, K)."""
    if isinstance(rows, slice):
        return vectors[:, rows]
    return vectors.gather(1, rows[..., None].expand(-1, -1, vectors.shape[2]))


class Scores(Protocol):
    """Minus the distance of every row to every target of its sample."""

    def block(self, rows: Rows) -> Tensor:
        """Return the scores of `rows` against all targets, (S, R, M), in memory the caller may overwrite."""
        ...

    def backward(self, rows: Tensor, grad: Tensor, grad_x: Tensor | None, grad_y: Tensor | None) -> None:
        """Backpropagate `grad` (S, R, M) of `block(rows)`: write `grad_x[rows]`, add to `grad_y`."""
        ...


class Space:
    """Distances between the positions of rows and targets, the same in all samples.

    Args:
        of_x: Coordinates of the rows, (N, 2), or (N, 3) in volumes.
        of_y: Coordinates of the targets, (M, 2) or (M, 3).
    """

    def __init__(self, of_x: Tensor, of_y: Tensor) -> None:
        self.of_x, self.of_y = of_x, of_y

    def squared(self, rows: Rows) -> Tensor:
        """Return the squared Euclidean distances of `rows` to all targets, (R, M) or (S, R, M)."""
        here, there = self.of_x[rows], self.of_y
        out = (here[..., :1] - there[:, 0]).square_()
        for axis in range(1, there.shape[1]):
            out.add_((here[..., axis, None] - there[:, axis]).square_())
        return out

    def euclidean(self, rows: Rows) -> Tensor:
        """Return the Euclidean distances of `rows` to all targets, (R, M) or (S, R, M)."""
        return self.squared(rows).sqrt_()


class InnerProducts:
    """Scores <x_i, y_j> + bias - space_weight * |p_i - q_j|.

    Args:
        x: Rows, (S, N, K).
        y: Targets, (S, M, K).
        step: Usual number of rows of a block.
        bias: Constant added to every score.
        bf16: On a CPU, multiply in bfloat16 where that is exact enough (see `CLOSE`). The result is rounded
            to bfloat16 too: since it is minus a distance, small distances stay precise. Other devices do not:
            to learn which rows are close, the host would have to wait for each block.
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
        self.bf16, self.space, self.space_weight = bf16 and on_cpu(x), space, space_weight
        self._factors: dict[tuple[int, torch.dtype, bool], Tensor] = {}

    def block(self, rows: Rows) -> Tensor:
        x = taken(self.x, rows)
        out = self._scores(x)
        if self.bf16:
            for sample, close in _close(out.amax(2)):
                out[sample, close] = self._product(sample, x[sample, close])
        if self.space is not None:
            out.sub_(self.space.euclidean(rows), alpha=self.space_weight)
        return out

    def pull(self, weights: Tensor, top: Tensor) -> Tensor:
        """Return `weights` (S, R, M) @ targets, (S, R, K); `top` (S, R, 1) has each row's largest score."""
        out = self._pull(weights, bf16=self.bf16)
        if self.bf16:
            for sample, close in _close(top[..., 0]):
                out[sample, close] = self._product(sample, weights[sample, close], pull=True)
        return out

    def total_score(self, rows: slice, weights: Tensor, pulled: Tensor, mass: Tensor) -> Tensor:
        """Return the sums of weights * scores, (S, R, 1).

        Args:
            rows: The rows, of all samples.
            weights: (S, R, M).
            pulled: Sums of weights * y, (S, R, K).
            mass: Sums of the weights, (S, R, 1).
        """
        out = (self.x[:, rows] * pulled).sum(2, keepdim=True).add_(mass, alpha=self.bias)
        if self.space is not None:
            away = self.space.euclidean(rows).mul(weights).sum(2, keepdim=True)
            out.sub_(away, alpha=self.space_weight)
        return out

    def backward(self, rows: Tensor, grad: Tensor, grad_x: Tensor | None, grad_y: Tensor | None) -> None:
        if grad_x is not None:
            index = rows[..., None].expand(-1, -1, grad_x.shape[2])
            grad_x.scatter_(1, index, self._pull(grad, bf16=False))
        if grad_y is not None:
            x = taken(self.x, rows)
            if on_cpu(grad):
                for sample, (of_scores, here) in enumerate(zip(grad, x, strict=True)):
                    grad_y[sample] += _times(of_scores.t(), here.t())
            else:
                grad_y.baddbmm_(grad.mT, x)

    def _scores(self, x: Tensor) -> Tensor:
        if on_cpu(x):
            return _stacked([self._product(s, one, bf16=self.bf16) for s, one in enumerate(x)])
        return torch.baddbmm(x.new_full((), self.bias), x, self.y.mT)

    def _pull(self, weights: Tensor, *, bf16: bool) -> Tensor:
        if on_cpu(weights):
            return _stacked([self._product(s, one, pull=True, bf16=bf16) for s, one in enumerate(weights)])
        return weights @ self.y

    def _product(self, sample: int, x: Tensor, *, pull: bool = False, bf16: bool = False) -> Tensor:
        """Return scores of x (R, K) without space, (R, M); or, to pull, x (R, M) @ targets, (R, K)."""
        dtype = torch.bfloat16 if bf16 else x.dtype
        key = (sample, dtype, pull)
        if key not in self._factors:
            y = (self.y[sample].t() if pull else self.y[sample]).to(dtype)
            self._factors[key] = _laid_out(y, self.step, products=self.x.shape[1] // self.step)
        bias = None if pull else x.new_full((self.y.shape[1],), self.bias, dtype=dtype)
        return _times(x.to(dtype), self._factors[key], bias).to(x.dtype)


class L1Distances:
    """Scores -sum |x_i - y_j|; slower, because they are not a matrix product.

    Args:
        x: Rows, (S, N, C).
        y: Targets, (S, M, C).
    """

    def __init__(self, x: Tensor, y: Tensor) -> None:
        self.x, self.y = x, y

    def block(self, rows: Rows) -> Tensor:
        return torch.cdist(taken(self.x, rows), self.y, p=1).neg_()

    def backward(self, rows: Tensor, grad: Tensor, grad_x: Tensor | None, grad_y: Tensor | None) -> None:
        # Channel by channel, because the gradient of torch.cdist adds in no fixed order on a GPU.
        x = taken(self.x, rows)
        of_x = torch.empty_like(x)
        for channel in range(x.shape[2]):
            signs = (x[..., channel, None] - self.y[:, None, :, channel]).sign_().mul_(grad)
            of_x[..., channel] = -signs.sum(2)
            if grad_y is not None:
                grad_y[..., channel] += signs.sum(1)
        if grad_x is not None:
            grad_x.scatter_(1, rows[..., None].expand_as(of_x), of_x)


def _stacked(parts: list[Tensor]) -> Tensor:
    return parts[0][None] if len(parts) == 1 else torch.stack(parts)


def _close(top: Tensor) -> list[tuple[int, Tensor]]:
    """Return sample and rows that need more than a bfloat16 product, by their largest score (S, R)."""
    found = ((sample, (one > -CLOSE).nonzero()[:, 0]) for sample, one in enumerate(top))
    return [(sample, rows) for sample, rows in found if len(rows)]


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
    return on_cpu(x) and x.dtype in _onednn_types()


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

"""Scores of the rows of some samples against all their targets, a block at a time: minus their distances.

S samples are computed at once, by one batched product. The whole score matrix is never in memory, unless it
is small. On a CPU, products of the rows of one sample run through oneDNN where it has kernels for the
processor: on processors of AMD, for few rows and many targets, its AVX-512 kernels are up to twice as fast as
the BLAS behind `torch.mm`. For small samples they are no faster, and would need one call for each.
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
    """Return `rows` of a contiguous (S, N, K), (S, R, K)."""
    if isinstance(rows, slice):
        return vectors[:, rows]
    samples, n = vectors.shape[:2]
    if samples > 1:  # an index of one axis is the fastest
        rows = rows + torch.arange(0, samples * n, n, device=rows.device)[:, None]
    return vectors.flatten(0, 1).index_select(0, rows.flatten()).unflatten(0, rows.shape)


def put_(out: Tensor, rows: Rows, vectors: Tensor) -> None:
    """Write vectors (S, R, K) into `rows` of (S, N, K)."""
    if isinstance(rows, slice):
        out[:, rows] = vectors
    else:
        out[torch.arange(len(out), device=out.device)[:, None], rows] = vectors


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
        self._factors: dict[tuple[torch.dtype, bool], Tensor] = {}

    def block(self, rows: Rows) -> Tensor:
        x = taken(self.x, rows)
        out = self._product(x, bf16=self.bf16)
        if self.bf16:
            for sample, close in _close(out.amax(2)):
                out[sample, close] = _times(x[sample, close], self.y[sample], self._bias(x.dtype))
        if self.space is not None:
            out.sub_(self.space.euclidean(rows), alpha=self.space_weight)
        return out

    def pull(self, weights: Tensor, top: Tensor) -> Tensor:
        """Return `weights` (S, R, M) @ targets, (S, R, K); `top` (S, R, 1) has each row's largest score."""
        out = self._product(weights, pull=True, bf16=self.bf16)
        if self.bf16:
            for sample, close in _close(top[..., 0]):
                out[sample, close] = _times(weights[sample, close], self.y[sample].t())
        return out

    def total_score(self, rows: Rows, weights: Tensor, pulled: Tensor, mass: Tensor) -> Tensor:
        """Return the sums of weights * scores, (S, R, 1).

        Args:
            rows: The rows, of all samples.
            weights: (S, R, M).
            pulled: Sums of weights * y, (S, R, K).
            mass: Sums of the weights, (S, R, 1).
        """
        out = torch.linalg.vecdot(taken(self.x, rows), pulled)[..., None].add_(mass, alpha=self.bias)
        if self.space is not None:
            away = self.space.euclidean(rows).mul(weights).sum(2, keepdim=True)
            out.sub_(away, alpha=self.space_weight)
        return out

    def backward(self, rows: Tensor, grad: Tensor, grad_x: Tensor | None, grad_y: Tensor | None) -> None:
        if grad_x is not None:
            put_(grad_x, rows, self._product(grad, pull=True))
        if grad_y is not None:
            x = taken(self.x, rows)
            if len(x) == 1:
                grad_y[0] += _times(grad[0].t(), x[0].t())
            else:
                grad_y.baddbmm_(grad.mT, x)

    def _product(self, x: Tensor, *, pull: bool = False, bf16: bool = False) -> Tensor:
        """Return scores of x (S, R, K) without space, (S, R, M); or, to pull, x (S, R, M) @ y, (S, R, K)."""
        dtype = torch.bfloat16 if bf16 else x.dtype
        if (dtype, pull) not in self._factors:
            # (M, K) of a single sample, for oneDNN has no batches of products.
            y = (self.y[0] if len(self.y) == 1 else self.y).to(dtype)
            factor = _laid_out(y.mT if pull else y, self.step, products=self.x.shape[1] // self.step)
            self._factors[dtype, pull] = factor
        bias = None if pull else self._bias(dtype)
        return _times(x.to(dtype), self._factors[dtype, pull], bias).to(x.dtype)

    def _bias(self, dtype: torch.dtype) -> Tensor:
        return self.y.new_full((self.y.shape[1],), self.bias, dtype=dtype)


class L1Distances:
    """Scores -sum |x_i - y_j|; slower, because they are not a matrix product.

    Args:
        x: Rows, (S, N, C).
        y: Targets, (S, M, C).
    """

    def __init__(self, x: Tensor, y: Tensor) -> None:
        self.x, self.y = x.contiguous(), y

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
            put_(grad_x, rows, of_x)


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
    if products < PRODUCTS_WORTH_A_LAYOUT or factor.ndim > 2 or not _onednn_serves(factor):
        return factor
    laid_out: Tensor = torch.ops.mkldnn._reorder_linear_weight(factor.contiguous(), rows)
    return laid_out


def _times(x: Tensor, factor: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return x (..., R, K) @ `factor` transposed + `bias`.

    `factor` is (M, K) and may come from `_laid_out`, or it is (S, M, K), one for each sample of x.
    """
    if factor.ndim > 2:
        return x @ factor.mT if bias is None else torch.baddbmm(bias, x, factor.mT)
    if not _onednn_serves(x):
        return functional.linear(x, factor, bias)
    out: Tensor = torch.ops.mkldnn._linear_pointwise(x, factor, bias, "none", [], "")
    return out

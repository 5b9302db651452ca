"""Contextual similarity as autograd sees it, its gradient written out.

With h, eps and p_ij as in `contextual_similarity`, a_i = 1 / (h (min_k d_ik + eps)), n the target nearest to
row i, W_i the columns whose maximum is in row i, and g = dL/dCX / M,

    dL/ds_ij = g a_i p_ij ([j in W_i] - q_i)                     for j other than n; q_i = sum_{j in W_i} p_ij
    dL/ds_in = -sum_{j != n} dL/ds_ij + h a_i sum_{j != n} dL/ds_ij (s_ij - s_in)

where the last term comes through the row's smallest distance: a row's scores may all be shifted, but
not stretched. Rows that hold no maximum have no gradient. Where s_ij = <x_i, y_j>, the gradient of x_i needs,
besides a few single targets, only sum_j p_ij y_j: the walk takes that sum while a block is in the cache,
and nothing is computed twice. The gradient of y, or of other scores, takes the blocks of the
winning rows once more.

Ties: of equal distances or affinities the first has the whole gradient, as with `torch.max(dim=...)`.
"""

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from srcx.losses.contextual_scores import InnerProducts, Scores
from srcx.losses.contextual_similarity import Best, Formula, RowStats, block_rows, row_max, sweep

__all__ = ["contextual_similarity"]


def contextual_similarity(x: Tensor, y: Tensor, formula: Formula) -> Tensor:
    """CX of each sample.

    Args:
        x: Rows, (B, N, K).
        y: Targets, (B, M, K).
        formula: How they are scored, and what else is fixed.

    Returns:
        (B,), above 0 and at most 1.
    """
    similarity: Tensor = _Similarity.apply(x, y, formula)
    return similarity


class _Similarity(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, formula: Formula) -> Tensor:
        x_wanted, y_wanted, _ = ctx.needs_input_grad
        step = block_rows(x[0], y[0])
        inner = isinstance(formula.scores(x[0], y[0], step), InnerProducts)
        stats, best = RowStats.empty(x, with_others=inner and x_wanted and not y_wanted), Best.empty(y)
        with _without_autocast(x):
            for b in range(len(x)):
                sweep(formula.scores(x[b], y[b], step), formula, step, stats.of(b), best.of(b))
        ctx.save_for_backward(x, y, *best, *stats)
        ctx.formula, ctx.step = formula, step
        return best.peak.mean(1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, y, *rest = ctx.saved_tensors
        best, stats = Best(*rest[: len(Best._fields)]), RowStats(*rest[len(Best._fields) :])
        formula, step = ctx.formula, ctx.step
        x_wanted, y_wanted, _ = ctx.needs_input_grad
        grad_x, grad_y = (torch.zeros_like(z) if want else None for z, want in ((x, x_wanted), (y, y_wanted)))
        g = grad / y.shape[1]
        with _without_autocast(x):
            for b in range(len(x)):
                if grad_x is not None and stats.nearest.numel():
                    _from_others(best.of(b), stats.of(b), formula, g[b], y[b], grad_x[b])
                    continue
                scores = formula.scores(x[b], y[b], step)
                for rows, of_scores in _from_blocks(best.of(b), stats.of(b), formula, g[b], scores, step):
                    scores.backward(rows, of_scores, *(z if z is None else z[b] for z in (grad_x, grad_y)))
        return grad_x, grad_y, None


class Terms(NamedTuple):
    """The gradient of the scores of R rows, W columns of which have their maximum there."""

    won: Tensor  # (W,) what the score behind that maximum gets, if it is not the row's nearest: else 0
    spread: Tensor  # (R, 1) times p_ij: what all scores but the nearest get
    nearest: Tensor  # (R, 1) what the score of the nearest gets


def _terms(row: Tensor, columns: Tensor, p: Tensor, stats: RowStats, formula: Formula, g: Tensor) -> Terms:
    """From the `columns` (W,) with their maximum in these rows, the `row` of each, and the features' p_ij."""
    a = stats.slope * math.log(2)

    def by_row(values: Tensor) -> Tensor:
        return torch.zeros_like(a[:, 0]).index_add_(0, row, values)[:, None]

    other = columns != stats.nearest[row, 0]
    exponent = (p.clamp_min(torch.finfo(p.dtype).tiny) * stats.total[row, 0] / formula.share).log2()
    p = p * other
    won, nearest_won = by_row(p), by_row((~other).to(p.dtype)) * formula.share
    q = won + nearest_won / stats.total
    # 1 - q and the like are small where one target has nearly all: they are summed up from small parts.
    shift = (nearest_won * stats.others - won) / stats.total
    stretch = by_row(p * exponent) / stats.slope - q * stats.others_score
    return Terms(g * a[row, 0] * p, -g * a * q, g * a * (shift + formula.bandwidth * a * stretch))


def _from_others(best: Best, stats: RowStats, formula: Formula, g: Tensor, y: Tensor, grad_x: Tensor) -> None:
    """Write the gradient of x, from sums taken in the walk, into `grad_x` (N, K)."""
    terms = _terms(best.row, torch.arange(len(y), device=y.device), best.p, stats, formula, g)
    torch.mul(stats.others_y, terms.spread, out=grad_x)
    grad_x.index_add_(0, best.row, y * terms.won[:, None])
    grad_x += y[stats.nearest[:, 0]].mul_(terms.nearest)


def _from_blocks(
    best: Best, stats: RowStats, formula: Formula, g: Tensor, scores: Scores, step: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """The rows that hold a maximum, some (R,) at a time, and the gradient of their scores (R, M)."""
    winning, place = best.row.unique(return_inverse=True)
    sizes = torch.bincount(place // step).tolist()
    for rows, columns in zip(winning.split(step), place.argsort().split(sizes), strict=True):
        block = scores.block(rows)
        nearest = torch.empty_like(rows)[:, None]
        row_max(block, nearest)
        top, slope, total = stats.top[rows], stats.slope[rows], stats.total[rows]
        p = block.sub_(top).mul(slope).exp2_().div_(total).scatter_(1, nearest, 0)
        others, others_score = (sums.sum(1, keepdim=True) for sums in (p, block.mul_(p)))
        part = RowStats(top, slope, total, nearest, others, block[:0], others_score)
        row = torch.searchsorted(rows, best.row[columns])
        terms = _terms(row, columns, best.p[columns], part, formula, g)
        grad = p.mul_(terms.spread)
        grad[row, columns] += terms.won
        yield rows, grad.scatter_(1, nearest, terms.nearest)


def _without_autocast(x: Tensor) -> AbstractContextManager[None]:
    """The formula is computed in the type of its tensors."""
    device = x.device.type
    return torch.autocast(device, enabled=False) if torch.amp.is_autocast_available(device) else nullcontext()

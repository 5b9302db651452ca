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
from srcx.losses.contextual_similarity import (
    Best,
    Formula,
    Plan,
    RowStats,
    Winners,
    find_winners,
    row_max,
    sweep,
)

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
        plan = Plan.of(x[0], y[0])
        inner = isinstance(formula.scores(x[0], y[0], plan.block), InnerProducts)
        stats, best = RowStats.empty(x, with_others=inner and x_wanted and not y_wanted), Best.empty(y)
        with _without_autocast(x):
            for b in range(len(x)):
                sweep(formula.scores(x[b], y[b], plan.block), formula, plan, stats.of(b), best.of(b))
        ctx.save_for_backward(x, y, *best, *stats)
        ctx.formula, ctx.plan = formula, plan
        return best.peak.mean(1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, y, peak, group, *rest = ctx.saved_tensors
        best, stats = Best(peak, group), RowStats(*rest)
        formula, plan = ctx.formula, ctx.plan
        x_wanted, y_wanted, _ = ctx.needs_input_grad
        grad_x, grad_y = (torch.zeros_like(z) if want else None for z, want in ((x, x_wanted), (y, y_wanted)))
        with _without_autocast(x):
            for b in range(len(x)):
                scores = formula.scores(x[b], y[b], plan.block)
                winners = find_winners(scores, formula, plan, stats.of(b), best.of(b))
                g = grad[b] * formula.share / y.shape[1]
                if grad_x is not None and stats.nearest.numel():
                    _from_others(winners, stats.of(b), formula, g, y[b], grad_x[b])
                    continue
                for rows, of_scores in _from_blocks(winners, stats.of(b), formula, g, scores, plan.block):
                    scores.backward(rows, of_scores, *(z if z is None else z[b] for z in (grad_x, grad_y)))
        return grad_x, grad_y, None


class Terms(NamedTuple):
    """The gradient of the scores of R rows, W columns of which have their maximum there."""

    won: Tensor  # (W,) what the score behind that maximum gets, if it is not the row's nearest: else 0
    spread: Tensor  # (R, 1) times p_ij: what all scores but the nearest get
    nearest: Tensor  # (R, 1) what the score of the nearest gets


def _terms(winners: Winners, columns: Tensor, stats: RowStats, formula: Formula, g: Tensor) -> Terms:
    """From the `winners` of `columns` (W,), numbered like the rows of `stats`."""
    row, a = winners.row, stats.slope * math.log(2)

    def by_row(values: Tensor) -> Tensor:
        return torch.zeros_like(a[:, 0]).index_add_(0, row, values)[:, None]

    other = columns != stats.nearest[row, 0]
    p = winners.exponent.exp2().div_(stats.total[row, 0]).mul_(other)
    won = by_row(p)
    nearest_won = by_row((~other).to(p.dtype))
    q = won + nearest_won / stats.total
    # 1 - q and the like are small where one target has nearly all: they are summed up from small parts.
    shift = (nearest_won * stats.others - won) / stats.total
    stretch = by_row(p * winners.exponent) / stats.slope - q * stats.others_score
    return Terms(g * a[row, 0] * p, -g * a * q, g * a * (shift + formula.bandwidth * a * stretch))


def _from_others(
    winners: Winners, stats: RowStats, formula: Formula, g: Tensor, y: Tensor, grad_x: Tensor
) -> None:
    """Write the gradient of x, from sums taken in the walk, into `grad_x` (N, K)."""
    terms = _terms(winners, torch.arange(len(y), device=y.device), stats, formula, g)
    torch.mul(stats.others_y, terms.spread, out=grad_x)
    grad_x.index_add_(0, winners.row, y * terms.won[:, None])
    grad_x += y[stats.nearest[:, 0]].mul_(terms.nearest)


def _from_blocks(
    winners: Winners, stats: RowStats, formula: Formula, g: Tensor, scores: Scores, step: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """The winning rows, some (R,) at a time, and the gradient of their scores (R, M)."""
    winning, place = winners.row.unique(return_inverse=True)
    sizes = torch.bincount(place // step).tolist()
    for rows, columns in zip(winning.split(step), place.argsort().split(sizes), strict=True):
        block = scores.block(rows)
        nearest = torch.empty_like(rows)[:, None]
        row_max(block, nearest)
        top, slope, total = stats.top[rows], stats.slope[rows], stats.total[rows]
        p = block.sub_(top).mul(slope).exp2_().div_(total).scatter_(1, nearest, 0)
        others, others_score = (sums.sum(1, keepdim=True) for sums in (p, block.mul_(p)))
        here = Winners(torch.searchsorted(rows, winners.row[columns]), winners.exponent[columns])
        part = RowStats(top, slope, total, nearest, others, block[:0], others_score)
        terms = _terms(here, columns, part, formula, g)
        grad = p.mul_(terms.spread)
        grad[here.row, columns] += terms.won
        yield rows, grad.scatter_(1, nearest, terms.nearest)


def _without_autocast(x: Tensor) -> AbstractContextManager[None]:
    """The formula is computed in the type of its tensors."""
    device = x.device.type
    return torch.autocast(device, enabled=False) if torch.amp.is_autocast_available(device) else nullcontext()

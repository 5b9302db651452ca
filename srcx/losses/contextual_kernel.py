"""Contextual similarity of rows x to targets y and its gradient: exact, in memory linear in their number.

For scores s_ij = -d_ij, from `contextual_scores`,

    w_ij = exp((1 - d_ij / (min_k d_ik + eps)) / h)      p_ij = w_ij / sum_k w_ik
    CX   = mean_j max_i p_ij

Forward: the rows are processed in blocks. Each block gives its scores, their softmax, and an update of the
column maxima. Only the M maxima and the rows that hold them are stored.

Backward: with a_i = 1 / (h (min_k d_ik + eps)), n the target nearest to row i, W_i the columns whose maximum
is in row i, and g = dL/dCX / M,

    dL/ds_ij = g a_i p_ij ([j in W_i] - q_i)                     for j other than n; q_i = sum_{j in W_i} p_ij
    dL/ds_in = -sum_{j != n} dL/ds_ij + h a_i sum_{j != n} dL/ds_ij (s_ij - s_in)

where the last term comes from the row's smallest distance: a row's scores may all be shifted, but not
scaled. Rows that hold no maximum have no gradient. Where s_ij = <x_i, y_j>, the gradient of x_i needs,
besides a few single targets, only sum_j p_ij y_j: the forward pass sums it while a block is in the CPU's
cache, and nothing is computed twice. The gradient of y, or of other scores, computes the blocks of the rows
that hold maxima once more.

Masks: a masked target is `FAR` from all rows, so it is nobody's nearest and has no affinity. A masked row
gets affinities below all others, so it holds no maximum. The mean is over the targets that count.

Ties: of equal distances or affinities the first has the whole gradient, as with `torch.max(dim=...)`.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from srcx.losses.contextual_scores import InnerProducts, Rows, Scores, Space

__all__ = ["Formula", "Prior", "contextual_similarity"]

# A block's scores should fit a CPU's shared cache; a GPU is faster with larger blocks, limited by memory.
BLOCK_MIB = 4
BLOCK_MIB_GPU = 128
LEAST_ROWS = 32  # matrix products of fewer rows are slow
# `torch.max` with indices is ten times slower than without. So we take maxima of chunks of a row, or of
# groups of rows, and search for the index only in the first chunk or group that has the maximum.
CHUNK = 64
GROUP = 32
FAR = -1e30  # score of a masked target: its affinity is 0, and products with it stay finite


class Prior(NamedTuple):
    """Spatial affinities, mixed into those of the features: (1 - weight) * features + weight * space."""

    space: Space
    weight: float


@dataclass(frozen=True)
class Formula:
    """The scores and the constants of the formula."""

    scores: Callable[[Tensor, Tensor, int], Scores]  # of rows (N, K), targets (M, K), and rows per block
    bandwidth: float  # h
    eps: float
    prior: Prior | None = None

    @property
    def share(self) -> float:
        """Weight of the features' affinities beside the prior's."""
        return 1.0 if self.prior is None else 1 - self.prior.weight

    def slope(self, top: Tensor) -> Tensor:
        """Return log2(e) / (h (d + eps)) of rows whose smallest distance d is -`top`."""
        # Rounding can make the distance of a vector to itself negative.
        return top.neg().clamp_min_(0).add_(self.eps).mul_(self.bandwidth * math.log(2)).reciprocal_()

    def prior_affinities(self, rows: Rows, hidden: Tensor | None) -> Tensor | None:
        """Return the weighted affinities of the prior for `rows`, (R, M), or None without a prior.

        Targets that are `hidden` (M,) have none.
        """
        if self.prior is None:
            return None
        scores = _without(self.prior.space.squared(rows).neg_(), hidden)
        top = scores.amax(1, keepdim=True)
        affinities = _affinities_(scores, top, self.slope(top))
        return affinities.mul_(self.prior.weight / affinities.sum(1, keepdim=True))


def contextual_similarity(
    x: Tensor, y: Tensor, formula: Formula, x_mask: Tensor | None = None, y_mask: Tensor | None = None
) -> Tensor:
    """Return CX of each sample, with a gradient for x and y.

    Args:
        x: Rows, (B, N, K).
        y: Targets, (B, M, K).
        formula: Their scores, and the constants.
        x_mask: True for the rows that count, (B, N); None for all.
        y_mask: True for the targets that count, (B, M); None for all.

    Returns:
        (B,), above 0 and at most 1; 1, without a gradient, where no row or no target counts.
    """
    similarity: Tensor = _Similarity.apply(x, y, formula, x_mask, y_mask)
    for mask in (x_mask, y_mask):
        if mask is not None:
            similarity = similarity.where(mask.any(1), 1)
    return similarity


class _RowStats(NamedTuple):
    """Per-row softmax statistics for the backward pass; p_ij is proportional to 2^(slope (s_ij - top))."""

    top: Tensor  # (N, 1) largest score
    slope: Tensor  # (N, 1)
    total: Tensor  # (N, 1) sum of these powers, at least 1
    # Filled if only x needs a gradient and the scores are inner products, else of length 0:
    nearest: Tensor  # (N, 1) target with the largest score
    others: Tensor  # (N, 1) sum of p_ij over the other targets
    others_y: Tensor  # (N, K) sum of p_ij y_j over them
    others_score: Tensor  # (N, 1) sum of p_ij (s_ij - top) over them

    @classmethod
    def empty(cls, x: Tensor, *, with_others: bool) -> "_RowStats":
        """Return uninitialised statistics of the rows x, (B, N, K)."""
        batch, n, k = x.shape
        m = n if with_others else 0
        top, slope, total = (x.new_empty(batch, n, 1) for _ in range(3))
        nearest = torch.empty(batch, m, 1, dtype=torch.long, device=x.device)
        others, others_y, others_score = (x.new_empty(batch, m, width) for width in (1, k, 1))
        return cls(top, slope, total, nearest, others, others_y, others_score)

    def of(self, sample: int) -> "_RowStats":
        """Return a view of one sample of a batch."""
        return _RowStats(*(tensor[sample] for tensor in self))


class _Best(NamedTuple):
    """The column maxima of all blocks so far."""

    peak: Tensor  # (M,) largest p_ij, with the prior
    row: Tensor  # (M,) index of its row
    p: Tensor  # (M,) its part without the prior

    @classmethod
    def empty(cls, y: Tensor) -> "_Best":
        """Return the maxima before the first block, for the targets y, (B, M, K)."""
        columns = y.shape[:-1]
        row = torch.zeros(columns, dtype=torch.long, device=y.device)
        return cls(y.new_full(columns, -1), row, y.new_zeros(columns))

    def of(self, sample: int) -> "_Best":
        """Return a view of one sample of a batch."""
        return _Best(*(tensor[sample] for tensor in self))

    def update(self, affinities: Tensor, prior: Tensor | None, start: int, hidden: Tensor | None) -> None:
        """Add a block, the rows from `start`: affinities of the features and of the prior, both (R, M).

        Rows that are `hidden` (R,) hold no maximum.
        """
        mixed = affinities if prior is None else affinities + prior
        if hidden is not None:
            mixed.masked_fill_(hidden[:, None], -1)
        peak, first, length = _column_max(mixed)
        better = (peak > self.peak).nonzero()[:, 0]  # of equal ones the first stays
        torch.maximum(peak, self.peak, out=self.peak)  # preserves NaN
        first = first[better]
        candidates = first[:, None] + torch.arange(length, device=first.device)
        row = first + mixed[candidates, better[:, None]].argmax(1)
        self.row[better], self.p[better] = row + start, affinities[row, better]


class _Similarity(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, y: Tensor, formula: Formula, x_mask: Tensor | None, y_mask: Tensor | None
    ) -> Tensor:
        x_wanted, y_wanted, *_ = ctx.needs_input_grad
        budget = (BLOCK_MIB if x.device.type == "cpu" else BLOCK_MIB_GPU) * 2**20
        step = max(budget // (y.shape[1] * x.element_size()), LEAST_ROWS)  # rows per block
        inner = isinstance(formula.scores(x[0], y[0], step), InnerProducts)
        stats, best = _RowStats.empty(x, with_others=inner and x_wanted and not y_wanted), _Best.empty(y)
        with _without_autocast(x):
            for b in range(len(x)):
                hidden = _hidden(x_mask, b), _hidden(y_mask, b)
                _forward(formula.scores(x[b], y[b], step), formula, step, stats.of(b), best.of(b), *hidden)
        ctx.save_for_backward(x, y, y_mask, *best, *stats)
        ctx.formula, ctx.step = formula, step
        if y_mask is None:
            return best.peak.mean(1)
        return best.peak.mul(y_mask).sum(1) / _count(y_mask)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        x, y, y_mask, *rest = ctx.saved_tensors
        best, stats = _Best(*rest[: len(_Best._fields)]), _RowStats(*rest[len(_Best._fields) :])
        formula, step = ctx.formula, ctx.step
        x_wanted, y_wanted, *_ = ctx.needs_input_grad
        grad_x, grad_y = (torch.zeros_like(z) if want else None for z, want in ((x, x_wanted), (y, y_wanted)))
        g = grad / (y.shape[1] if y_mask is None else _count(y_mask))
        with _without_autocast(x):
            for b in range(len(x)):
                if grad_x is not None and stats.nearest.numel():
                    _backward_from_stats(best.of(b), stats.of(b), formula, g[b], y[b], grad_x[b])
                    continue
                scores = formula.scores(x[b], y[b], step)
                blocks = _backward_blocks(
                    best.of(b), stats.of(b), formula, g[b], scores, step, _hidden(y_mask, b)
                )
                for rows, of_scores in blocks:
                    scores.backward(rows, of_scores, *(z if z is None else z[b] for z in (grad_x, grad_y)))
        return grad_x, grad_y, None, None, None


def _count(mask: Tensor) -> Tensor:
    """Return how many count in each sample, (B,); 1 for none, which avoids a division by 0."""
    return mask.sum(1).clamp_min(1)


def _hidden(mask: Tensor | None, sample: int) -> Tensor | None:
    """Return True for what does not count in a sample, or None if all does."""
    return None if mask is None else ~mask[sample]


def _without(scores: Tensor, hidden: Tensor | None) -> Tensor:
    """Move the hidden targets (M,) of scores (R, M) away, in place."""
    return scores if hidden is None else scores.masked_fill_(hidden, FAR)


def _forward(
    scores: Scores,
    formula: Formula,
    step: int,
    stats: _RowStats,
    best: _Best,
    hidden_rows: Tensor | None,
    hidden: Tensor | None,
) -> None:
    """Compute all rows of one sample, `step` at a time; write `stats` and the column maxima `best`."""
    n = len(stats.top)
    for start in range(0, n, step):
        rows = slice(start, min(start + step, n))
        block = _without(scores.block(rows), hidden)
        top = _row_max(block, stats.nearest[rows]) if len(stats.nearest) else block.amax(1, keepdim=True)
        slope = formula.slope(top)
        affinities = _affinities_(block, top, slope)
        if len(stats.nearest):
            assert isinstance(scores, InnerProducts)
            # The targets that are not nearest may have far less together than the rounding error of 1, which
            # is the affinity of the nearest. They are summed without it, so nothing of them is lost.
            nearest = stats.nearest[rows]
            affinities.scatter_(1, nearest, 0)
            mass = affinities.sum(1, keepdim=True)
            total = mass + 1
            pulled = scores.pull(affinities, top)
            score = scores.total_score(rows, affinities, pulled, mass) - mass * top
            stats.others[rows], stats.others_score[rows] = mass / total, score / total
            torch.div(pulled, total, out=stats.others_y[rows])
            affinities.scatter_(1, nearest, 1)
        else:
            total = affinities.sum(1, keepdim=True)
        stats.top[rows], stats.slope[rows], stats.total[rows] = top, slope, total
        affinities.mul_(formula.share / total)
        hidden_here = None if hidden_rows is None else hidden_rows[rows]
        best.update(affinities, formula.prior_affinities(rows, hidden), start, hidden_here)


class _Terms(NamedTuple):
    """The gradient of the scores of R rows that hold the maxima of W columns."""

    won: Tensor  # (W,) gradient of the score behind that maximum; 0 if it is the row's nearest
    spread: Tensor  # (R, 1) times p_ij: gradient of all scores but the nearest
    nearest: Tensor  # (R, 1) gradient of the score of the nearest


def _terms(row: Tensor, columns: Tensor, p: Tensor, stats: _RowStats, formula: Formula, g: Tensor) -> _Terms:
    """Return the terms for the `columns` (W,), the `row` that holds each maximum, and the features' p_ij."""
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
    return _Terms(g * a[row, 0] * p, -g * a * q, g * a * (shift + formula.bandwidth * a * stretch))


def _backward_from_stats(
    best: _Best, stats: _RowStats, formula: Formula, g: Tensor, y: Tensor, grad_x: Tensor
) -> None:
    """Write the gradient of x, from the sums of the forward pass, into `grad_x` (N, K)."""
    terms = _terms(best.row, torch.arange(len(y), device=y.device), best.p, stats, formula, g)
    torch.mul(stats.others_y, terms.spread, out=grad_x)
    grad_x.index_add_(0, best.row, y * terms.won[:, None])
    grad_x += y[stats.nearest[:, 0]].mul_(terms.nearest)


def _backward_blocks(
    best: _Best,
    stats: _RowStats,
    formula: Formula,
    g: Tensor,
    scores: Scores,
    step: int,
    hidden: Tensor | None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the rows that hold a maximum, (R,) at a time, and the gradient of their scores (R, M)."""
    winning, place = best.row.unique(return_inverse=True)
    sizes = torch.bincount(place // step).tolist()
    for rows, columns in zip(winning.split(step), place.argsort().split(sizes), strict=True):
        block = _without(scores.block(rows), hidden)
        nearest = torch.empty_like(rows)[:, None]
        _row_max(block, nearest)
        top, slope, total = stats.top[rows], stats.slope[rows], stats.total[rows]
        p = block.sub_(top).mul(slope).exp2_().div_(total).scatter_(1, nearest, 0)
        others, others_score = (sums.sum(1, keepdim=True) for sums in (p, block.mul_(p)))
        part = _RowStats(top, slope, total, nearest, others, block[:0], others_score)
        row = torch.searchsorted(rows, best.row[columns])
        terms = _terms(row, columns, best.p[columns], part, formula, g)
        grad = p.mul_(terms.spread)
        grad[row, columns] += terms.won
        yield rows, grad.scatter_(1, nearest, terms.nearest)


def _affinities_(scores: Tensor, top: Tensor, slope: Tensor) -> Tensor:
    """Return 2^(slope (scores - top)), computed in place."""
    # Subtract first: slope is up to 1e6 where two vectors are equal, and would magnify the rounding error.
    # exp2, because exp is four times slower in torch on a CPU.
    return scores.sub_(top).mul_(slope).exp2_()


def _row_max(scores: Tensor, where: Tensor) -> Tensor:
    """Return the maximum of each row, (R, 1), and write its first column into `where` (R, 1)."""
    columns = scores.shape[1]
    if columns < 2 * CHUNK:
        top, where[:] = scores.max(1, keepdim=True)
        return top
    whole = columns // CHUNK * CHUNK
    of_chunks = scores[:, :whole].unflatten(1, (-1, CHUNK)).amax(2)
    if whole < columns:
        of_chunks = torch.cat([of_chunks, scores[:, whole:].amax(1, keepdim=True)], 1)
    top, chunk = of_chunks.max(1, keepdim=True)
    # The last chunk may overlap the one before: a maximum in both was found in that one.
    start = (chunk * CHUNK).clamp_max_(columns - CHUNK)
    candidates = scores.gather(1, start + torch.arange(CHUNK, device=scores.device))
    where[:] = start + candidates.argmax(1, keepdim=True)
    return top


def _column_max(affinities: Tensor) -> tuple[Tensor, Tensor, int]:
    """Return the maximum of each column of (R, M), the first row of the group that has it, and its length."""
    rows = len(affinities)
    if rows <= GROUP:
        return affinities.amax(0), affinities.new_zeros(affinities.shape[1], dtype=torch.long), rows
    whole = rows // GROUP * GROUP
    of_groups = affinities[:whole].unflatten(0, (-1, GROUP)).amax(1)
    if whole < rows:
        of_groups = torch.cat([of_groups, affinities[whole:].amax(0, keepdim=True)])
    peak, group = of_groups.max(0)
    # The last group may overlap the one before: a maximum in both was found in that one.
    return peak, (group * GROUP).clamp_max_(rows - GROUP), GROUP


def _without_autocast(x: Tensor) -> AbstractContextManager[None]:
    """Return a context in which the formula is computed in the type of its tensors."""
    device = x.device.type
    return torch.autocast(device, enabled=False) if torch.amp.is_autocast_available(device) else nullcontext()

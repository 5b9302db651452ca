"""Contextual similarity of rows x to targets y: exact, in memory linear in their number.

For scores s_ij = -d_ij, made by `contextual_scores`,

    w_ij = exp((1 - d_ij / (min_k d_ik + eps)) / h)      p_ij = w_ij / sum_k w_ik
    CX   = mean_j max_i p_ij

The rows are walked through in blocks: a block's scores, their softmax, and the best of each column so
far. Of a block only the M maxima and the rows they came from are kept. `contextual_gradient` goes back from
there.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from srcx.losses.contextual_scores import InnerProducts, Rows, Scores, Space

__all__ = ["Best", "Formula", "Prior", "RowStats", "block_rows", "row_max", "sweep"]

# A block's scores should stay in a CPU's shared cache; a GPU wants many at a time, and memory is the bound.
BLOCK_MIB = 4
BLOCK_MIB_GPU = 128
LEAST_ROWS = 32  # fewer do not fill the kernels of a product
# `torch.max` with indices is ten times slower than without. So maxima are taken of chunks of a row, or of
# groups of rows, and the place is looked for in the first that has it.
CHUNK = 64
GROUP = 32


class Prior(NamedTuple):
    """Affinities in space, mixed into those of features: (1 - weight) * features + weight * space."""

    space: Space
    weight: float


@dataclass(frozen=True)
class Formula:
    """What is fixed in the formula."""

    scores: Callable[[Tensor, Tensor, int], Scores]  # of rows (N, K) and targets (M, K), some rows at a time
    bandwidth: float  # h
    eps: float
    prior: Prior | None = None

    @property
    def share(self) -> float:
        """What the features' affinities count beside the prior's."""
        return 1.0 if self.prior is None else 1 - self.prior.weight

    def slope(self, top: Tensor) -> Tensor:
        """log2(e) / (h (d + eps)) of rows whose smallest distance d is -`top`."""
        # Round-off can make the distance of a vector to itself negative.
        return top.neg().clamp_min_(0).add_(self.eps).mul_(self.bandwidth * math.log(2)).reciprocal_()

    def prior_affinities(self, rows: Rows) -> Tensor | None:
        """What the prior adds to the affinities of `rows`, (R, M)."""
        if self.prior is None:
            return None
        scores = self.prior.space.squared(rows).neg_()
        top = scores.amax(1, keepdim=True)
        affinities = _affinities_(scores, top, self.slope(top))
        return affinities.mul_(self.prior.weight / affinities.sum(1, keepdim=True))


def block_rows(x: Tensor, y: Tensor) -> int:
    """How many of the rows x (N, K) to take at a time against the targets y (M, K)."""
    budget = (BLOCK_MIB if x.device.type == "cpu" else BLOCK_MIB_GPU) * 2**20
    return max(budget // (len(y) * x.element_size()), LEAST_ROWS)


class RowStats(NamedTuple):
    """What is known of each row once it was walked over; p_ij is proportional to 2^(slope (s_ij - top))."""

    top: Tensor  # (N, 1) largest score
    slope: Tensor  # (N, 1)
    total: Tensor  # (N, 1) sum of these powers, at least 1
    # Filled where the gradient of x alone is wanted and the scores are inner products, else of length 0:
    nearest: Tensor  # (N, 1) target with the largest score
    others: Tensor  # (N, 1) sum of p_ij over the other targets
    others_y: Tensor  # (N, K) sum of p_ij y_j over them
    others_score: Tensor  # (N, 1) sum of p_ij (s_ij - top) over them

    @classmethod
    def empty(cls, x: Tensor, *, with_others: bool) -> "RowStats":
        """Room for the rows x, (N, K) or (B, N, K)."""
        *batch, n, k = x.shape
        m = n if with_others else 0
        top, slope, total = (x.new_empty(*batch, n, 1) for _ in range(3))
        nearest = torch.empty(*batch, m, 1, dtype=torch.long, device=x.device)
        others, others_y, others_score = (x.new_empty(*batch, m, width) for width in (1, k, 1))
        return cls(top, slope, total, nearest, others, others_y, others_score)

    def of(self, sample: int) -> "RowStats":
        """A view of one sample of a batch."""
        return RowStats(*(tensor[sample] for tensor in self))


class Best(NamedTuple):
    """The maxima of the columns so far."""

    peak: Tensor  # (M,) largest p_ij, the prior's included
    row: Tensor  # (M,) the row that has it
    p: Tensor  # (M,) the features' part of it

    @classmethod
    def empty(cls, y: Tensor) -> "Best":
        """Nothing yet, for the targets y, (M, K) or (B, M, K)."""
        columns = y.shape[:-1]
        row = torch.zeros(columns, dtype=torch.long, device=y.device)
        return cls(y.new_full(columns, -1), row, y.new_zeros(columns))

    def of(self, sample: int) -> "Best":
        """A view of one sample of a batch."""
        return Best(*(tensor[sample] for tensor in self))

    def update(self, affinities: Tensor, prior: Tensor | None, start: int) -> None:
        """Take in a block, the rows from `start`: affinities of features and of the prior, both (R, M)."""
        mixed = affinities if prior is None else affinities + prior
        peak, first, length = _column_max(mixed)
        better = (peak > self.peak).nonzero()[:, 0]  # of equal ones the first stays
        torch.maximum(peak, self.peak, out=self.peak)  # lets a NaN through
        first = first[better]
        candidates = first[:, None] + torch.arange(length, device=first.device)
        row = first + mixed[candidates, better[:, None]].argmax(1)
        self.row[better], self.p[better] = row + start, affinities[row, better]


def _column_max(affinities: Tensor) -> tuple[Tensor, Tensor, int]:
    """The maximum of each column of (R, M); the first row of the group that has it; such a group's length."""
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


def sweep(scores: Scores, formula: Formula, step: int, stats: RowStats, best: Best) -> None:
    """Walk over all rows of one sample and leave in `stats` and `best` what is to be known of them."""
    n = len(stats.top)
    for start in range(0, n, step):
        rows = slice(start, min(start + step, n))
        block = scores.block(rows)
        top = row_max(block, stats.nearest[rows]) if len(stats.nearest) else block.amax(1, keepdim=True)
        slope = formula.slope(top)
        affinities = _affinities_(block, top, slope)
        if len(stats.nearest):
            assert isinstance(scores, InnerProducts)
            total = _others(scores, rows, affinities, top, stats)
        else:
            total = affinities.sum(1, keepdim=True)
        stats.top[rows], stats.slope[rows], stats.total[rows] = top, slope, total
        best.update(affinities.mul_(formula.share / total), formula.prior_affinities(rows), start)


def _others(scores: InnerProducts, rows: slice, affinities: Tensor, top: Tensor, stats: RowStats) -> Tensor:
    """Sum up the targets that are not nearest; returns the total with the nearest, whose affinity is 1.

    The others may have far less together than the rounding of 1: apart from it, nothing of it is lost.
    """
    nearest = stats.nearest[rows]
    affinities.scatter_(1, nearest, 0)
    mass = affinities.sum(1, keepdim=True)
    total = mass + 1
    pulled = scores.pull(affinities, top)
    score = scores.total_score(rows, affinities, pulled, mass) - mass * top
    stats.others[rows], stats.others_score[rows] = mass / total, score / total
    torch.div(pulled, total, out=stats.others_y[rows])
    affinities.scatter_(1, nearest, 1)
    return total


def row_max(scores: Tensor, where: Tensor) -> Tensor:
    """The maximum of each row, (R, 1); its first column goes into `where` (R, 1)."""
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


def _affinities_(scores: Tensor, top: Tensor, slope: Tensor) -> Tensor:
    """2^(slope (scores - top)), in place."""
    # The difference first: slope reaches 1e6 where two vectors are equal, and would magnify the round-off.
    # And exp2, not exp, which in torch is four times slower on a CPU.
    return scores.sub_(top).mul_(slope).exp2_()

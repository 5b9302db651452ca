"""Contextual similarity of rows x to targets y: exact, in memory linear in their number.

For scores s_ij = -d_ij, made by `contextual_scores`,

    w_ij = exp((1 - d_ij / (min_k d_ik + eps)) / h)      p_ij = w_ij / sum_k w_ik
    CX   = mean_j max_i p_ij

The rows are walked through in blocks: a block's scores, their softmax, and the best of each column so
far. Of a block only the M maxima and where they came from are kept, down to a group of rows; which row of
the group it was is found afterwards, from a few scores. `contextual_gradient` goes back from there.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from srcx.losses.contextual_scores import InnerProducts, Rows, Scores, Space

__all__ = ["Best", "Formula", "Plan", "Prior", "RowStats", "Winners", "find_winners", "row_max", "sweep"]

# A block's scores should stay in a CPU's shared cache; a GPU wants many at a time, and memory is the bound.
BLOCK_MIB = 6
BLOCK_MIB_GPU = 128
LEAST_ROWS = 32  # fewer do not fill the kernels of a product
CHUNK = 64  # scores whose maximum is taken together on the way to a row's


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
        """What the features' affinities count."""
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


class Plan(NamedTuple):
    """How many rows are taken at a time."""

    block: int  # in the walk: whole groups
    group: int  # in the search for the row behind a maximum

    @classmethod
    def of(cls, x: Tensor, y: Tensor) -> "Plan":
        """The plan for rows x (N, K) and targets y (M, K)."""
        budget = (BLOCK_MIB if x.device.type == "cpu" else BLOCK_MIB_GPU) * 2**20
        fitting = max(budget // (len(y) * x.element_size()), LEAST_ROWS)
        # The search takes the scores of one group once more: that should be a small part of all rows.
        group = min(fitting, max(-(-len(x) // 4), LEAST_ROWS))
        return cls(fitting // group * group, group)


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

    peak: Tensor  # (M,) largest p_ij
    group: Tensor  # (M,) number of the group of rows that has it

    @classmethod
    def empty(cls, y: Tensor) -> "Best":
        """Nothing yet, for the targets y, (M, K) or (B, M, K)."""
        return cls(y.new_full(y.shape[:-1], -1), torch.zeros(y.shape[:-1], dtype=torch.long, device=y.device))

    def of(self, sample: int) -> "Best":
        """A view of one sample of a batch."""
        return Best(self.peak[sample], self.group[sample])

    def update(self, affinities: Tensor, first_group: int, group: int) -> None:
        """Take in the `affinities` (R, M) of a block: groups of `group` rows, `first_group` and following."""
        peak, where = torch.stack([part.amax(0) for part in affinities.split(group)]).max(0)
        torch.where(
            peak > self.peak, where + first_group, self.group, out=self.group
        )  # of equal ones the first
        torch.maximum(peak, self.peak, out=self.peak)  # lets a NaN through


class Winners(NamedTuple):
    """The best row of each column."""

    row: Tensor  # (M,)
    exponent: Tensor  # (M,) slope (s - top) there: 0 for the row's nearest target, else less


def sweep(scores: Scores, formula: Formula, plan: Plan, stats: RowStats, best: Best) -> None:
    """Walk over all rows of one sample and leave in `stats` and `best` what is to be known of them."""
    for rows in _runs(len(stats.top), plan.block):
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
        affinities.mul_(formula.share / total)
        prior = formula.prior_affinities(rows)
        if prior is not None:
            affinities += prior
        best.update(affinities, rows.start // plan.group, plan.group)


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
    """The maximum of each row, (R, 1); its first column goes into `where` (R, 1).

    `torch.max` with indices is ten times slower than without. So this takes maxima of chunks, and looks
    for the column in the first chunk that has the row's.
    """
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


def find_winners(scores: Scores, formula: Formula, plan: Plan, stats: RowStats, best: Best) -> Winners:
    """The row behind each column's maximum; of equal ones the first."""
    row, exponent = torch.empty_like(best.group), torch.empty_like(best.peak)
    groups = list(_runs(len(stats.top), plan.group))
    sizes = torch.bincount(best.group, minlength=len(groups)).tolist()
    for rows, columns in zip(groups, best.group.argsort().split(sizes), strict=True):
        exponents = scores.at(rows, columns).sub_(stats.top[rows].t()).mul_(stats.slope[rows].t())
        affinities = exponents - stats.total[rows].t().log2()  # their logarithms order them as well,
        prior = formula.prior_affinities(rows)
        if prior is not None:  # but not once something is added
            affinities = affinities.exp2_().mul_(formula.share).add_(prior[:, columns].t())
        winner = affinities.argmax(1, keepdim=True)
        row[columns] = winner[:, 0] + rows.start
        exponent[columns] = exponents.gather(1, winner)[:, 0]
    return Winners(row, exponent)


def _runs(n: int, length: int) -> Iterator[slice]:
    """The rows 0 to n, `length` at a time."""
    return (slice(start, min(start + length, n)) for start in range(0, n, length))


def _affinities_(scores: Tensor, top: Tensor, slope: Tensor) -> Tensor:
    """2^(slope (scores - top)), in place."""
    # The difference first: slope reaches 1e6 where two vectors are equal, and would magnify the round-off.
    # And exp2, not exp, which in torch is four times slower on a CPU.
    return scores.sub_(top).mul_(slope).exp2_()

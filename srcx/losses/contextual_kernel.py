"""Contextual similarity of rows x to targets y and its gradient: exact, in memory linear in their number.

For scores s_ij = -d_ij, from `contextual_scores`,

    w_ij = exp((1 - d_ij / (min_k d_ik + eps)) / h)      p_ij = w_ij / sum_k w_ik
    CX   = mean_j max_i p_ij

Forward: the rows are processed in blocks, of several samples at once if they are small. Each block gives its
scores, their softmax, and an update of the column maxima. Only the M maxima and the rows that hold them are
stored.

Backward: with a_i = 1 / (h (min_k d_ik + eps)), n the target nearest to row i, W_i the columns whose maximum
is in row i, and g = dL/dCX / M,

    dL/ds_ij = g a_i p_ij ([j in W_i] - q_i)                     for j other than n; q_i = sum_{j in W_i} p_ij
    dL/ds_in = -sum_{j != n} dL/ds_ij + h a_i sum_{j != n} dL/ds_ij (s_ij - s_in)

where the last term comes from the row's smallest distance: a row's scores may all be shifted, but not
scaled. Rows that hold no maximum have no gradient. Where s_ij = <x_i, y_j>, the gradient of x_i needs,
besides a few single targets, only sum_j p_ij y_j: the forward pass sums it while a block is in the CPU's
cache, for the rows that hold a maximum so far, and nothing is computed twice. With r the share of these rows,
that is 1 + r products of all pairs. The gradient of y, or of other scores, computes the blocks of the rows
that hold maxima once more.

Masks: a masked target is `FAR` from all rows, so it is nobody's nearest and has no affinity. A masked row
gets affinities below all others, so it holds no maximum. The mean is over the targets that count.

Ties: of equal distances or affinities the first has the whole gradient, as with `torch.max(dim=...)`.

On a GPU every sum has a fixed order, and the host waits once, in a backward that computes blocks again.
"""

import math
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import torch
from torch import Tensor

from srcx.losses.contextual_scores import (
    InnerProducts,
    L1Distances,
    Rows,
    Scores,
    Space,
    on_cpu,
    put_,
    taken,
)

__all__ = ["Formula", "Saved", "backward", "forward"]

# A block's scores should fit a CPU's shared cache, and its samples should divide among the threads; a GPU is
# faster with larger blocks, limited by memory.
BLOCK_MIB = 8
BLOCK_MIB_GPU = 128
LEAST_ROWS = 32  # matrix products of fewer rows are slow
# `torch.max` with indices is ten times slower than without. So we take maxima of chunks of a row, or of
# groups of rows, and search for the index only in the first chunk or group that has the maximum.
CHUNK = 32
GROUP = 16
FAR = -1e30  # score of a masked target: its affinity is 0, and products with it stay finite


class Formula(NamedTuple):
    """The constants of the formula, all plain numbers: an operator of torch takes them."""

    bandwidth: float  # h
    eps: float
    products: bool = True  # scores are inner products, else L1 distances
    bias: float = 0.0  # this and the next two are arguments of `InnerProducts`
    bf16: bool = False
    space_weight: float = 0.0
    # Weight of spatial affinities: (1 - weight) of the features' + weight of those of squared distances.
    prior_weight: float = 0.0

    @property
    def share(self) -> float:
        """Weight of the features' affinities beside the spatial ones; above 0, because it is divided by."""
        return max(1 - self.prior_weight, 1e-30)

    def scores(self, x: Tensor, y: Tensor, step: int, space: Space | None) -> Scores:
        """Return the scores of rows (S, N, K) and targets (S, M, K), for blocks of `step` rows."""
        if not self.products:
            return L1Distances(x, y)
        space = space if self.space_weight else None
        return InnerProducts(
            x, y, step, bias=self.bias, bf16=self.bf16, space=space, space_weight=self.space_weight
        )

    def slope(self, top: Tensor) -> Tensor:
        """Return log2(e) / (h (d + eps)) of rows whose smallest distance d is -`top`."""
        # Rounding can make the distance of a vector to itself negative.
        return top.neg().clamp_min_(0).add_(self.eps).mul_(self.bandwidth * math.log(2)).reciprocal_()

    def prior_affinities(self, rows: slice, space: Space | None, hidden: Tensor | None) -> Tensor | None:
        """Return the weighted spatial affinities of `rows`, (R, M) or, with targets hidden, (S, R, M)."""
        if not self.prior_weight:
            return None
        assert space is not None
        scores = space.squared(rows).neg_()
        if hidden is not None:
            scores = scores.masked_fill(hidden, FAR)
        top = scores.amax(-1, keepdim=True)
        affinities = _affinities_(scores, top, self.slope(top))
        return affinities.mul_(self.prior_weight / affinities.sum(-1, keepdim=True))


class Saved(NamedTuple):
    """Results of the forward pass for the backward pass.

    p_ij is proportional to 2^(slope (s_ij - top)), and its sum over j is `Formula.share`.
    """

    # The column maxima of p, with the spatial affinities:
    row: Tensor  # (B, M) index of the row that holds it
    p: Tensor  # (B, M) its part without the spatial affinity
    # Softmax statistics of the rows:
    top: Tensor  # (B, N, 1) largest score
    slope: Tensor  # (B, N, 1)
    total: Tensor  # (B, N, 1) sum of these powers, at least 1
    # Of the rows that held a maximum after their block, and 0 of others; of length 0 unless only x needs a
    # gradient and the scores are inner products:
    nearest: Tensor  # (B, N, 1) target with the largest score
    others: Tensor  # (B, N, 1) sum of p_ij over the other targets
    others_y: Tensor  # (B, N, K) sum of p_ij y_j over them
    others_score: Tensor  # (B, N, 1) sum of p_ij (s_ij - top) over them

    @classmethod
    def empty(cls, x: Tensor, y: Tensor, *, with_others: bool) -> "Saved":
        """Return it uninitialised, for rows (B, N, K) and targets (B, M, K)."""
        batch, n, k = x.shape
        m = n if with_others else 0
        top, slope, total = (x.new_empty(batch, n, 1) for _ in range(3))
        nearest = x.new_empty(batch, m, 1, dtype=torch.long)
        others, others_y, others_score = (x.new_empty(batch, m, width) for width in (1, k, 1))
        row = x.new_empty(batch, y.shape[1], dtype=torch.long)
        return cls(
            row, torch.empty_like(y[..., 0]), top, slope, total, nearest, others, others_y, others_score
        )

    def of(self, samples: slice) -> "Saved":
        """Return a view of some samples of a batch."""
        return Saved(*(tensor[samples] for tensor in self))


def forward(
    x: Tensor,
    y: Tensor,
    x_mask: Tensor | None,
    y_mask: Tensor | None,
    space: Space | None,
    formula: Formula,
    *,
    with_others: bool,
) -> tuple[Tensor, Saved]:
    """Return CX of each sample, (B,), and what `backward` needs.

    Args:
        x: Rows, (B, N, K).
        y: Targets, (B, M, K).
        x_mask: True for the rows that count, (B, N); None for all.
        y_mask: True for the targets that count, (B, M); None for all.
        space: Positions, for a formula with distances in space.
        formula: Its constants.
        with_others: Sum up what the gradient of x alone needs.
    """
    saved = Saved.empty(x, y, with_others=with_others)
    peak = torch.full_like(saved.p, -1)
    for one in (saved.row, saved.p, saved.nearest, saved.others, saved.others_y, saved.others_score):
        one.zero_()
    step, groups = _division(x, y)
    with _without_autocast(x):
        for group in groups:
            scores = formula.scores(x[group], y[group], step, space)
            of_group = saved.of(group)
            hidden_rows, hidden = _hidden(x_mask, group), _hidden(y_mask, group)
            for start in range(0, x.shape[1], step):
                rows = slice(start, min(start + step, x.shape[1]))
                affinities = _softmax(scores, rows, formula, of_group, hidden)
                prior = formula.prior_affinities(rows, space, hidden)
                mixed = affinities if prior is None else affinities + prior
                if hidden_rows is not None:
                    mixed.masked_fill_(hidden_rows[..., rows].mT, -1)
                leading = _update(peak[group], of_group, affinities, mixed, start)
                if with_others:
                    _pull_others(scores, of_group, affinities, start, leading)
    if y_mask is None:
        return peak.mean(1), saved
    return peak.mul_(y_mask).sum(1) / _count(y_mask), saved


def _softmax(scores: Scores, rows: slice, formula: Formula, saved: Saved, hidden: Tensor | None) -> Tensor:
    """Return p of a block, (S, R, M), times the share of the features, and write the rows' statistics."""
    block = scores.block(rows)
    if hidden is not None:
        block.masked_fill_(hidden, FAR)
    top = block.amax(2, keepdim=True)
    slope = formula.slope(top)
    affinities = _affinities_(block, top, slope)
    total = affinities.sum(2, keepdim=True)
    saved.top[:, rows], saved.slope[:, rows], saved.total[:, rows] = top, slope, total
    return affinities.mul_(formula.share / total)


def _update(peak: Tensor, saved: Saved, affinities: Tensor, mixed: Tensor, start: int) -> Rows:
    """Add the rows from `start` to the column maxima `peak` (S, M) of `mixed` affinities (S, R, M).

    Returns:
        The rows of the block that hold a maximum so far: no other row can hold one in the end. On a GPU, all.
    """
    samples, rows, columns = mixed.shape
    of_block, first, length = _column_max(mixed)
    better = (of_block > peak).flatten()  # of equal ones the first stays
    torch.maximum(of_block, peak, out=peak)  # preserves NaN
    # On a GPU all columns: for the number of the better ones the host would have to wait.
    at = better.nonzero()[:, 0] if on_cpu(peak) else torch.arange(better.numel(), device=peak.device)
    first = first.flatten()[at]
    sample = at.div(columns, rounding_mode="floor")
    place = at + sample * ((rows - 1) * columns)  # of the column's row 0 in the flat affinities
    steps = torch.arange(0, length * columns, columns, device=peak.device)
    candidates = ((place + first * columns)[:, None] + steps).flatten()
    row = first + mixed.flatten().index_select(0, candidates).unflatten(0, (-1, length)).argmax(1)
    better, p = better[at], affinities.flatten()[place + row * columns]
    for whole, new in ((saved.row, row + start), (saved.p, p)):
        flat = whole.view(-1)
        flat[at] = torch.where(better, new, flat[at])
    if not on_cpu(peak):
        return slice(0, rows)
    holds = torch.zeros(samples, rows, dtype=torch.uint8)
    holds.view(-1).index_fill_(0, sample * rows + row, 1)
    return _held_first(holds)[:, : int(holds.sum(1).max())]


def _held_first(holds: Tensor) -> Tensor:
    """Return the indices (S, R) of rows: first those where `holds` is 1, in rising order, then the others."""
    return holds.argsort(stable=True, dim=1, descending=True)


def _pull_others(scores: Scores, saved: Saved, affinities: Tensor, start: int, leading: Rows) -> None:
    """Write what the gradient of x alone needs of the `leading` rows of the block from `start`."""
    assert isinstance(scores, InnerProducts)
    if isinstance(leading, Tensor):
        rows: Rows = leading + start
    else:
        rows = slice(start, start + affinities.shape[1])
    p = taken(affinities, leading)
    nearest = torch.empty_like(p[..., :1], dtype=torch.long)
    _row_max(p, nearest)
    # The targets that are not nearest may have far less together than the rounding error of 1, which is about
    # the affinity of the nearest. They are summed without it, so nothing of them is lost.
    others = p.scatter_(2, nearest, 0).sum(2, keepdim=True)
    top = taken(saved.top, rows)
    pulled = scores.pull(p, top)
    score = scores.total_score(rows, p, pulled, others) - others * top
    for out, values in (
        (saved.nearest, nearest),
        (saved.others, others),
        (saved.others_y, pulled),
        (saved.others_score, score),
    ):
        put_(out, rows, values)


def backward(
    grad: Tensor,
    x: Tensor,
    y: Tensor,
    y_mask: Tensor | None,
    space: Space | None,
    saved: Saved,
    formula: Formula,
    *,
    of_x: bool,
    of_y: bool,
) -> tuple[Tensor | None, Tensor | None]:
    """Return the gradients of x and y where they are wanted, from that of CX, (B,)."""
    g = (grad / (y.shape[1] if y_mask is None else _count(y_mask)))[:, None, None]
    step, groups = _division(x, y)
    with _without_autocast(x):
        if of_x and not of_y and saved.nearest.numel():
            return _backward_from_saved(saved, formula, g, y, groups), None
        grad_x, grad_y = (torch.zeros_like(z) if wanted else None for z, wanted in ((x, of_x), (y, of_y)))
        winning = _Winning.of(saved, x.shape[1])
        for group in groups:
            scores = formula.scores(x[group], y[group], step, space)
            of_group = (z if z is None else z[group] for z in (grad_x, grad_y))
            _backward_by_blocks(
                saved.of(group),
                winning.of_group(group),
                formula,
                g[group],
                scores,
                step,
                _hidden(y_mask, group),
                *of_group,
            )
    return grad_x, grad_y


class _Terms(NamedTuple):
    """The gradient of the scores of R rows."""

    won: Tensor  # (S, M) of the score behind each column's maximum; 0 if it is the row's nearest
    spread: Tensor  # (S, R, 1) times p_ij: gradient of all scores but the nearest
    nearest: Tensor  # (S, R, 1) gradient of the score of the nearest


def _terms(row: Tensor, saved: Saved, formula: Formula, g: Tensor, inside: Tensor | None = None) -> _Terms:
    """Return the terms of R rows.

    Args:
        row: Index of the one that holds the maximum of each column, (S, M).
        saved: Their statistics, and p of the columns.
        formula: The constants.
        g: (S, 1, 1).
        inside: True for the columns whose maximum one of the R rows holds, (S, M); None for all.
    """
    a = saved.slope * math.log(2)

    def by_row(values: Tensor) -> Tensor:
        return _add_at_(torch.zeros_like(a[..., 0]), row, values)[..., None]

    def by_column(of_rows: Tensor) -> Tensor:
        return of_rows[..., 0].gather(1, row)

    other = by_column(saved.nearest) != torch.arange(row.shape[1], device=row.device)
    tiny = torch.finfo(a.dtype).tiny
    exponent = (saved.p.clamp_min(tiny) * by_column(saved.total) / formula.share).log2()
    own = ~other if inside is None else ~other & inside
    p = saved.p * (other if inside is None else other & inside)
    won, nearest_won = by_row(p), by_row(own.to(p.dtype))
    q = won / formula.share + nearest_won / saved.total
    # 1 - q and the like are small where one target has nearly all: they are summed up from small parts.
    shift = (nearest_won * saved.others - won) / saved.total
    stretch = by_row(p * exponent) / saved.slope - q * saved.others_score
    nearest = g * a * (shift + formula.bandwidth * a * stretch)
    return _Terms(g[..., 0] * by_column(a) * p, -g * a * q, nearest)


def _backward_from_saved(saved: Saved, formula: Formula, g: Tensor, y: Tensor, groups: list[slice]) -> Tensor:
    """Return the gradient of x, (B, N, K), from the sums of the forward pass."""
    won, spread, nearest = _terms(saved.row, saved, formula, g)
    grad_x = torch.empty_like(saved.others_y)
    for group in groups:
        targets, out = y[group], grad_x[group]
        torch.mul(saved.others_y[group], spread[group], out=out)
        _add_at_(out, saved.row[group], targets * won[group, :, None])
        out.addcmul_(taken(targets, saved.nearest[group, :, 0]), nearest[group])
    return grad_x


class _Winning(NamedTuple):
    """The rows that hold a maximum."""

    rows: Tensor  # (B, N): these rows in rising order, then the others
    place: Tensor  # (B, M): where among them is the row that holds the column's maximum
    counts: list[int]  # (B,)

    @classmethod
    def of(cls, saved: Saved, n: int) -> "_Winning":
        """Return them, of n rows; the one place where the host waits for a GPU."""
        holds = torch.zeros(len(saved.row), n, dtype=torch.uint8, device=saved.row.device)
        holds.scatter_(1, saved.row, 1)
        place = holds.cumsum(1).sub_(1).gather(1, saved.row)
        return cls(_held_first(holds), place, holds.sum(1).tolist())

    def of_group(self, samples: slice) -> "_Winning":
        """Return those of some samples of a batch."""
        return _Winning(self.rows[samples], self.place[samples], self.counts[samples])


def _backward_by_blocks(
    saved: Saved,
    winning: _Winning,
    formula: Formula,
    g: Tensor,
    scores: Scores,
    step: int,
    hidden: Tensor | None,
    grad_x: Tensor | None,
    grad_y: Tensor | None,
) -> None:
    """Add the gradients of S samples, from blocks of the rows that hold a maximum, computed again."""
    # A sample with fewer such rows than another computes some rows more; their gradient is 0.
    count = max(winning.counts)
    for start in range(0, count, step):
        rows = winning.rows[:, start : min(start + step, count)]
        block = scores.block(rows)
        if hidden is not None:
            block.masked_fill_(hidden, FAR)
        nearest = torch.empty_like(rows)[..., None]
        _row_max(block, nearest)
        top, slope, total = (taken(one, rows) for one in (saved.top, saved.slope, saved.total))
        p = block.sub_(top).mul(slope).exp2_().mul_(formula.share / total).scatter_(2, nearest, 0)
        others, others_score = (sums.sum(2, keepdim=True) for sums in (p, block.mul_(p)))
        here = Saved(saved.row, saved.p, top, slope, total, nearest, others, saved.others_y, others_score)
        place = winning.place - start
        inside = (place >= 0) & (place < rows.shape[1])
        row = place.clamp(0, rows.shape[1] - 1)
        terms = _terms(row, here, formula, g, inside)
        of_scores = p.mul_(terms.spread)
        of_scores.scatter_add_(1, row[:, None], terms.won[:, None])
        scores.backward(rows, of_scores.scatter_(2, nearest, terms.nearest), grad_x, grad_y)


def _division(x: Tensor, y: Tensor) -> tuple[int, list[slice]]:
    """Return how many rows make a block, and the samples that are computed at once."""
    budget = (BLOCK_MIB if on_cpu(x) else BLOCK_MIB_GPU) * 2**20
    of_row = y.shape[1] * x.element_size()
    at_once = max(budget // (of_row * x.shape[1]), 1)
    groups = [slice(first, first + at_once) for first in range(0, len(x), at_once)]
    return max(budget // of_row, LEAST_ROWS), groups


def _count(mask: Tensor) -> Tensor:
    """Return how many count in each sample, (B,); 1 for none, which avoids a division by 0."""
    return mask.sum(1).clamp_min(1)


def _hidden(mask: Tensor | None, samples: slice) -> Tensor | None:
    """Return True for what does not count, (S, 1, P), or None if all does."""
    return None if mask is None else ~mask[samples, None]


def _add_at_(out: Tensor, index: Tensor, values: Tensor) -> Tensor:
    """Add values (S, M, ...) to the rows `index` (S, M) of (S, R, ...), in a fixed order on every device."""
    first = torch.arange(0, len(out) * out.shape[1], out.shape[1], device=out.device)
    flat, index, values = out.flatten(0, 1), (index + first[:, None]).flatten(), values.flatten(0, 1)
    # On a GPU index_add_ adds in the order in which threads come, on a CPU index_put_ does.
    if on_cpu(out):
        flat.index_add_(0, index, values)
    else:
        flat.index_put_((index,), values, accumulate=True)
    return out


def _affinities_(scores: Tensor, top: Tensor, slope: Tensor) -> Tensor:
    """Return 2^(slope (scores - top)), computed in place."""
    # Subtract first: slope is up to 1e6 where two vectors are equal, and would magnify the rounding error.
    # exp2, because exp is four times slower in torch on a CPU.
    return scores.sub_(top).mul_(slope).exp2_()


def _row_max(scores: Tensor, where: Tensor) -> Tensor:
    """Return the maximum of each row, (S, R, 1), and write its first column into `where` (S, R, 1)."""
    columns = scores.shape[2]
    if columns < 2 * CHUNK or not on_cpu(scores):
        top, where[:] = scores.max(2, keepdim=True)
        return top
    whole = columns // CHUNK * CHUNK
    of_chunks = scores[..., :whole].unflatten(2, (-1, CHUNK)).amax(3)
    if whole < columns:
        of_chunks = torch.cat([of_chunks, scores[..., whole:].amax(2, keepdim=True)], 2)
    top, chunk = of_chunks.max(2, keepdim=True)
    # The last chunk may overlap the one before: a maximum in both was found in that one.
    start = (chunk * CHUNK).clamp_max_(columns - CHUNK)
    candidates = scores.gather(2, start + torch.arange(CHUNK, device=scores.device))
    where[:] = start + candidates.argmax(2, keepdim=True)
    return top


def _column_max(affinities: Tensor) -> tuple[Tensor, Tensor, int]:
    """Return each column's maximum in (S, R, M), the first row of the group that has it, and its length."""
    rows = affinities.shape[1]
    if rows <= GROUP:
        peak = affinities.amax(1)
        return peak, torch.zeros_like(peak, dtype=torch.long), rows
    whole = rows // GROUP * GROUP
    of_groups = affinities[:, :whole].unflatten(1, (-1, GROUP)).amax(2)
    if whole < rows:
        of_groups = torch.cat([of_groups, affinities[:, whole:].amax(1, keepdim=True)], 1)
    peak, group = of_groups.max(1)
    # The last group may overlap the one before: a maximum in both was found in that one.
    return peak, (group * GROUP).clamp_max_(rows - GROUP), GROUP


def _without_autocast(x: Tensor) -> AbstractContextManager[None]:
    """Return a context in which the formula is computed in the type of its tensors."""
    device = x.device.type
    return torch.autocast(device, enabled=False) if torch.amp.is_autocast_available(device) else nullcontext()

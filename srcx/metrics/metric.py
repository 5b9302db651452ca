"""What a metric is: a function of images that also says which way is better and whether it needs gt."""

import functools
from collections.abc import Callable
from typing import Concatenate, ParamSpec, Protocol, cast, overload

import torch
from torch import Tensor

from srcx.metrics.images import (
    AnyArray,
    Array,
    as_bytes,
    as_rgb_batch,
    batch_as_bytes,
    check_batch,
    check_pair,
)

P = ParamSpec("P")


class PairMetric(Protocol[P]):
    """A metric of an image and its ground truth; arrays give a float, a batch gives a tensor (N,)."""

    __name__: str
    higher_is_better: bool
    needs_gt: bool

    @overload
    def __call__(self, sr: AnyArray, gt: AnyArray, /, *args: P.args, **kwargs: P.kwargs) -> float: ...
    @overload
    def __call__(self, sr: Tensor, gt: Tensor, /, *args: P.args, **kwargs: P.kwargs) -> Tensor: ...


class SingleMetric(Protocol[P]):
    """A metric of an image alone; an array gives a float, a batch gives a tensor (N,)."""

    __name__: str
    higher_is_better: bool
    needs_gt: bool

    @overload
    def __call__(self, sr: AnyArray, /, *args: P.args, **kwargs: P.kwargs) -> float: ...
    @overload
    def __call__(self, sr: Tensor, /, *args: P.args, **kwargs: P.kwargs) -> Tensor: ...


def pair_metric(
    *, higher_is_better: bool
) -> Callable[[Callable[Concatenate[Array, Array, P], float]], PairMetric[P]]:
    """Make a metric of a function that compares two uint8 images of one shape.

    A batch is rounded to 8 bits first, so a tensor scores as the image it would be saved as.
    """

    def decorate(formula: Callable[Concatenate[Array, Array, P], float]) -> PairMetric[P]:
        name = formula.__name__

        @functools.wraps(formula)
        def metric(
            sr: AnyArray | Tensor, gt: AnyArray | Tensor, /, *args: P.args, **kwargs: P.kwargs
        ) -> float | Tensor:
            check_pair(name, sr, gt)
            if isinstance(sr, Tensor) and isinstance(gt, Tensor):
                pairs = zip(batch_as_bytes(name, "sr", sr), batch_as_bytes(name, "gt", gt), strict=True)
                return torch.tensor([formula(*pair, *args, **kwargs) for pair in pairs], device=sr.device)
            return formula(as_bytes(name, "sr", sr), as_bytes(name, "gt", gt), *args, **kwargs)

        marked = cast(PairMetric[P], metric)
        marked.higher_is_better, marked.needs_gt = higher_is_better, True
        return marked

    return decorate


def single_metric(
    *, higher_is_better: bool
) -> Callable[[Callable[Concatenate[Array, P], float]], SingleMetric[P]]:
    """Make a metric of a function that rates one uint8 image; batches are rounded to 8 bits first."""

    def decorate(formula: Callable[Concatenate[Array, P], float]) -> SingleMetric[P]:
        name = formula.__name__

        @functools.wraps(formula)
        def metric(sr: AnyArray | Tensor, /, *args: P.args, **kwargs: P.kwargs) -> float | Tensor:
            if isinstance(sr, Tensor):
                images = batch_as_bytes(name, "sr", sr)
                return torch.tensor([formula(one, *args, **kwargs) for one in images], device=sr.device)
            return formula(as_bytes(name, "sr", sr), *args, **kwargs)

        marked = cast(SingleMetric[P], metric)
        marked.higher_is_better, marked.needs_gt = higher_is_better, False
        return marked

    return decorate


def batch_pair_metric(
    *, higher_is_better: bool
) -> Callable[[Callable[Concatenate[Tensor, Tensor, P], Tensor]], PairMetric[P]]:
    """Make a metric of a function that compares two batches; an array becomes a batch of one, grey RGB."""

    def decorate(formula: Callable[Concatenate[Tensor, Tensor, P], Tensor]) -> PairMetric[P]:
        name = formula.__name__

        @functools.wraps(formula)
        def metric(
            sr: AnyArray | Tensor, gt: AnyArray | Tensor, /, *args: P.args, **kwargs: P.kwargs
        ) -> float | Tensor:
            check_pair(name, sr, gt)
            if isinstance(sr, Tensor) and isinstance(gt, Tensor):
                check_batch(name, "sr", sr)
                check_batch(name, "gt", gt)
                return formula(sr, gt, *args, **kwargs)
            one, other = (as_rgb_batch(name, role, x) for role, x in (("sr", sr), ("gt", gt)))
            return float(formula(one, other, *args, **kwargs))

        marked = cast(PairMetric[P], metric)
        marked.higher_is_better, marked.needs_gt = higher_is_better, True
        return marked

    return decorate

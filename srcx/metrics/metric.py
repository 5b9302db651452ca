"""Metrics: functions of images with a direction, and the record that evaluation works with."""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any, Concatenate, ParamSpec, Protocol, cast, overload

import numpy as np
import torch
from torch import Tensor

from srcx.errors import ImageError
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
MeanOfSet = Callable[[Sequence[float]], float]


class MetricFunction(Protocol):
    """A function of sr, and of gt if it needs it, with its direction and its mean over a set of images."""

    higher_is_better: bool
    needs_gt: bool
    mean_of_set: MeanOfSet

    def __call__(self, *images: Any, **args: Any) -> Any: ...


class PairMetric(Protocol[P]):
    """A metric of an image and its ground truth: a float for arrays, a tensor (N,) for a batch."""

    __name__: str
    higher_is_better: bool
    needs_gt: bool
    mean_of_set: MeanOfSet

    @overload
    def __call__(self, sr: AnyArray, gt: AnyArray, /, *args: P.args, **kwargs: P.kwargs) -> float: ...
    @overload
    def __call__(self, sr: Tensor, gt: Tensor, /, *args: P.args, **kwargs: P.kwargs) -> Tensor: ...


class SingleMetric(Protocol[P]):
    """A metric of an image alone: a float for an array, a tensor (N,) for a batch."""

    __name__: str
    higher_is_better: bool
    needs_gt: bool
    mean_of_set: MeanOfSet

    @overload
    def __call__(self, sr: AnyArray, /, *args: P.args, **kwargs: P.kwargs) -> float: ...
    @overload
    def __call__(self, sr: Tensor, /, *args: P.args, **kwargs: P.kwargs) -> Tensor: ...


@dataclass(frozen=True)
class Metric:
    """A metric under the name it has in results, with its arguments fixed."""

    name: str
    function: Callable[..., Any]
    needs_gt: bool
    higher_is_better: bool
    mean_of_set: MeanOfSet = fmean
    args: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, name: str, function: MetricFunction, args: Mapping[str, Any]) -> "Metric":
        """Return the record of a metric function.

        Example:
            >>> from srcx.metrics import rmse
            >>> metric = Metric.of("rmse", rmse, {"crop_px": 0})
            >>> metric.measure(np.full((9, 9), 103, np.uint8), np.full((9, 9), 100, np.uint8))
            3.0
            >>> metric.mean_of_set([1.0, 7.0])
            5.0
        """
        return cls(
            name, function, function.needs_gt, function.higher_is_better, function.mean_of_set, dict(args)
        )

    def measure(self, *images: AnyArray) -> float:
        """Return the metric's value for sr, or for sr and gt if it needs gt.

        Raises:
            ImageError: the metric cannot rate these images, or its value is not finite.
            WeightsError: the metric's weights are not available.
        """
        value = float(self.function(*images, **self.args))
        if not math.isfinite(value):
            raise ImageError("infinite: sr equals gt" if math.isinf(value) else "not a number")
        return value

    def check(self) -> None:
        """Look for the metric's weights and check its arguments, on images too small to rate.

        Raises:
            WeightsError: the weights are not available.
        """
        with suppress(ImageError):
            self.measure(*[np.zeros((1, 1, 3), np.uint8)] * (2 if self.needs_gt else 1))


def marked(
    *, needs_gt: bool, higher_is_better: bool, mean_of_set: MeanOfSet
) -> Callable[[Callable[..., Any]], MetricFunction]:
    """Return a decorator that makes a function a `MetricFunction`."""

    def mark(function: Callable[..., Any]) -> MetricFunction:
        metric = cast(MetricFunction, function)
        metric.needs_gt, metric.higher_is_better, metric.mean_of_set = needs_gt, higher_is_better, mean_of_set
        return metric

    return mark


def marked_as(metric: MetricFunction) -> Callable[[Callable[..., Any]], MetricFunction]:
    """Return a decorator that makes a function a `MetricFunction` like `metric`."""
    return marked(
        needs_gt=metric.needs_gt, higher_is_better=metric.higher_is_better, mean_of_set=metric.mean_of_set
    )


def pair_metric(
    *, higher_is_better: bool, mean_of_set: MeanOfSet = fmean
) -> Callable[[Callable[Concatenate[Array, Array, P], float]], PairMetric[P]]:
    """Return a decorator that makes a metric of a function of two uint8 images of one shape.

    A batch is rounded to 8 bits first, so a tensor scores as the image it would be saved as.
    """

    def decorate(formula: Callable[Concatenate[Array, Array, P], float]) -> Any:
        name = formula.__name__

        @marked(needs_gt=True, higher_is_better=higher_is_better, mean_of_set=mean_of_set)
        @functools.wraps(formula)
        def metric(
            sr: AnyArray | Tensor, gt: AnyArray | Tensor, /, *args: P.args, **kwargs: P.kwargs
        ) -> float | Tensor:
            check_pair(name, sr, gt)
            if isinstance(sr, Tensor) and isinstance(gt, Tensor):
                pairs = zip(batch_as_bytes(name, "sr", sr), batch_as_bytes(name, "gt", gt), strict=True)
                return torch.tensor([formula(*pair, *args, **kwargs) for pair in pairs], device=sr.device)
            return formula(as_bytes(name, "sr", sr), as_bytes(name, "gt", gt), *args, **kwargs)

        return metric

    return decorate


def single_metric(
    *, higher_is_better: bool
) -> Callable[[Callable[Concatenate[Array, P], float]], SingleMetric[P]]:
    """Return a decorator that makes a metric of a function of one uint8 image.

    A batch is rounded to 8 bits first.
    """

    def decorate(formula: Callable[Concatenate[Array, P], float]) -> Any:
        name = formula.__name__

        @marked(needs_gt=False, higher_is_better=higher_is_better, mean_of_set=fmean)
        @functools.wraps(formula)
        def metric(sr: AnyArray | Tensor, /, *args: P.args, **kwargs: P.kwargs) -> float | Tensor:
            if isinstance(sr, Tensor):
                images = batch_as_bytes(name, "sr", sr)
                return torch.tensor([formula(one, *args, **kwargs) for one in images], device=sr.device)
            return formula(as_bytes(name, "sr", sr), *args, **kwargs)

        return metric

    return decorate


def batch_pair_metric(
    *, higher_is_better: bool
) -> Callable[[Callable[Concatenate[Tensor, Tensor, P], Tensor]], PairMetric[P]]:
    """Return a decorator that makes a metric of a function of two batches.

    An array becomes a batch of one RGB image.
    """

    def decorate(formula: Callable[Concatenate[Tensor, Tensor, P], Tensor]) -> Any:
        name = formula.__name__

        @marked(needs_gt=True, higher_is_better=higher_is_better, mean_of_set=fmean)
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

        return metric

    return decorate

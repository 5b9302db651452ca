"""Judging a network on images it did not learn from, during a run or after it."""

import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

import numpy as np
import torch
from torch import Tensor, nn

from srcx.atomic import make_folder
from srcx.data import WholePair
from srcx.errors import DataError, ImageError, SrcxError
from srcx.imaging import ImageArray, to_image, write_image
from srcx.padding import NoSizeError, run_padded, size_multiple

__all__ = ["Metric", "ValidationSet", "super_resolve", "validate"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Metric:
    """A metric with its parameters fixed."""

    function: Callable[..., float]
    higher_is_better: bool
    needs_gt: bool
    mean_of_set: Callable[[Sequence[float]], float] = fmean

    def check(self) -> None:
        """Look for the metric's weights and check its arguments, on images too small to rate.

        Raises:
            WeightsError: the weights are not at hand.
        """
        images = [np.zeros((1, 1, 3), np.uint8)] * (2 if self.needs_gt else 1)
        with suppress(ImageError):
            self.function(*images)


@dataclass(frozen=True)
class ValidationSet:
    """Pairs under a name, with the metrics to take of them."""

    name: str
    pairs: Iterable[WholePair]
    metrics: Mapping[str, Metric] = field(default_factory=dict)

    @property
    def higher_is_better(self) -> dict[str, bool]:
        """For each metric, which way is better."""
        return {name: metric.higher_is_better for name, metric in self.metrics.items()}


def validate(
    net: nn.Module, validation_set: ValidationSet, *, save_as: Callable[[str], Path] | None = None
) -> dict[str, float | None]:
    """Return the mean of each metric of the set over its images, in full precision.

    Args:
        net: A generator; it is left in the mode it came in.
        validation_set: Pairs and metrics.
        save_as: Where to write the image of a pair's name; None writes none.

    Returns:
        Metric name -> mean over images; None where the metric cannot rate one of them, with a warning that
        says why.
    """
    values: dict[str, list[float]] = {name: [] for name in validation_set.metrics}
    reasons: dict[str, list[str]] = {name: [] for name in validation_set.metrics}
    was_training = net.training
    net.eval()
    multiple_of: int | None = None
    try:
        for pair in validation_set.pairs:
            multiple_of = multiple_of or _multiple_of(net, pair.lq)
            sr = to_image(super_resolve(net, pair.lq, multiple_of=multiple_of))
            if save_as is not None:
                path = save_as(pair.name)
                make_folder(path.parent)
                write_image(path, sr)
            for name, metric in validation_set.metrics.items():
                try:
                    values[name].append(_measure(metric, sr, pair))
                except SrcxError as error:
                    reasons[name].append(f"{pair.name}: {error}")
    finally:
        net.train(was_training)
    for name, (first, *others) in ((name, said) for name, said in reasons.items() if said):
        images = f"{len(others) + 1} of {len(others) + 1 + len(values[name])} images have none"
        logger.warning("%s: no %s, as %s; %s", validation_set.name, name, images, first)
    return {
        name: None if reasons[name] else validation_set.metrics[name].mean_of_set(of_set)
        for name, of_set in values.items()
    }


def super_resolve(net: nn.Module, lq: Tensor, *, multiple_of: int | None = None) -> Tensor:
    """Run `net` on whole images; their borders are mirrored up to the next size that the network takes.

    Args:
        net: A generator in eval mode.
        lq: (N, C, H, W) in [0, 1], on any device.
        multiple_of: What height and width must be multiples of, where that is known; None finds it out.

    Returns:
        (N, C, sH, sW) on the network's device.
    """
    device = next(net.parameters()).device
    lq = lq.to(device, memory_format=torch.contiguous_format)  # the order of the weights decides on the rest
    with torch.inference_mode():
        return run_padded(net, lq, multiple_of or _multiple_of(net, lq))


def _multiple_of(net: nn.Module, lq: Tensor) -> int:
    try:
        return size_multiple(net, lq.shape[1])[0]
    except NoSizeError:
        return 1  # the run itself says what is wrong


def _measure(metric: Metric, sr: ImageArray, pair: WholePair) -> float:
    if not metric.needs_gt:
        value = float(metric.function(sr))
    elif pair.gt is None:
        raise DataError("there is no ground truth to compare with; give dataroot_gt or leave the metric out")
    else:
        value = float(metric.function(sr, to_image(pair.gt)))
    if not math.isfinite(value):
        raise ImageError("infinite, as sr equals gt" if math.isinf(value) else "not a number")
    return value

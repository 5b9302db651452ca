"""Judging a network on pictures it did not learn from, during a run or after it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

import torch
from torch import Tensor, nn

from srcx.atomic import make_folder
from srcx.data import WholePair
from srcx.errors import DataError
from srcx.imaging import Picture, to_image, write_picture
from srcx.padding import NoSizeError, run_padded, size_multiple

__all__ = ["Metric", "ValidationSet", "super_resolve", "validate"]


@dataclass(frozen=True)
class Metric:
    """A metric with its parameters fixed."""

    function: Callable[..., float]
    higher_is_better: bool
    needs_gt: bool
    mean_of_set: Callable[[Sequence[float]], float] = fmean


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
) -> dict[str, float]:
    """The mean of each metric of the set over its pictures, in full precision.

    Args:
        net: A generator; it is left in the mode it came in.
        validation_set: Pairs and metrics.
        save_as: Where to write the picture of a pair's name; None writes none.

    Returns:
        Metric name -> mean over pictures.

    Raises:
        DataError: a metric needs the ground truth and the set has none.
    """
    values: dict[str, list[float]] = {name: [] for name in validation_set.metrics}
    was_training = net.training
    net.eval()
    multiple_of: int | None = None
    for pair in validation_set.pairs:
        multiple_of = multiple_of or _multiple_of(net, pair.lq)
        sr = to_image(super_resolve(net, pair.lq, multiple_of=multiple_of))
        if save_as is not None:
            path = save_as(pair.name)
            make_folder(path.parent)
            write_picture(path, sr)
        for name, metric in validation_set.metrics.items():
            values[name].append(_measure(metric, sr, pair, validation_set.name, name))
    net.train(was_training)
    return {name: validation_set.metrics[name].mean_of_set(of_set) for name, of_set in values.items()}


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
    lq = lq.to(device, memory_format=torch.channels_last)
    with torch.inference_mode():
        return run_padded(net, lq, multiple_of or _multiple_of(net, lq))


def _multiple_of(net: nn.Module, lq: Tensor) -> int:
    try:
        return size_multiple(net, lq.shape[1])[0]
    except NoSizeError:
        return 1  # the run itself says what is wrong


def _measure(metric: Metric, sr: Picture, pair: WholePair, set_name: str, name: str) -> float:
    if not metric.needs_gt:
        return float(metric.function(sr))
    if pair.gt is None:
        raise DataError(
            f"{set_name}: metric '{name}' compares with the ground truth, and {pair.name} has none; "
            "give dataroot_gt or leave the metric out"
        )
    return float(metric.function(sr, to_image(pair.gt)))

"""Evaluation of a network on pairs in memory, during a training run or after it."""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from srcx.atomic import make_folder
from srcx.data import WholePair
from srcx.evaluation.scoring import Scores, mean_of_set, score_image
from srcx.imaging import imresize, to_image, write_image
from srcx.imaging.decode import ImageArray
from srcx.inference.architecture import size_multiple
from srcx.inference.tiling import NoSizeError, run_padded
from srcx.metrics.metric import Metric

__all__ = ["ValidationSet", "upscale", "validate", "validate_bicubic"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ValidationSet:
    """Pairs under a name, with the metrics to take of them."""

    name: str
    pairs: Iterable[WholePair]
    metrics: Sequence[Metric] = ()

    @property
    def higher_is_better(self) -> dict[str, bool]:
        """Return the direction of each metric by its name."""
        return {metric.name: metric.higher_is_better for metric in self.metrics}


def validate(
    net: nn.Module,
    validation_set: ValidationSet,
    *,
    save_as: Callable[[str], Path] | None = None,
    on_image: Callable[[WholePair, ImageArray], None] | None = None,
) -> dict[str, float | None]:
    """Return the mean of each metric of the set over its images, in full precision.

    Args:
        net: A generator; its training or eval mode is the same afterwards.
        validation_set: Pairs and metrics.
        save_as: Returns the file for the image of a pair's name; None writes no images.
        on_image: Called with each pair and its upscaled image.

    Returns:
        Metric name -> mean over images; None where the metric cannot rate one of them, with a warning that
        says why.
    """
    was_training = net.training
    net.eval()
    multiple_of: int | None = None

    def by_network(pair: WholePair) -> ImageArray:
        nonlocal multiple_of
        multiple_of = multiple_of or _multiple_of(net, pair.lq)
        sr = to_image(upscale(net, pair.lq, multiple_of=multiple_of))
        if save_as is not None:
            path = save_as(pair.name)
            make_folder(path.parent)
            write_image(path, sr)
        if on_image is not None:
            on_image(pair, sr)
        return sr

    try:
        means = _means(validation_set, by_network)
    finally:
        net.train(was_training)
    for name, reason in means.reasons.items():
        logger.warning("%s: no %s: %s", validation_set.name, name, reason)
    return means.values


def validate_bicubic(validation_set: ValidationSet, *, scale: int) -> dict[str, float | None]:
    """Return what `validate` returns, of lq enlarged by MATLAB's bicubic; of lq itself where `scale` is 1."""

    def by_bicubic(pair: WholePair) -> ImageArray:
        lq = to_image(pair.lq)
        return imresize(lq, scale=scale) if scale > 1 else lq

    return _means(validation_set, by_bicubic).values


def _means(validation_set: ValidationSet, run: Callable[[WholePair], ImageArray]) -> Scores:
    scores: list[Scores] = []
    for pair in validation_set.pairs:
        gt = None if pair.gt is None else to_image(pair.gt)
        one = score_image(validation_set.metrics, run(pair), gt)
        scores.append(Scores(one.values, {name: f"{pair.name}: {why}" for name, why in one.reasons.items()}))
    return mean_of_set(validation_set.metrics, scores)


def upscale(net: nn.Module, lq: Tensor, *, multiple_of: int | None = None) -> Tensor:
    """Run `net` on whole images; their borders are mirrored up to the next size that the network takes.

    Args:
        net: A generator in eval mode.
        lq: (N, C, H, W) in [0, 1], on any device.
        multiple_of: Height and width must be multiples of this; None asks the network.

    Returns:
        (N, C, sH, sW) on the network's device.
    """
    device = next(net.parameters()).device
    lq = lq.to(device, memory_format=torch.contiguous_format)  # the order of the weights decides on the rest
    with torch.no_grad():  # not inference_mode: SPAN writes weights when it runs, and is trained on after it
        return run_padded(net, lq, multiple_of or _multiple_of(net, lq))


def _multiple_of(net: nn.Module, lq: Tensor) -> int:
    try:
        return size_multiple(net, lq.shape[1])[0]
    except NoSizeError:
        return 1  # running the network then raises the error that says what is wrong

"""Evaluation of a network on pairs in memory, during a training run or after it."""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from srcx.atomic import make_folder
from srcx.data import WholePair
from srcx.errors import TrainingError
from srcx.evaluation.scoring import InThisProcess, Scores, mean_of_set, score_image
from srcx.imaging import imresize, write_image
from srcx.imaging.decode import ImageArray
from srcx.inference.network_sizes import size_multiple
from srcx.inference.tiling import NoSizeError, Tiling, run_padded, run_tiled
from srcx.metrics.metric import Metric

__all__ = [
    "StartedValidation",
    "ValidationSet",
    "start_validation",
    "upscale",
    "validate",
    "validate_bicubic",
]

WAITING_BYTES = 1 << 30
"""Most memory of images that wait for their metrics."""
OVERLAP_PX = 32
"""Surroundings of a tile, in pixels of lq. What an output pixel sees beyond them is missing at a seam."""
FADE_PX = 8

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
    tile_px: int = 0,
    save_as: Callable[[str], Path] | None = None,
) -> dict[str, float | None]:
    """Return the mean of each metric of the set over its images, in full precision.

    Args:
        net: A generator; its training or eval mode is the same afterwards. It runs where its weights are.
        validation_set: Pairs and metrics.
        tile_px: Larger images are run in tiles of this side, in pixels of lq; 0 runs them whole.
        save_as: Returns the file for the image of a pair's name; None writes no images.

    Returns:
        Metric name -> mean over images; None where the metric cannot rate one of them, with a warning that
        says why.
    """
    started = start_validation(net, validation_set, InThisProcess(), tile_px=tile_px, save_as=save_as)
    return started.results()


def start_validation(
    net: nn.Module,
    validation_set: ValidationSet,
    executor: Executor,
    *,
    tile_px: int = 0,
    save_as: Callable[[str], Path] | None = None,
    on_image: Callable[[WholePair, ImageArray], None] | None = None,
) -> "StartedValidation":
    """Upscale the images of the set, and let `executor` compute the metrics meanwhile and afterwards.

    Args:
        net: As for `validate`; so are `validation_set`, `tile_px` and `save_as`.
        validation_set: Pairs and metrics.
        executor: Computes the metrics; while WAITING_BYTES of images wait for it, this waits too.
        tile_px: Side of tiles.
        save_as: Returns the file for an image.
        on_image: Called with each pair and its upscaled image.
    """
    was_training = net.training
    net.eval()
    sizes: tuple[int, int] | None = None

    def by_network(pair: WholePair) -> ImageArray:
        nonlocal sizes
        sizes = sizes or _multiple_and_scale(net, pair.lq)
        sr = _upscale_in_tiles(net, pair, *sizes, tile_px=tile_px)
        if save_as is not None:
            path = save_as(pair.name)
            make_folder(path.parent)
            write_image(path, sr)
        if on_image is not None:
            on_image(pair, sr)
        return sr

    try:
        return _started(validation_set, by_network, executor)
    finally:
        net.train(was_training)


def validate_bicubic(validation_set: ValidationSet, *, scale: int) -> dict[str, float | None]:
    """Return what `validate` returns, of lq enlarged by MATLAB's bicubic; of lq itself where `scale` is 1."""

    def by_bicubic(pair: WholePair) -> ImageArray:
        lq = pair.levels.image(pair.lq)
        return imresize(lq, scale=scale) if scale > 1 else lq

    return _started(validation_set, by_bicubic, InThisProcess()).means().values


@dataclass(frozen=True)
class StartedValidation:
    """A set whose images are upscaled, and whose metrics are being computed."""

    validation_set: ValidationSet
    scores: list[tuple[str, Future[Scores]]] = field(default_factory=list)
    """For each image its name and its scores to come."""

    def is_done(self) -> bool:
        """Return whether `results` would not wait."""
        return all(future.done() for _, future in self.scores)

    def results(self) -> dict[str, float | None]:
        """Wait for the metrics; return what `validate` returns, with its warnings.

        Raises:
            TrainingError: a process that computes metrics has died.
            Exception: what a metric raised.
        """
        means = self.means()
        for name, reason in means.reasons.items():
            logger.warning("%s: no %s: %s", self.validation_set.name, name, reason)
        return means.values

    def means(self) -> Scores:
        """Wait for the metrics; return their means over the set, or why there are none."""
        with name_dead_process(self.validation_set):
            scored = [(name, future.result()) for name, future in self.scores]
        scores = [
            Scores(one.values, {key: f"{name}: {why}" for key, why in one.reasons.items()})
            for name, one in scored
        ]
        return mean_of_set(self.validation_set.metrics, scores)


@contextmanager
def name_dead_process(validation_set: ValidationSet) -> Iterator[None]:
    """Raise a TrainingError in place of that of an executor whose process has died."""
    try:
        yield
    except BrokenExecutor as error:
        raise TrainingError(
            f"{validation_set.name}: a process that computes metrics has died, perhaps for lack of memory; "
            "lower val.metric_workers, or set it to 0"
        ) from error


def _started(
    validation_set: ValidationSet, run: Callable[[WholePair], ImageArray], executor: Executor
) -> StartedValidation:
    started, waiting = StartedValidation(validation_set), dict[Future[Scores], int]()
    for pair in validation_set.pairs:
        sr, gt = run(pair), None if pair.gt is None else pair.levels.image(pair.gt)
        with name_dead_process(validation_set):
            future = executor.submit(score_image, validation_set.metrics, sr, gt)
        started.scores.append((pair.name, future))
        waiting[future] = sr.nbytes + (0 if gt is None else gt.nbytes)
        while sum(waiting.values()) > WAITING_BYTES:
            for done in wait(waiting, return_when=FIRST_COMPLETED).done:
                del waiting[done]
    return started


def upscale(net: nn.Module, lq: Tensor, *, multiple_of: int) -> Tensor:
    """Run `net` on whole images; their borders are mirrored up to the next size that the network takes.

    Args:
        net: A generator in eval mode.
        lq: (N, C, H, W) in [0, 1], on any device.
        multiple_of: Height and width must be multiples of this.

    Returns:
        (N, C, sH, sW) on the network's device.
    """
    device = next(net.parameters()).device
    lq = lq.to(device, memory_format=torch.contiguous_format)  # the order of the weights decides on the rest
    with torch.no_grad():  # not inference_mode: SPAN writes weights when it runs, and is trained on after it
        return run_padded(net, lq, multiple_of)


def _multiple_and_scale(net: nn.Module, lq: Tensor) -> tuple[int, int]:
    """Return what the network says of sizes; scale 0 where it runs on none that was tried."""
    try:
        return size_multiple(net, lq.shape[1])
    except NoSizeError:
        return 1, 0  # running the network then raises the error that says what is wrong


def _upscale_in_tiles(
    net: nn.Module, pair: WholePair, multiple_of: int, scale: int, *, tile_px: int
) -> ImageArray:
    """Return the upscaled image of a pair's lq, in tiles if it is larger than one."""
    lq = pair.lq
    if not tile_px or not scale or max(lq.shape[-2:]) <= tile_px:
        return pair.levels.image(upscale(net, lq, multiple_of=multiple_of))
    overlap_px = -(-OVERLAP_PX // multiple_of) * multiple_of
    tiling = Tiling(tile_px, overlap_px, FADE_PX, align_px=multiple_of)

    def run(piece: NDArray[np.float32]) -> ImageArray:
        tile = torch.from_numpy(piece).permute(2, 0, 1)[None]
        return pair.levels.image(upscale(net, tile, multiple_of=multiple_of))

    height, width, channels = lq.shape[-2] * scale, lq.shape[-1] * scale, lq.shape[1]
    result = np.empty((height, width) if channels == 1 else (height, width, channels), np.uint8)
    run_tiled(lq[0].permute(1, 2, 0).numpy(), run, result, tiling)
    return result

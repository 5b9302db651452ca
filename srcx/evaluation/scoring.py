"""The engine of every evaluation: metrics by name, values or reasons for each image, means over a set.

`srcx benchmark` and `srcx score` measure files, over several processes; validation during training and
`srcx test` measure images in memory.
"""

import inspect
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from srcx.errors import DataError, ImageError, SrcxError, UsageError
from srcx.hardware import cores
from srcx.imaging.color import on_white, opaque, rgb_to_grey
from srcx.imaging.io import read_image
from srcx.metrics.metric import Metric
from srcx.nearest import LIKE_AN_OPTION, did_you_mean
from srcx.registry import METRICS

__all__ = [
    "InThisProcess",
    "ScoreJob",
    "Scores",
    "find_metrics",
    "mean_of_set",
    "metric_executor",
    "score_all",
    "score_files",
    "score_image",
]

Array: TypeAlias = NDArray[Any]


QUICK = {"psnr", "ssim", "rmse"}
"""Metrics so fast that a few images are not worth starting processes for."""
POOL_FROM_JOBS = 64
POOL_FROM_SLOW_JOBS = 4


@dataclass(frozen=True)
class Scores:
    """Values by metric; where one is None, `reasons` says why."""

    values: dict[str, float | None] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)

    @classmethod
    def none(cls, metrics: Iterable[Metric], reason: str) -> "Scores":
        """Return None for each metric, all for one reason."""
        names = [metric.name for metric in metrics]
        return cls(dict.fromkeys(names), dict.fromkeys(names, reason))


@dataclass(frozen=True)
class ScoreJob:
    """An image file to score, with its ground truth where there is one."""

    sr: Path
    gt: Path | None
    metrics: tuple[Metric, ...]
    slack_px: int = 0
    """Rows and columns that gt may have beyond sr: those that do not fill a pixel of lq."""


def find_metrics(names: Sequence[str], *, scale: int) -> tuple[Metric, ...]:
    """Return metrics by their names in the registry; those that shave borders shave `scale` pixels.

    Raises:
        UsageError: there is no such metric.

    Example:
        >>> [(metric.name, metric.args) for metric in find_metrics(["psnr", "lpips"], scale=2)]
        [('psnr', {'crop_px': 2}), ('lpips', {})]
    """
    for name in names:
        if name not in METRICS:
            hint = did_you_mean(name, sorted(METRICS), least=LIKE_AN_OPTION)
            raise UsageError(f"{name}: no such metric; {hint}")
    found = []
    for name in dict.fromkeys(names):
        border = inspect.signature(METRICS[name]).parameters.get("crop_px")
        shaves = border is not None and border.default
        found.append(Metric.of(name, METRICS[name], {"crop_px": scale} if shaves else {}))
    return tuple(found)


def score_image(
    metrics: Iterable[Metric], sr: Array | ImageError, gt: Array | ImageError | None, *, slack_px: int = 0
) -> Scores:
    """Score one image; a metric that cannot be computed is None with a reason.

    Args:
        metrics: Metrics to take.
        sr: Image to rate, (H, W), (H, W, 3) or (H, W, 4); or why it cannot be read.
        gt: Its ground truth; or why it cannot be read; or None.
        slack_px: As in `ScoreJob`.
    """
    scores = Scores()
    for metric in metrics:
        try:
            if isinstance(sr, ImageError):
                raise sr
            if not metric.needs_gt:
                value = metric.measure(on_white(sr))
            elif isinstance(gt, ImageError):
                raise gt
            elif gt is None:
                raise DataError(
                    f"{metric.name}: compares with a ground truth, and there is none; "
                    "add the ground truth, or leave the metric out"
                )
            else:
                value = metric.measure(*_alike(sr, gt, slack_px))
            scores.values[metric.name] = value
        except SrcxError as error:
            scores.values[metric.name], scores.reasons[metric.name] = None, str(error)
    return scores


def _alike(sr: Array, gt: Array, slack_px: int) -> tuple[Array, Array]:
    """Take sr for grey where gt is and for RGB where gt is, and cut gt's slack."""
    for role, image in (("sr", sr), ("gt", gt)):
        if image.ndim == 3 and image.shape[2] == 4:
            raise ImageError(f"{role} is transparent in places (alpha channel); put it on a background first")
    if gt.ndim == 2 and sr.ndim == 3:
        sr = rgb_to_grey(sr)
    elif gt.ndim == 3 and sr.ndim == 2:
        sr = np.repeat(sr[..., None], 3, axis=2)
    beyond = [of_gt - of_sr for of_gt, of_sr in zip(gt.shape[:2], sr.shape[:2], strict=True)]
    return sr, gt[: sr.shape[0], : sr.shape[1]] if all(0 <= rest <= slack_px for rest in beyond) else gt


def score_files(job: ScoreJob) -> Scores:
    """Score one image file as `score_image` does; an alpha channel that hides nothing is left out."""
    images: list[Array | ImageError | None] = []
    for path in (job.sr, job.gt):
        try:
            images.append(opaque(read_image(path)) if path else None)
        except ImageError as error:
            images.append(error)
    sr, gt = images
    assert sr is not None
    return score_image(job.metrics, sr, gt, slack_px=job.slack_px)


def score_all(jobs: Sequence[ScoreJob], *, workers: int | None = None) -> Iterator[Scores]:
    """Score many image files, in their order; a metric that lacks its weights is tried once only.

    Args:
        jobs: Files to score.
        workers: Processes; 0 for this one alone, None for one a core where it is worth it.
    """
    missing: dict[str, str] = {}
    for metric in {metric.name: metric for job in jobs for metric in job.metrics}.values():
        try:
            metric.check()
        except SrcxError as error:
            missing[metric.name] = str(error)
    possible = [
        replace(job, metrics=tuple(metric for metric in job.metrics if metric.name not in missing))
        for job in jobs
    ]
    for job, scores in zip(jobs, _scores_of(possible, workers), strict=True):
        values = {metric.name: scores.values.get(metric.name) for metric in job.metrics}
        yield Scores(values, {name: missing[name] for name in values if name in missing} | scores.reasons)


def _scores_of(jobs: Sequence[ScoreJob], workers: int | None) -> Iterator[Scores]:
    if workers is None:
        slow = sum(any(metric.name not in QUICK for metric in job.metrics) for job in jobs)
        worth_it = len(jobs) >= POOL_FROM_JOBS or slow >= POOL_FROM_SLOW_JOBS
        workers = min(cores(), len(jobs)) if worth_it else 0
    if workers == 0:
        yield from map(score_files, jobs)
        return
    with metric_executor(workers) as pool:
        yield from pool.map(score_files, jobs)


def metric_executor(workers: int) -> Executor:
    """Return what computes metrics: so many processes, started when there is work; 0: this process."""
    if workers == 0:
        return InThisProcess()
    context = multiprocessing.get_context("spawn")  # a fork would inherit torch's threads in an unknown state
    return ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker)


class InThisProcess(Executor):
    """Does the work in `submit`, which also raises its errors."""

    def submit(self, work: Callable[..., Any], /, *args: Any, **named: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(work(*args, **named))
        return future


def _start_worker() -> None:
    """Use one core for each process, leave signals to the process that started it, and end with that one."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(os, "setpgrp"):  # not on Windows
        os.setpgrp()  # a SIGTERM to the whole group stops a training after this iteration, with its metrics
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this process when its parent ends: a parent that is killed cannot end it."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def mean_of_set(metrics: Iterable[Metric], scores: Sequence[Scores]) -> Scores:
    """Return each metric's mean over a set of images; None with a reason if an image has none.

    Example:
        >>> mean_of_set(find_metrics(["psnr"], scale=4), [Scores({"psnr": 30.0}), Scores({"psnr": 32.0})])
        Scores(values={'psnr': 31.0}, reasons={})
    """
    means = Scores()
    for metric in metrics:
        name = metric.name
        values = [score.values[name] for score in scores]
        known = [value for value in values if value is not None]
        if len(known) == len(values):
            means.values[name] = metric.mean_of_set(known)
            continue
        reason = next(score.reasons[name] for score in scores if score.values[name] is None)
        count = f"{len(values) - len(known)} of {len(values)} images have none: " if known else ""
        means.values[name], means.reasons[name] = None, f"{count}{reason}"
    return means

"""Metrics of images in files, by name and under one protocol, over several processes."""

import difflib
import inspect
import math
import multiprocessing
import signal
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import Any, TypeAlias

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from srcx.errors import DataError, ImageError, SrcxError, UsageError, WeightsError
from srcx.hardware import cores
from srcx.imaging.color import on_white, opaque, rgb_to_grey
from srcx.imaging.io import read_image
from srcx.metrics import rmse_of_set
from srcx.registry import METRICS

__all__ = ["MetricCall", "ScoreJob", "Scores", "mean_of_set", "metric_calls", "score_all", "score_pair"]

Array: TypeAlias = NDArray[Any]

QUICK = {"psnr", "ssim", "rmse"}
"""Metrics so fast that a few images are not worth starting processes for."""
POOL_FROM_JOBS = 64
POOL_FROM_SLOW_JOBS = 4


@dataclass(frozen=True)
class MetricCall:
    """A metric with the arguments the protocol gives it."""

    name: str
    args: dict[str, Any] = field(default_factory=dict)

    @property
    def needs_gt(self) -> bool:
        return METRICS[self.name].needs_gt

    @property
    def higher_is_better(self) -> bool:
        return METRICS[self.name].higher_is_better


@dataclass(frozen=True)
class ScoreJob:
    """An image to score, with its ground truth where there is one."""

    sr: Path
    gt: Path | None
    calls: tuple[MetricCall, ...]
    slack_px: int = 0
    """Rows and columns the ground truth may have beyond sr: those that fill no lq pixel."""


@dataclass
class Scores:
    """Values by metric; where one is None, `reasons` says why."""

    values: dict[str, float | None] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    unavailable: set[str] = field(default_factory=set)
    """Metrics whose weights are not at hand: they fail for every image alike."""

    def put(self, name: str, value: float | None, reason: str = "") -> None:
        """Keep a value, or why there is none."""
        self.values[name] = value
        if reason:
            self.reasons[name] = reason


def metric_calls(names: Sequence[str], *, scale: int) -> tuple[MetricCall, ...]:
    """Metrics by their names in the catalog, shaving `scale` pixels wherever the metric shaves any.

    Raises:
        UsageError: there is no such metric.

    Example:
        >>> metric_calls(["psnr"], scale=2)
        (MetricCall(name='psnr', args={'crop_px': 2}),)
    """
    unknown = [name for name in names if name not in METRICS]
    if unknown:
        near = difflib.get_close_matches(unknown[0], METRICS, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"there are {', '.join(sorted(METRICS))}"
        raise UsageError(f"{unknown[0]}: no such metric; {hint}")
    return tuple(MetricCall(name, _protocol_args(name, scale)) for name in dict.fromkeys(names))


def _protocol_args(name: str, scale: int) -> dict[str, Any]:
    border = inspect.signature(METRICS[name]).parameters.get("crop_px")
    return {"crop_px": scale} if border is not None and border.default else {}


def score_pair(job: ScoreJob) -> Scores:
    """Score one image; what cannot be computed, or read, is None with a reason.

    An alpha channel that hides nothing is left out.
    """
    read: dict[Path, Array | ImageError] = {}
    for path in filter(None, (job.sr, job.gt)):
        try:
            read[path] = opaque(read_image(path))
        except ImageError as error:
            read[path] = error
    scores = Scores()
    for call in job.calls:
        try:
            value = _measure(call, read[job.sr], read[job.gt] if job.gt else None, job.slack_px)
        except SrcxError as error:
            scores.put(call.name, None, str(error))
            if isinstance(error, WeightsError):
                scores.unavailable.add(call.name)
            continue
        if math.isfinite(value):
            scores.put(call.name, value)
        else:
            scores.put(call.name, None, "infinite: sr equals gt" if math.isinf(value) else "not a number")
    return scores


def _measure(call: MetricCall, sr: Array | ImageError, gt: Array | ImageError | None, slack_px: int) -> float:
    metric = METRICS[call.name]
    if isinstance(sr, ImageError):
        raise sr
    if not call.needs_gt:
        return float(metric(on_white(sr), **call.args))
    if isinstance(gt, ImageError):
        raise gt
    if gt is None:
        raise DataError(f"{call.name}: compares with a ground truth, and there is none")
    return float(metric(*_alike(sr, gt, slack_px), **call.args))


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


def score_all(jobs: Sequence[ScoreJob], *, workers: int | None = None) -> Iterator[Scores]:
    """Score many images, in their order; a metric that lacks its weights is tried once only.

    Args:
        jobs: What to score.
        workers: Processes; 0 for this one alone, None for one a core where it is worth it.
    """
    first, missing = _scout(jobs)
    rest = [replace(job, calls=_without(job.calls, missing)) for job in jobs[len(first) :]]
    yield from first
    for job, scores in zip(jobs[len(first) :], _score_rest(rest, workers), strict=True):
        for call in job.calls:
            if call.name in missing:
                scores.put(call.name, None, missing[call.name])
        yield scores


def _scout(jobs: Sequence[ScoreJob]) -> tuple[list[Scores], dict[str, str]]:
    """Score jobs until every metric was tried once; tells which of them lack their weights, and why."""
    untried = {call.name for job in jobs for call in job.calls}
    missing: dict[str, str] = {}
    first: list[Scores] = []
    while untried:
        scores = score_pair(jobs[len(first)])
        missing |= {name: scores.reasons[name] for name in scores.unavailable}
        untried -= scores.values.keys()
        first.append(scores)
    return first, missing


def _without(calls: Iterable[MetricCall], names: Iterable[str]) -> tuple[MetricCall, ...]:
    return tuple(call for call in calls if call.name not in names)


def _score_rest(jobs: Sequence[ScoreJob], workers: int | None) -> Iterator[Scores]:
    if workers is None:
        workers = min(cores(), len(jobs)) if _worth_a_pool(jobs) else 0
    if workers == 0:
        yield from map(score_pair, jobs)
        return
    context = multiprocessing.get_context("spawn")  # a fork would inherit torch's threads in an unknown state
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_begin_worker) as pool:
        yield from pool.map(score_pair, jobs)


def _begin_worker() -> None:
    """One core is one process's; Ctrl-C is for the process that asked."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _worth_a_pool(jobs: Iterable[ScoreJob]) -> bool:
    slow = [any(call.name not in QUICK for call in job.calls) for job in jobs]
    return len(slow) >= POOL_FROM_JOBS or sum(slow) >= POOL_FROM_SLOW_JOBS


def mean_of_set(name: str, scores: Sequence[Scores]) -> tuple[float | None, str]:
    """A metric's figure for a set: the mean, or PIRM's for rmse; None with a reason if an image has none.

    Example:
        >>> mean_of_set("psnr", [Scores({"psnr": 30.0}), Scores({"psnr": 32.0})])
        (31.0, '')
    """
    values = [score.values[name] for score in scores]
    known = [value for value in values if value is not None]
    if len(known) == len(values):
        return (rmse_of_set(known) if name == "rmse" else fmean(known)), ""
    reason = next(score.reasons[name] for score in scores if score.values[name] is None)
    if known:
        reason = f"{len(values) - len(known)} of {len(values)} images have none: {reason}"
    return None, reason

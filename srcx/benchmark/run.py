"""A benchmark: every model over every set, then every metric of every picture, as far as not done before."""

import platform
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import srcx
from srcx.atomic import make_folder
from srcx.benchmark.cache import Cache, sha256_of
from srcx.benchmark.scoring import MetricCall, ScoreJob, Scores, mean_of_set, metric_calls, score_all
from srcx.datasets.layout import BenchmarkSet, PicturePair, find_sets
from srcx.errors import DataError
from srcx.imaging import Border, imresize, picture_size, read_picture, write_picture
from srcx.inference.precision import Precision
from srcx.inference.upscaler import Upscaler, device_of, load_model
from srcx.report import (
    MeanResult,
    ModelInfo,
    PictureResult,
    Results,
    SetInfo,
    write_csv,
    write_html,
    write_json,
)
from srcx.team import ALONE, Team

__all__ = ["benchmark"]

Tell = Callable[[str, int, int], None]
"""Told what was done, how many of how many."""

PROTOCOL = (
    "8 bits; Y is MATLAB's rgb2ycbcr, rounded; a grey picture is taken as Y and upscaled as a grey picture; "
    "ground truth cut to a multiple of the scale; as many border pixels shaved as the scale; "
    "rmse of a set is the root of the mean of the squares"
)
MADE_LQ = (
    "made from the ground truth by MATLAB's bicubic imresize with repeated borders, as the published ones"
)
LQ_BORDER: Border = "replicate"
"""Old MATLAB's, which made the published sets: with today's mirrored borders Set14 reads 0.003 dB less."""


@dataclass(frozen=True)
class Task:
    """One picture of one model."""

    model: str
    set: BenchmarkSet
    pair: PicturePair
    lq: Path
    sr: str
    """File of the result, relative to the results."""


def benchmark(
    models: Sequence[str | Path],
    data: Path,
    out: Path,
    *,
    sets: Sequence[str] | None = None,
    metrics: Sequence[str] = ("psnr", "ssim"),
    precision: Precision = "fp32",
    workers: int | None = None,
    tell: Tell = lambda what, done, total: None,
    team: Team = ALONE,
) -> Results:
    """Run models over benchmark sets and score them; writes results.json, results.csv, report.html, pictures.

    A second run into the same folder reuses the pictures and scores that are still right.

    Args:
        models: Names or checkpoints, as `load_model` takes them.
        data: Folder of sets, as `find_sets` reads it.
        out: Folder of the results.
        sets: Sets to take; None takes all there are.
        metrics: Names of metrics.
        precision: Number format the networks run in.
        workers: Processes that score; 0 for none beside this one, None for one a core where it is worth it.
        tell: Called after each picture.
        team: The processes that share the upscaling; they see the same files. The first one scores.

    Raises:
        DataError: sets are missing or do not fit together.
        UsageError: there is no such model or metric.
        CheckpointError: a checkpoint cannot be read.
        OutputError: the results cannot be written.
    """
    device = device_of(team.local_rank)
    upscalers = _named(
        [
            load_model(model, precision=precision, backend="torch", device=device)
            for model in dict.fromkeys(map(str, models))
        ]
    )
    calls = {
        scale: metric_calls(metrics, scale=scale) for scale in {one.model.scale for one in upscalers.values()}
    }
    found = {scale: find_sets(data, sets, scale=scale) for scale in sorted(calls)}
    for one in (one for of_scale in found.values() for one in of_scale):
        _check_sizes(one)
    cache = Cache(make_folder(out))
    tasks = team.first(lambda: _tasks(upscalers, found, cache))
    _make_pictures(team.share(tasks), upscalers, cache, precision, tell)
    for pictures in team.gather(cache.pictures):
        cache.pictures.update(pictures)

    def score_and_write() -> Results:
        try:
            scores = _score(tasks, calls, cache, workers, tell)
        finally:
            cache.save()
        results = _results(upscalers, found, calls, tasks, scores, cache, precision)
        write_json(out / "results.json", results)
        write_csv(out / "results.csv", results)
        write_html(out / "report.html", results)
        return results

    return team.first(score_and_write)


def _named(upscalers: Sequence[Upscaler]) -> dict[str, Upscaler]:
    """Give each model a name of its own: the checkpoint's, and where two share one, part of its sha256."""
    count = Counter(one.model.name for one in upscalers)
    return {
        one.model.name if count[one.model.name] == 1 else f"{one.model.name}-{one.model.sha256[:6]}": one
        for one in upscalers
    }


def _check_sizes(one: BenchmarkSet) -> None:
    wrong = []
    for pair in one.pairs:
        if pair.lq is None:
            continue
        (lq_height, lq_width), (height, width) = picture_size(pair.lq), picture_size(pair.gt)
        if (width // one.scale, height // one.scale) != (lq_width, lq_height):
            wrong.append(f"{pair.name} ({lq_width} x {lq_height} for {width} x {height})")
    if wrong:
        raise DataError(
            f"{one.lq_folder}: {len(wrong)} pictures are not 1/{one.scale} of their ground truth: "
            f"{', '.join(wrong[:5])}{', ...' if len(wrong) > 5 else ''}; are they of another scale?"
        )


def _tasks(upscalers: dict[str, Upscaler], found: dict[int, list[BenchmarkSet]], cache: Cache) -> list[Task]:
    """Every picture of every model; low-resolution pictures that are missing are made."""
    return [
        Task(name, one, pair, _lq_of(pair, one, cache), f"pictures/{name}/{one.name}/{pair.name}.png")
        for name, upscaler in upscalers.items()
        for one in found[upscaler.model.scale]
        for pair in one.pairs
    ]


def _make_pictures(
    tasks: Sequence[Task], upscalers: dict[str, Upscaler], cache: Cache, precision: Precision, tell: Tell
) -> None:
    """Upscale what no earlier run has upscaled; what is done is kept also when the rest is not."""
    try:
        for done, task in enumerate(tasks, start=1):
            upscaler = upscalers[task.model]
            made_of = f"{upscaler.model.sha256} x{upscaler.model.scale} {precision} of {sha256_of(task.lq)}"
            if cache.picture_sha256(task.sr, made_of) is None:
                target = cache.root / task.sr
                make_folder(target.parent)
                write_picture(target, upscaler(read_picture(task.lq)))
                cache.keep_picture(task.sr, made_of)
            tell(f"{task.model} {task.set.name} {task.pair.name}", done, len(tasks))
    except BaseException:
        cache.save()
        raise


def _lq_of(pair: PicturePair, one: BenchmarkSet, cache: Cache) -> Path:
    """The stored low-resolution picture, or one that is made and kept beside the results."""
    if pair.lq is not None:
        return pair.lq
    relative = f"pictures/lq-x{one.scale}/{one.name}/{pair.name}.png"
    made_of = f"imresize {LQ_BORDER} 1/{one.scale} of {sha256_of(pair.gt)}"
    if cache.picture_sha256(relative, made_of) is None:
        gt = read_picture(pair.gt)
        height, width = (side // one.scale * one.scale for side in gt.shape[:2])
        target = cache.root / relative
        make_folder(target.parent)
        write_picture(target, imresize(gt[:height, :width], scale=1 / one.scale, border=LQ_BORDER))
        cache.keep_picture(relative, made_of)
    return cache.root / relative


def _score(
    tasks: Sequence[Task],
    calls: dict[int, tuple[MetricCall, ...]],
    cache: Cache,
    workers: int | None,
    tell: Tell,
) -> list[Scores]:
    """Measure what no earlier run has measured; a reason for no value is asked for anew each time."""
    keys = [_score_keys(task, calls[task.set.scale], cache) for task in tasks]
    jobs = [
        ScoreJob(
            cache.root / task.sr,
            task.pair.gt,
            tuple(call for call in calls[task.set.scale] if of_task[call.name] not in cache.scores),
            slack_px=task.set.scale - 1,
        )
        for task, of_task in zip(tasks, keys, strict=True)
    ]
    todo = [index for index, job in enumerate(jobs) if job.calls]
    fresh: dict[int, Scores] = {}
    for done, (index, scores) in enumerate(
        zip(todo, score_all([jobs[index] for index in todo], workers=workers), strict=True), start=1
    ):
        fresh[index] = scores
        known = {name: value for name, value in scores.values.items() if value is not None}
        cache.scores.update({keys[index][name]: value for name, value in known.items()})
        tell(f"scored {tasks[index].model} {tasks[index].set.name} {tasks[index].pair.name}", done, len(todo))
    return [
        Scores(
            {name: cache.scores.get(key) for name, key in of_task.items()},
            fresh[index].reasons if index in fresh else {},
        )
        for index, of_task in enumerate(keys)
    ]


def _score_keys(task: Task, calls: Sequence[MetricCall], cache: Cache) -> dict[str, str]:
    files = f"{cache.pictures[task.sr]['sha256']} {sha256_of(task.pair.gt)}"
    return {call.name: f"{call.name} {call.args} {srcx.__version__} {files}" for call in calls}


def _results(
    upscalers: dict[str, Upscaler],
    found: dict[int, list[BenchmarkSet]],
    calls: dict[int, tuple[MetricCall, ...]],
    tasks: Sequence[Task],
    scores: Sequence[Scores],
    cache: Cache,
    precision: Precision,
) -> Results:
    some_calls = next(iter(calls.values()))
    return Results(
        made_at=time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        versions={"srcx": srcx.__version__, "python": platform.python_version()}
        | {name: version(name) for name in ("torch", "numpy", "scipy", "scikit-image")},
        protocol={
            "text": PROTOCOL,
            "arguments": {f"x{scale}": {call.name: call.args for call in of} for scale, of in calls.items()},
        },
        metrics={call.name: "higher" if call.higher_is_better else "lower" for call in some_calls},
        models=[
            ModelInfo(
                name,
                one.model.architecture,
                one.model.scale,
                one.model.parameters,
                one.model.sha256,
                precision if one.model.net else "integers",
            )
            for name, one in upscalers.items()
        ],
        sets=[
            SetInfo(
                one.name, scale, len(one.pairs), f"stored in {one.lq_folder}" if one.lq_folder else MADE_LQ
            )
            for scale, of_scale in found.items()
            for one in of_scale
        ],
        means=_means(tasks, scores, [call.name for call in some_calls]),
        pictures=[_picture_result(task, one, cache) for task, one in zip(tasks, scores, strict=True)],
    )


def _picture_result(task: Task, scores: Scores, cache: Cache) -> PictureResult:
    return PictureResult(
        task.model,
        task.set.name,
        task.set.scale,
        task.pair.name,
        scores.values,
        scores.reasons,
        task.sr,
        str(task.pair.gt),
        str(task.lq),
        cache.pictures[task.sr]["sha256"],
        sha256_of(task.pair.gt),
        sha256_of(task.lq),
    )


def _means(tasks: Sequence[Task], scores: Sequence[Scores], names: Sequence[str]) -> list[MeanResult]:
    groups: dict[tuple[str, str, int], list[Scores]] = {}
    for task, one in zip(tasks, scores, strict=True):
        groups.setdefault((task.model, task.set.name, task.set.scale), []).append(one)
    means = []
    for (model, set_name, scale), of_set in groups.items():
        figures = {name: mean_of_set(name, of_set) for name in names}
        means.append(
            MeanResult(
                model,
                set_name,
                scale,
                {name: value for name, (value, _) in figures.items()},
                {name: reason for name, (_, reason) in figures.items() if reason},
            )
        )
    return means

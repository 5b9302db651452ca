"""A benchmark: every model over every set, then every metric of every image, as far as not done before."""

import json
import platform
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import srcx
from srcx.atomic import make_folder
from srcx.benchmarks.layout import ImagePair
from srcx.distributed import ALONE, Team
from srcx.errors import ImageError, UsageError
from srcx.evaluation.cache import Cache, sha256_of
from srcx.evaluation.inputs import LQ_BORDER, Source, find_sources, load_degradations, make_lq
from srcx.evaluation.report import (
    ImageResult,
    MeanResult,
    ModelInfo,
    Results,
    SetInfo,
    write_csv,
    write_html,
    write_json,
)
from srcx.evaluation.scoring import MetricCall, ScoreJob, Scores, mean_of_set, metric_calls, score_all
from srcx.imaging import read_image, write_image
from srcx.inference.model import Model
from srcx.inference.precision import Precision
from srcx.inference.upscaler import Upscaler, device_of, load_model

__all__ = ["benchmark"]

Tell = Callable[[str, int, int], None]
"""Told what was done, how many of how many."""

PROTOCOL = (
    "8 bits; Y is MATLAB's rgb2ycbcr, rounded; a grey image is taken as Y and upscaled as a grey image; "
    "ground truth cut to a multiple of the scale; as many border pixels shaved as the scale; "
    "rmse of a set is the root of the mean of the squares"
)
PROTOCOL_WITHOUT_GT = (
    "8 bits; images without ground truth, upscaled as they are; as many border pixels shaved as the scale; "
    "an image with alpha is measured on white"
)


@dataclass(frozen=True)
class Task:
    """One image of one model."""

    model: str
    source: Source
    pair: ImagePair
    sr: str
    """File of the result, relative to the results."""
    lq: Path | None
    """None where it was to be made of a ground truth that cannot be read."""
    problem: str = ""
    """Why there is no lq."""


def benchmark(
    models: Sequence[str | Path],
    data: Path,
    out: Path,
    *,
    sets: Sequence[str] | None = None,
    metrics: Sequence[str] = ("psnr", "ssim"),
    degrade: Sequence[str] = (),
    seed: int = 0,
    every: int = 1,
    without_gt: bool = False,
    precision: Precision = "fp32",
    workers: int | None = None,
    tell: Tell = lambda what, done, total: None,
    team: Team = ALONE,
) -> Results:
    """Run models over benchmark sets and score them; writes results.json, results.csv, report.html, images.

    A second run into the same folder reuses the images and scores that are still right.

    Args:
        models: Names or checkpoints, as `load_model` takes them.
        data: Folder of sets, as `find_sets` reads it; or of images, where `without_gt` is true.
        out: Folder of the results.
        sets: Sets to take; None takes all there are.
        metrics: Names of metrics.
        degrade: Degradations, as `load_degradation` takes them: each set is tested once for each, on the lq
            images that it makes from the ground truth. Without any, the stored lq images are taken.
        seed: Seed of the degradations; an image's damage depends on it, on the degradation and on the image's
            name, and on nothing else.
        every: Of each set, take the first image and then every `every`-th, in the order of their names.
        without_gt: `data` is a folder of images without ground truth: they are upscaled as they are, and the
            page shows squares of all of them side by side.
        precision: Number format the networks run in.
        workers: Processes that score; 0 for none beside this one, None for one a core where it is worth it.
        tell: Called after each image.
        team: The processes that share the upscaling; they see the same files. The first one scores.

    Raises:
        DataError: sets are missing or do not fit together.
        OptionsError: there is no such degradation, or its file is wrong.
        UsageError: there is no such model or metric, or arguments exclude each other.
        CheckpointError: a checkpoint cannot be read.
        OutputError: the results cannot be written.
    """
    if without_gt and (degrade or sets):
        raise UsageError(
            "images without ground truth: they are taken as they are, all of the folder; "
            f"leave out {'sets' if sets else 'degrade'}"
        )
    if every < 1:
        raise UsageError(f"every: expected 1 or more, got {every}; 5 takes every fifth image")
    degradations = load_degradations(degrade, seed)
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
    found = {
        scale: find_sources(data, sets, degradations, scale=scale, every=every, without_gt=without_gt)
        for scale in sorted(calls)
    }
    cache = Cache(make_folder(out), rank=team.rank)
    tasks = team.first(lambda: _tasks(upscalers, found, cache))
    failed = _make_images(team.share(tasks), upscalers, cache, precision, tell)
    for images, others_failed in team.gather((cache.images, failed)):
        cache.images.update(images)
        failed.update(others_failed)

    def score_and_write() -> Results:
        try:
            scores = _score(tasks, failed, calls, cache, workers, tell)
        finally:
            cache.save()
        results = replace(
            _results(upscalers, found, calls, tasks, scores, cache),
            degradations={one.name: one.options.model_dump(mode="json") for one in degradations},
            seed=seed if degradations else None,
            every=every,
            without_gt=without_gt,
        )
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


def _tasks(upscalers: dict[str, Upscaler], found: dict[int, list[Source]], cache: Cache) -> list[Task]:
    """Every image of every model; low-resolution images that are missing are made."""
    tasks = []
    for name, upscaler in upscalers.items():
        for one in found[upscaler.model.scale]:
            for pair in one.pairs:
                sr = f"images/{name}/{one.folder}/{pair.name}.png"
                try:
                    tasks.append(Task(name, one, pair, sr, _lq_of(pair, one, cache)))
                except ImageError as error:
                    tasks.append(Task(name, one, pair, sr, None, str(error)))
    return tasks


def _make_images(
    tasks: Sequence[Task], upscalers: dict[str, Upscaler], cache: Cache, precision: Precision, tell: Tell
) -> dict[str, str]:
    """Upscale what no earlier run has upscaled; what is done is kept also when the rest is not.

    Returns:
        Why there is no result, by `Task.sr`, where an image cannot be read.
    """
    failed: dict[str, str] = {}
    try:
        for done, task in enumerate(tasks, start=1):
            try:
                _make_image(task, upscalers[task.model], cache, precision)
            except ImageError as error:
                failed[task.sr] = str(error)
            tell(f"{task.model} {task.source.folder} {task.pair.name}", done, len(tasks))
    except BaseException:
        cache.save_own()
        raise
    return failed


def _make_image(task: Task, upscaler: Upscaler, cache: Cache, precision: Precision) -> None:
    """Write the result, unless an earlier run has; raise ImageError where an image cannot be read."""
    if task.lq is None:
        raise ImageError(task.problem)
    made_of = f"{_maker(upscaler.model, precision)} of {sha256_of(task.lq)}"
    if cache.image_sha256(task.sr, made_of) is None:
        target = cache.root / task.sr
        make_folder(target.parent)
        write_image(target, upscaler(read_image(task.lq)))
        cache.keep_image(task.sr, made_of)


def _maker(model: Model, precision: Precision) -> str:
    """Return all that an upscaled image depends on besides its input: weights do not say the network."""
    part = json.dumps(model.part, sort_keys=True, default=str)
    return f"{model.sha256} {model.architecture} {part} x{model.scale} {precision} srcx {srcx.__version__}"


def _lq_of(pair: ImagePair, one: Source, cache: Cache) -> Path:
    """The stored low-resolution image, or one that is made and kept beside the results.

    Raises:
        ImageError: it is to be made and the ground truth cannot be read.
    """
    if pair.lq is not None:
        return pair.lq
    assert pair.gt is not None
    relative = f"images/lq-x{one.scale}/{one.folder}/{pair.name}.png"
    way = f"degrade {one.degradation.made_of()}" if one.degradation else f"imresize {LQ_BORDER}"
    made_of = f"{way} 1/{one.scale} srcx {srcx.__version__} of {sha256_of(pair.gt)}"
    if cache.image_sha256(relative, made_of) is None:
        target = cache.root / relative
        make_folder(target.parent)
        write_image(target, make_lq(read_image(pair.gt), pair.name, one))
        cache.keep_image(relative, made_of)
    return cache.root / relative


def _score(
    tasks: Sequence[Task],
    failed: dict[str, str],
    calls: dict[int, tuple[MetricCall, ...]],
    cache: Cache,
    workers: int | None,
    tell: Tell,
) -> list[Scores]:
    """Measure what no earlier run has measured; a reason for no value is asked for anew each time."""
    keys = [{} if task.sr in failed else _score_keys(task, calls[task.source.scale], cache) for task in tasks]
    jobs = [
        ScoreJob(
            cache.root / task.sr,
            task.pair.gt,
            tuple(
                call
                for call in calls[task.source.scale]
                if of_task and of_task[call.name] not in cache.scores
            ),
            slack_px=task.source.scale - 1,
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
        task = tasks[index]
        tell(f"scored {task.model} {task.source.folder} {task.pair.name}", done, len(todo))
    for index, task in enumerate(tasks):
        if task.sr in failed:
            names = [call.name for call in calls[task.source.scale]]
            fresh[index] = Scores(dict.fromkeys(names), dict.fromkeys(names, failed[task.sr]))
    return [
        fresh[index]
        if tasks[index].sr in failed
        else Scores(
            {name: cache.scores.get(key) for name, key in of_task.items()},
            fresh[index].reasons if index in fresh else {},
        )
        for index, of_task in enumerate(keys)
    ]


def _score_keys(task: Task, calls: Sequence[MetricCall], cache: Cache) -> dict[str, str]:
    files = f"{cache.images[task.sr]['sha256']} {_sha256_of_gt(task.pair)}"
    return {call.name: f"{call.name} {call.args} {srcx.__version__} {files}" for call in calls}


def _sha256_of_gt(pair: ImagePair) -> str | None:
    return None if pair.gt is None else sha256_of(pair.gt)


def _results(
    upscalers: dict[str, Upscaler],
    found: dict[int, list[Source]],
    calls: dict[int, tuple[MetricCall, ...]],
    tasks: Sequence[Task],
    scores: Sequence[Scores],
    cache: Cache,
) -> Results:
    some_calls = next(iter(calls.values()))
    return Results(
        made_at=time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        versions={"srcx": srcx.__version__, "python": platform.python_version()}
        | {name: version(name) for name in ("torch", "numpy", "scipy", "scikit-image")},
        protocol={
            "text": _protocol_text(found),
            "arguments": {f"x{scale}": {call.name: call.args for call in of} for scale, of in calls.items()},
        },
        metrics={call.name: "higher" if call.higher_is_better else "lower" for call in some_calls},
        models=[_model_info(name, one) for name, one in upscalers.items()],
        sets=[
            SetInfo(one.name, scale, len(one.pairs), one.lq, one.damage)
            for scale, of_scale in found.items()
            for one in of_scale
        ],
        means=_means(tasks, scores, [call.name for call in some_calls]),
        images=[_image_result(task, one, cache) for task, one in zip(tasks, scores, strict=True)],
    )


def _model_info(name: str, upscaler: Upscaler) -> ModelInfo:
    model, choices = upscaler.model, upscaler.choices()
    precisions = list(dict.fromkeys(word for one in choices for word in one.precisions()))
    return ModelInfo(
        name,
        model.architecture,
        model.scale,
        sum(one.model.parameters for one in choices),
        model.sha256,
        precisions[0] if len(precisions) == 1 else f"{' or '.join(precisions)}, by image",
    )


def _protocol_text(found: dict[int, list[Source]]) -> str:
    pairs = (pair for of_scale in found.values() for one in of_scale for pair in one.pairs)
    return PROTOCOL_WITHOUT_GT if any(pair.gt is None for pair in pairs) else PROTOCOL


def _image_result(task: Task, scores: Scores, cache: Cache) -> ImageResult:
    return ImageResult(
        task.model,
        task.source.name,
        task.source.scale,
        task.pair.name,
        scores.values,
        scores.reasons,
        task.sr,
        None if task.pair.gt is None else str(task.pair.gt),
        str(task.lq or ""),
        cache.images.get(task.sr, {}).get("sha256", ""),
        _sha256_of_gt(task.pair),
        sha256_of(task.lq) if task.lq else "",
        task.source.damage,
    )


def _means(tasks: Sequence[Task], scores: Sequence[Scores], names: Sequence[str]) -> list[MeanResult]:
    groups: dict[tuple[str, str, str, int], list[Scores]] = {}
    for task, one in zip(tasks, scores, strict=True):
        key = (task.model, task.source.name, task.source.damage, task.source.scale)
        groups.setdefault(key, []).append(one)
    means = []
    for (model, set_name, damage, scale), of_set in groups.items():
        figures = {name: mean_of_set(name, of_set) for name in names}
        means.append(
            MeanResult(
                model,
                set_name,
                scale,
                {name: value for name, (value, _) in figures.items()},
                {name: reason for name, (_, reason) in figures.items() if reason},
                damage,
            )
        )
    return means

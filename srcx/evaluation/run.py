"""A benchmark: every model over every set, then every metric of every image, without repeating work."""

import json
import platform
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import srcx
from srcx.atomic import make_folder
from srcx.benchmarks.layout import ImagePair
from srcx.distributed import gather, local_rank, rank, run_on_main, world_size
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
from srcx.evaluation.scoring import ScoreJob, Scores, find_metrics, mean_of_set, score_all
from srcx.imaging import read_image
from srcx.inference.autotune import Precision
from srcx.inference.exported import is_exported
from srcx.inference.load import load_model
from srcx.inference.upscaler import Upscaler, device_of
from srcx.metrics.metric import Metric
from srcx.progress import OnProgress, no_progress

__all__ = ["benchmark"]

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
    """None if it had to be made from a ground truth that cannot be read."""
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
    on_progress: OnProgress = no_progress,
) -> Results:
    """Run models over benchmark sets and score them; write results.json, results.csv, report.html, images.

    A second run into the same folder reuses the images and scores that are still valid. The processes of a
    `srcx.distributed.process_group` share the upscaling; they see the same files, and rank 0 scores.

    Args:
        models: Names or checkpoints, as `load_model` takes them.
        data: Folder of sets, as `find_sets` reads it; or of images, where `without_gt` is true.
        out: Folder of the results.
        sets: Sets to take; None takes all there are.
        metrics: Names of metrics.
        degrade: Degradations, as `load_degradation` takes them: each set is tested once for each, on the lq
            images that it makes from the ground truth. Without any, the stored lq images are taken.
        seed: Seed of the degradations; an image's damage depends on it, on the degradation and on the image's
            name only.
        every: Of each set, take the first image and then every `every`-th, in the order of their names.
        without_gt: `data` is a folder of images without ground truth: they are upscaled as they are, and the
            page shows squares of all of them side by side.
        precision: Number format the networks run in.
        workers: Processes that score, as in `score_all`.
        on_progress: Called after each image.

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
    device = device_of(local_rank())
    loaded = []
    for model in dict.fromkeys(map(str, models)):
        # One program for all, so that figures can be compared; an exported file has its own.
        backend = "auto" if is_exported(Path(model)) else "torch"
        loaded.append(load_model(model, precision=precision, backend=backend, device=device))
    count = Counter(one.model.name for one in loaded)
    upscalers = {  # models that share a name get part of their sha256 too
        one.model.name if count[one.model.name] == 1 else f"{one.model.name}-{one.model.sha256[:6]}": one
        for one in loaded
    }
    scales = sorted({one.model.scale for one in upscalers.values()})
    measured = {scale: find_metrics(metrics, scale=scale) for scale in scales}
    found = {
        scale: find_sources(data, sets, degradations, scale=scale, every=every, without_gt=without_gt)
        for scale in scales
    }
    cache = Cache(make_folder(out), rank=rank())
    tasks = run_on_main(lambda: _tasks(upscalers, found, cache))
    own = tasks[rank() :: world_size()]
    failed = _make_images(own, upscalers, cache, precision, on_progress)
    # Of its own tasks alone: what a process knows of the others' images is from an earlier run.
    made = {task.sr: cache.images[task.sr] for task in own if task.sr in cache.images}
    for images, others_failed in gather((made, failed)):
        cache.images.update(images)
        failed.update(others_failed)

    def score_and_write() -> Results:
        try:
            scores = _score(tasks, failed, measured, cache, workers, on_progress)
        finally:
            cache.save()
        results = replace(
            _results(upscalers, found, measured, tasks, scores, cache),
            degradations={one.name: one.options.model_dump(mode="json") for one in degradations},
            seed=seed if degradations else None,
            every=every,
            without_gt=without_gt,
        )
        write_json(out / "results.json", results)
        write_csv(out / "results.csv", results)
        write_html(out / "report.html", results)
        return results

    return run_on_main(score_and_write)


def _tasks(upscalers: dict[str, Upscaler], found: dict[int, list[Source]], cache: Cache) -> list[Task]:
    """Return a task for every image of every model; make the lq images that are missing."""
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
    tasks: Sequence[Task],
    upscalers: dict[str, Upscaler],
    cache: Cache,
    precision: Precision,
    on_progress: OnProgress,
) -> dict[str, str]:
    """Upscale the images that no earlier run has upscaled; an interrupted run saves those that are done.

    Returns:
        `Task.sr` -> why there is no result, for images that cannot be read.
    """
    failed: dict[str, str] = {}
    try:
        for done, task in enumerate(tasks, start=1):
            try:
                _make_image(task, upscalers[task.model], cache, precision)
            except ImageError as error:
                failed[task.sr] = str(error)
            on_progress(f"{task.model} {task.source.folder} {task.pair.name}", done, len(tasks))
    except BaseException:
        cache.save_own()
        raise
    return failed


def _make_image(task: Task, upscaler: Upscaler, cache: Cache, precision: Precision) -> None:
    """Write the result, unless an earlier run has; raise ImageError where an image cannot be read."""
    if (lq := task.lq) is None:
        raise ImageError(task.problem)
    model = upscaler.model
    # All that the image depends on: the weights do not determine the network, so its options are here too.
    part = json.dumps(model.part, sort_keys=True, default=str)
    maker = f"{model.sha256} {model.architecture} {part} x{model.scale} {precision} srcx {srcx.__version__}"
    made_of = f"{maker} of {sha256_of(lq)}"
    cache.ensure_image(task.sr, made_of, lambda: upscaler(read_image(lq)))


def _lq_of(pair: ImagePair, one: Source, cache: Cache) -> Path:
    """Return the stored lq image, or one that is made beside the results.

    Raises:
        ImageError: it is to be made and the ground truth cannot be read.
    """
    if pair.lq is not None:
        return pair.lq
    gt = pair.gt
    assert gt is not None
    relative = f"images/lq-x{one.scale}/{one.folder}/{pair.name}.png"
    maker = f"degrade {one.degradation.made_of()}" if one.degradation else f"imresize {LQ_BORDER}"
    made_of = f"{maker} 1/{one.scale} srcx {srcx.__version__} of {sha256_of(gt)}"
    cache.ensure_image(relative, made_of, lambda: make_lq(read_image(gt), pair.name, one))
    return cache.root / relative


def _score(
    tasks: Sequence[Task],
    failed: dict[str, str],
    measured: dict[int, tuple[Metric, ...]],
    cache: Cache,
    workers: int | None,
    on_progress: OnProgress,
) -> list[Scores]:
    """Measure what no earlier run has measured; a metric that had no value then is tried again."""
    everything: list[Scores] = []
    todo: list[tuple[Task, dict[str, str], Scores, ScoreJob]] = []
    for task in tasks:
        metrics = measured[task.source.scale]
        if task.sr in failed:
            everything.append(Scores.none(metrics, failed[task.sr]))
            continue
        files = f"{cache.images[task.sr]['sha256']} {_digest(task.pair.gt) if task.pair.gt else None}"
        keys = {one.name: f"{one.name} {one.args} {srcx.__version__} {files}" for one in metrics}
        scores = Scores({name: cache.scores.get(key) for name, key in keys.items()})
        everything.append(scores)
        fresh = tuple(one for one in metrics if scores.values[one.name] is None)
        if fresh:
            job = ScoreJob(cache.root / task.sr, task.pair.gt, fresh, slack_px=task.source.scale - 1)
            todo.append((task, keys, scores, job))
    measurements = score_all([job for *_, job in todo], workers=workers)
    for done, ((task, keys, scores, _), measurement) in enumerate(
        zip(todo, measurements, strict=True), start=1
    ):
        scores.values.update(measurement.values)
        scores.reasons.update(measurement.reasons)
        cache.scores.update(
            {keys[name]: value for name, value in measurement.values.items() if value is not None}
        )
        on_progress(f"scored {task.model} {task.source.folder} {task.pair.name}", done, len(todo))
    return everything


def _digest(path: Path) -> str:
    """Return the sha256 of a file, or "" where it cannot be read; its scores then have a reason."""
    try:
        return sha256_of(path)
    except ImageError:
        return ""


def _results(
    upscalers: dict[str, Upscaler],
    found: dict[int, list[Source]],
    measured: dict[int, tuple[Metric, ...]],
    tasks: Sequence[Task],
    scores: Sequence[Scores],
    cache: Cache,
) -> Results:
    some_metrics = next(iter(measured.values()))
    without_gt = any(task.pair.gt is None for task in tasks)
    return Results(
        made_at=time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        versions={"srcx": srcx.__version__, "python": platform.python_version()}
        | {name: version(name) for name in ("torch", "numpy", "scipy", "scikit-image")},
        protocol={
            "text": PROTOCOL_WITHOUT_GT if without_gt else PROTOCOL,
            "arguments": {f"x{scale}": {one.name: one.args for one in of} for scale, of in measured.items()},
        },
        metrics={one.name: "higher" if one.higher_is_better else "lower" for one in some_metrics},
        models=[_model_info(name, one) for name, one in upscalers.items()],
        sets=[
            SetInfo(one.name, scale, len(one.pairs), one.lq, one.damage)
            for scale, of_scale in found.items()
            for one in of_scale
        ],
        means=_means(tasks, scores, some_metrics),
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
        _digest(task.pair.gt) if task.pair.gt else None,
        _digest(task.lq) if task.lq else "",
        task.source.damage,
    )


def _means(tasks: Sequence[Task], scores: Sequence[Scores], metrics: Sequence[Metric]) -> list[MeanResult]:
    groups: dict[tuple[str, str, str, int], list[Scores]] = {}
    for task, one in zip(tasks, scores, strict=True):
        key = (task.model, task.source.name, task.source.damage, task.source.scale)
        groups.setdefault(key, []).append(one)
    means = []
    for (model, set_name, damage, scale), of_set in groups.items():
        mean = mean_of_set(metrics, of_set)
        means.append(MeanResult(model, set_name, scale, mean.values, mean.reasons, damage))
    return means

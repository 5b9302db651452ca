"""Makes the data sets, batches and validation metrics of a run from its options, and checks their files."""

import inspect
import pickle
from collections.abc import Iterator
from dataclasses import replace
from typing import cast

from accelerate import Accelerator

from srcx import config
from srcx.config import DatasetOptions, Options
from srcx.data import PairDataset
from srcx.data.batches import Batch, copied_ahead
from srcx.data.batches import train_batches as batches_of
from srcx.errors import OptionsError, SrcxError
from srcx.evaluation.validation import ValidationSet
from srcx.metrics.metric import Metric, MetricFunction
from srcx.training.build import PARTS

__all__ = [
    "check_data",
    "check_metrics",
    "dataset",
    "metric",
    "train_batches",
    "training_set",
    "validation_sets",
]


def training_set(options: Options) -> PairDataset:
    """Return the images to train on; every file is checked.

    Raises:
        DataError: with all that is wrong with its files.
    """
    assert options.datasets.train is not None
    return dataset(options.datasets.train, options.scale)


def train_batches(
    options: Options, training_set: PairDataset, accelerator: Accelerator, *, start_iter: int = 0
) -> Iterator[Batch]:
    """Return the endless stream of training batches, from that of iteration `start_iter` + 1 on.

    For a GPU they are there already: prepared by threads in pinned memory, and copied ahead.
    """
    assert options.train is not None
    part = options.datasets.train
    assert part is not None
    on_gpu = accelerator.device.type == "cuda"
    batches = batches_of(
        training_set,
        batch_size=part.batch_size_per_gpu * options.train.accumulate,
        seed=options.manual_seed,
        start_iter=start_iter,
        workers=part.num_worker_per_gpu,
        rank=accelerator.process_index,
        world=accelerator.num_processes,
        enlarge=part.dataset_enlarge_ratio,
        stages=part.stages(options.train.total_iter),
        pin_memory=on_gpu,
        gt_sharp=options.train.needs_gt_sharp,
    )
    return copied_ahead(batches, accelerator.device) if on_gpu else batches


def validation_sets(options: Options) -> list[ValidationSet]:
    """Return the sets to evaluate on: those of a training file's `val`, or of a test file's `test`.

    Raises:
        DataError: with all that is wrong with the files of a set.
        WeightsError: a metric lacks its weights.
    """
    metrics = check_metrics(options)
    parts = [*options.datasets.val.values(), *options.datasets.test.values()]
    return [ValidationSet(part.name, dataset(part, options.scale), metrics) for part in parts]


def check_metrics(options: Options) -> list[Metric]:
    """Return the metrics of validation; their weights are there.

    Raises:
        WeightsError: a metric lacks its weights.
        OptionsError: a metric cannot be given to another process, and the options ask for that.
    """
    metrics = [metric(name, part) for name, part in options.val.metrics.items()]
    for one in metrics if options.datasets.val or options.datasets.test else ():
        if options.val.metric_workers and options.datasets.val:
            check_portable(one, options)
        try:
            one.check()
        except SrcxError as error:
            option = f"val.metrics.{one.name}"
            raise type(error)(f"{options.where(option)}: {option}: {error}") from error
    return metrics


def check_portable(metric: Metric, options: Options) -> None:
    """Check that `metric` can be given to another process.

    Raises:
        OptionsError: it cannot, as some of other packages.
    """
    try:
        pickle.dumps(metric)
    except Exception as error:  # objects of other packages raise errors of any kind
        option = "val.metric_workers"
        raise OptionsError(
            f"{options.where(option)}: {option}: the metric {metric.name} cannot be given to another "
            "process; set this to 0"
        ) from error


def metric(name: str, part: config.Metric) -> Metric:
    """Return the metric that `part` describes, under the name it has in results."""
    found = Metric.of(name, cast(MetricFunction, PARTS.part("metric", part.type)), part.args)
    return found if part.better is None else replace(found, higher_is_better=part.better == "higher")


def dataset(part: DatasetOptions, scale: int) -> PairDataset:
    """Return the data set that `part` names; every file that it will read is checked.

    Raises:
        DataError: with all that is wrong with its files.
    """
    kind = PARTS.part("dataset", part.type)
    storage = "remote" if part.io_backend.remote else part.io_backend.type
    options = {**dict(part), "io_backend": storage, "scale": scale}
    taken = inspect.signature(kind).parameters
    return kind(**{name: value for name, value in options.items() if name in taken})


def check_data(options: Options) -> list[tuple[str, PairDataset]]:
    """Check every file of every data set.

    Returns:
        Names and data sets, the training set first; two of them may have one name.

    Raises:
        DataError: with all that is wrong with one of them.
    """
    sets = options.datasets
    parts: list[DatasetOptions] = [sets.train] if sets.train else []
    parts += [*sets.val.values(), *sets.test.values()]
    return [(part.name, dataset(part, options.scale)) for part in parts]

"""Describe a run, and draw its first crops, without training: `srcx train --check`."""

import threading
import time
from datetime import timedelta
from pathlib import Path
from statistics import fmean

import psutil
import torch
from torch import nn

from srcx.atomic import make_folder
from srcx.config import Options, TrainDataset
from srcx.data import train_batches
from srcx.evaluation.report.contact_sheet import contact_sheet
from srcx.imaging.io import write_image
from srcx.training import build
from srcx.training.dry_run import channels, try_once
from srcx.training.model import SRModel

__all__ = ["describe", "write_contact_sheet"]

TIMED_STEPS = 2
WATCH_S = 0.005
SHEET_CROPS = 12
MIB = 2**20


def describe(options: Options) -> str:
    """The resolved options, networks, data and estimates of a training file, as text.

    The estimates are measured: a few steps on random images with a copy that is thrown away.

    Raises:
        SrcxError: of the kind that would stop the run.
    """
    train, train_set = options.train, options.datasets.train
    assert train is not None
    assert train_set is not None
    build.check_paths(options)
    data = [f"  {name}: {counts}" for name, counts in build.check_data(options).items()]
    torch.manual_seed(options.manual_seed)
    build.check_metrics(options)
    with PeakMemory() as memory:
        model = build.model(options, build.accelerator(options))
        try_once(model, options)
        step_s, said = _step_s(model, options, train_set)
    networks = [f"  {name}: {_counts(net)}" for name, net in model.bare_nets.items()]
    return "\n".join(
        [
            "# the options, resolved",
            options.to_yaml().rstrip(),
            "",
            "# networks",
            *networks,
            "",
            "# data, every pair checked",
            *data,
            "",
            f"# estimates, from {TIMED_STEPS} steps on random images that were thrown away",
            f"  time: {step_s:.2f} s an iteration{said}, "
            f"{timedelta(seconds=round(step_s * train.total_iter))} for {train.total_iter} iterations, "
            "without validation",
            f"  memory: {memory.mib:.0f} MiB for the step, up to {train_set.cache_mib} MiB "
            "for decoded images",
        ]
    )


def write_contact_sheet(options: Options) -> Path:
    """Write the first crops that the run will train on, lq beside gt, as NAME_check.png beside its folder.

    Raises:
        DataError: with all that is wrong with the training set.
        OutputError: the sheet cannot be written.
    """
    part = options.datasets.train
    assert part is not None
    dataset = build.training_set(options)
    # The crop at each place of the stream is the same for all batch sizes and ranks.
    batch = next(
        train_batches(
            dataset,
            batch_size=SHEET_CROPS,
            seed=options.manual_seed,
            enlarge=part.dataset_enlarge_ratio,
        )
    )
    lqs, gts = (dataset.levels.images(batch[side]) for side in ("lq", "gt"))
    folder = make_folder(Path(options.path.experiments_root))
    path = folder / f"{options.name}_check.png"
    write_image(path, contact_sheet(list(zip(lqs, gts, strict=True))))
    return path


def _counts(net: nn.Module) -> str:
    parameters = sum(parameter.numel() for parameter in net.parameters())
    return f"{type(net).__name__}, {parameters:,} parameters"


def _step_s(model: SRModel, options: Options, train_set: TrainDataset) -> tuple[float, str]:
    """Mean seconds an iteration over the run, and what it is the mean of where steps are of two kinds."""
    train = options.train
    assert train is not None
    size, count = train_set.gt_size, train_set.batch_size_per_gpu * train.accumulate
    batch = {
        "lq": torch.rand(count, channels(options), size // options.scale, size // options.scale),
        "gt": torch.rand(count, channels(options), size, size),
    }
    if train.needs_gt_sharp:
        batch["gt_sharp"] = batch["gt"]
    every = train.net_d_iters
    first = (train.net_d_init_iters // every + 1) * every
    whole_s = _timed(model, batch, iteration=first)
    if first == 1:
        return whole_s, ""
    alone_s = _timed(model, batch, iteration=1)
    share = max(train.total_iter // every - train.net_d_init_iters // every, 0) / train.total_iter
    said = f" ({whole_s:.2f} s with the generator's step, {alone_s:.2f} s with the discriminator's alone)"
    return share * whole_s + (1 - share) * alone_s, said


def _timed(model: SRModel, batch: dict[str, torch.Tensor], *, iteration: int) -> float:
    """Seconds of a step as it is in this iteration."""
    times_s = []
    for _ in range(1 + TIMED_STEPS):
        model.iteration = iteration - 1
        start = time.perf_counter()
        model.step(batch)  # returns when the figures are there, so a GPU is done too
        times_s.append(time.perf_counter() - start)
    return fmean(times_s[1:])  # the first one also makes buffers and picks kernels


class PeakMemory:
    """Measures the most memory taken at once inside a block, beyond what was taken before it.

    It is the GPU's where there is one. On the CPU the process's resident memory is looked at every few
    milliseconds, since the peak that the system keeps is that of the whole process, imports included.
    """

    def __enter__(self) -> "PeakMemory":
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        self._before = self._most = _taken_bytes()
        self._done = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()
        return self

    def _watch(self) -> None:
        while not self._done.wait(WATCH_S):
            self._most = max(self._most, _taken_bytes())

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._watcher.join()
        self._most = max(self._most, _taken_bytes())

    @property
    def mib(self) -> float:
        """The measured peak, after the block."""
        return (self._most - self._before) / MIB


def _taken_bytes() -> int:
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    taken: int = psutil.Process().memory_info().rss
    return taken

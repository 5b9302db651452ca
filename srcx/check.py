"""Describe a run, and draw its first crops, without training: `srcx train --check`."""

import sys
import time
from datetime import timedelta
from pathlib import Path

import psutil
import torch
from torch import nn

from srcx import build
from srcx.atomic import make_folder
from srcx.config import Options, TrainDataset
from srcx.data import train_batches
from srcx.imaging.io import write_picture
from srcx.models.sr import SRModel
from srcx.report.contact_sheet import contact_sheet

__all__ = ["describe", "write_contact_sheet"]

TIMED_STEPS = 2
SHEET_CROPS = 12
MIB = 2**20


def describe(options: Options) -> str:
    """The resolved options, networks, data and estimates of a training file, as text.

    The estimates are measured: a few steps on random pictures with a copy that is thrown away.

    Raises:
        SrcxError: of the kind that would stop the run.
    """
    train, train_set = options.train, options.datasets.train
    assert train is not None
    assert train_set is not None
    data = [f"  {name}: {counts}" for name, counts in build.check_data(options).items()]
    before_mib = _peak_mib()
    torch.manual_seed(options.manual_seed)
    model = build.model(options, build.accelerator(options))
    step_s = _step_s(model, options, train_set)
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
            f"# estimates, from {TIMED_STEPS} steps on random pictures that were thrown away",
            f"  time: {step_s:.2f} s an iteration, {timedelta(seconds=round(step_s * train.total_iter))} "
            f"for {train.total_iter} iterations, without validation",
            f"  memory: {_peak_mib() - before_mib:.0f} MiB for the step, up to {train_set.cache_mib} MiB "
            "for decoded pictures",
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
    write_picture(path, contact_sheet(list(zip(lqs, gts, strict=True))))
    return path


def _counts(net: nn.Module) -> str:
    parameters = sum(parameter.numel() for parameter in net.parameters())
    return f"{type(net).__name__}, {parameters:,} parameters"


def _step_s(model: SRModel, options: Options, train_set: TrainDataset) -> float:
    assert options.train is not None
    size = train_set.gt_size
    batch_size = train_set.batch_size_per_gpu * options.train.accumulate
    batch = {
        "lq": torch.rand(batch_size, 3, size // options.scale, size // options.scale),
        "gt": torch.rand(batch_size, 3, size, size),
    }
    if options.train.needs_gt_sharp:
        batch["gt_sharp"] = batch["gt"]
    model.step(batch)  # the first one also makes buffers and picks kernels
    start = time.perf_counter()
    for _ in range(TIMED_STEPS):
        model.step(batch)
    return (time.perf_counter() - start) / TIMED_STEPS


def _peak_mib() -> float:
    """Peak memory of this process so far: the GPU's where there is one."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / MIB
    if sys.platform == "win32":
        return psutil.Process().memory_info().peak_wset / MIB
    import resource  # not on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KiB on Linux, bytes on macOS
    return peak / MIB if sys.platform == "darwin" else peak / 1024

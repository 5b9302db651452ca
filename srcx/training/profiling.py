"""`srcx train --profile`: where the time of a training step goes, as a table and a trace file.

The parts of a step are marked in the code by `record_function("srcx: NAME")`. The backward pass of a part is
found by the numbers that autograd gives to the operations of the forward pass and to their gradients.
"""

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from torch.autograd.profiler_util import FunctionEvent
from torch.profiler import ProfilerActivity, record_function

from srcx.atomic import make_folder
from srcx.config import Options
from srcx.data.batches import Batch
from srcx.hardware import keep_freed_memory
from srcx.training import build, build_data
from srcx.training.dry_run import try_once
from srcx.training.model import SRModel
from srcx.training.options import check_paths, check_weights
from srcx.training.random_state import seed_generators

__all__ = ["PROFILED_STEPS", "Profile", "profile_run", "profile_steps"]

PROFILED_STEPS = 50
WARM_UP_STEPS = 3
MARK = "srcx: "
OTHER = "all else"
WORDS = {
    "data": "waiting for the next batch",
    "net_g": "generator (net_g)",
    "net_g_back": "generator back (net_g_back)",
    "net_d": "discriminator (net_d)",
    "net_d_back": "discriminator of lq (net_d_back)",
    "features of sr": "VGG or the like, of sr",
    "features of gt": "VGG or the like, of gt",
    "features of gt_sharp": "VGG or the like, of sharpened gt",
    "features of lq": "VGG or the like, of lq",
    "EMA": "EMA of the weights",
}
"""Names in the table for marks that need an explanation."""


class Profile(NamedTuple):
    """The measured steps; all times are means of one step in seconds."""

    steps: int
    step_s: float
    """From one step to the next, by the clock."""
    gt_sizes: list[int]
    """Sides of the crops of ground truth in these steps."""
    forward_s: dict[str, float]
    """By the name of the part; on a GPU the time in which it computes for this part."""
    backward_s: dict[str, float]
    trace: Path

    def table(self) -> str:
        """Return the table, the longest part first."""
        names = {*self.forward_s, *self.backward_s}
        both = {name: self.forward_s.get(name, 0) + self.backward_s.get(name, 0) for name in names}
        both[OTHER] = both.get(OTHER, 0) + max(self.step_s - sum(both.values()), 0)
        sizes = " and ".join(map(str, self.gt_sizes))
        lines = [
            f"# {self.steps} steps with crops of {sizes} pixels, {self.step_s * 1e3:.1f} ms each "
            "(the profiler itself slows them)"
        ]
        lines.append(f"  {'part':34} {'forward':>11} {'backward':>11} {'share':>6}")
        for name in sorted(both, key=both.__getitem__, reverse=True):
            forward, backward = (
                f"{one[name] * 1e3:8.2f} ms" if name in one else ""
                for one in (self.forward_s, self.backward_s)
            )
            share = f"{both[name] / self.step_s:.1%}"
            lines.append(f"  {WORDS.get(name, name):34} {forward:>11} {backward:>11} {share:>6}")
        lines.append(f"# every operation in time, for chrome://tracing or ui.perfetto.dev\n  {self.trace}")
        return "\n".join(lines)


def profile_run(options: Options) -> Profile:
    """Train for some steps as `options` say, and measure them; only the trace file is written.

    Raises:
        SrcxError: of the kind that would stop the run.
    """
    assert options.train is not None
    check_paths(options)
    check_weights(options)
    keep_freed_memory()
    seed_generators(options.manual_seed)
    accelerator = build.accelerator(options)
    training_set = build_data.training_set(options)
    model = build.model(options, accelerator)
    try_once(model, options)
    model.iteration = options.train.net_d_init_iters  # from where on the generator is trained
    batches = build_data.train_batches(options, training_set, accelerator)
    folder = make_folder(Path(options.path.experiments_root))
    return profile_steps(model, batches, folder / f"{options.name}_profile.json.gz")


def profile_steps(
    model: SRModel, batches: Iterator[Batch], trace: Path, *, steps: int = PROFILED_STEPS
) -> Profile:
    """Train on `steps` batches and measure the parts of a step.

    Args:
        model: The training model.
        batches: As training takes them; the first few are not measured.
        trace: The trace file to write, .json.gz.
        steps: Number of measured steps.
    """
    on_gpu = model.accelerator.device.type == "cuda"
    for _ in range(WARM_UP_STEPS):
        model.step(next(batches))
    gt_sizes: set[int] = set()
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    with torch.profiler.profile(activities=activities) as profiler:
        start = time.perf_counter()
        for _ in range(steps):
            with record_function(f"{MARK}data"):
                batch = next(batches)
            gt_sizes.add(batch["gt"].shape[-1])
            model.step(batch)
        step_s = (time.perf_counter() - start) / steps
    profiler.export_chrome_trace(str(trace))
    forward_us, backward_us = parts_of(profiler.events(), on_gpu=on_gpu)
    forward_s, backward_s = (
        {name: one / steps / 1e6 for name, one in times.items()} for times in (forward_us, backward_us)
    )
    return Profile(steps, step_s, sorted(gt_sizes), forward_s, backward_s, trace)


def parts_of(events: Iterable[FunctionEvent], *, on_gpu: bool) -> tuple[dict[str, float], dict[str, float]]:
    """Return the microseconds of each marked part, in the forward and in the backward pass.

    Args:
        events: Those of the profiler.
        on_gpu: Whether to take the time of the GPU's kernels, not the processor's.
    """
    events = sorted(
        (one for one in events if one.device_type.name == "CPU"), key=lambda one: one.time_range.start
    )

    def time_us(event: FunctionEvent) -> float:
        return float(event.device_time_total if on_gpu else event.cpu_time_total)

    forward_us: dict[str, float] = defaultdict(float)
    backward_us: dict[str, float] = defaultdict(float)
    part_of_number: dict[int, str] = {}
    for event in events:
        around = mark_around(event.cpu_parent)
        if event.name.startswith(MARK):
            forward_us[event.name.removeprefix(MARK)] += time_us(event)
            if around is not None:  # each moment counts for the innermost mark
                forward_us[around] -= time_us(event)
        elif event.scope == 0 and event.sequence_nr >= 0 and not event.name.startswith("autograd::"):
            # Operations without a gradient have the number of the next one with it, which comes last.
            part_of_number[event.sequence_nr] = around or OTHER
        elif event.scope == 1:
            backward_us[part_of_number.get(event.sequence_nr, OTHER)] += time_us(event)
    return dict(forward_us), dict(backward_us)


def mark_around(event: FunctionEvent | None) -> str | None:
    """Return the innermost mark of this event and those around it."""
    while event is not None:
        if event.name.startswith(MARK):
            return event.name.removeprefix(MARK)
        event = event.cpu_parent
    return None

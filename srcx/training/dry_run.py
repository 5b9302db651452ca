"""Runs without training: a trial on zeros before each run, and `srcx train --check`."""

import copy
import threading
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from statistics import fmean
from typing import NamedTuple, TypeVar

import psutil
import torch
from torch import Tensor, nn

from srcx.atomic import make_folder
from srcx.config import Options
from srcx.data import PairDataset, train_batches
from srcx.errors import OptionsError
from srcx.evaluation.report.contact_sheet import contact_sheet
from srcx.hardware import NO_VIEW
from srcx.imaging.io import write_image
from srcx.inference.network_sizes import size_multiple
from srcx.inference.tiling import NoSizeError
from srcx.losses.gan import r1_penalty, scales
from srcx.losses.weighted_sum import WeightedSum, jittered
from srcx.training import build, build_data
from srcx.training.model import SRModel
from srcx.training.options import check_paths, check_weights

__all__ = ["Step", "describe", "measure_step", "try_once", "write_contact_sheet"]

T = TypeVar("T")

TIMED_STEPS = 2
SAMPLE_EVERY_S = 0.005
SHEET_CROPS = 12
MIB = 2**20


def try_once(model: SRModel, options: Options) -> None:
    """Run copies of the networks, and every loss, on a small batch of zeros; nothing of `model` changes.

    Raises:
        OptionsError: a network or a loss does not fit the other options; names the option and its line.
    """
    train, train_set = options.train, options.datasets.train
    assert train is not None
    assert train_set is not None
    for gt_size in sorted({gt_size for gt_size, _ in train_set.stages(train.total_iter)}):
        _try_once(model, options, gt_size)


def _try_once(model: SRModel, options: Options, gt_size: int) -> None:
    train, train_set = options.train, options.datasets.train
    assert train is not None
    assert train_set is not None
    device, count = model.accelerator.device, min(2, train_set.batch_size_per_gpu)  # batch norm needs two
    lq, gt = (
        torch.zeros(shape, device=device).to(memory_format=model.memory_format)
        for shape in _batch_shapes(options, count, gt_size)
    )
    nets = {name: copy.deepcopy(network.net) for name, network in model.networks.items()}
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices), model.accelerator.autocast():
        sr = _attempt(
            options,
            "network_g",
            lq,
            lambda: nets["net_g"](lq).float(),
            lambda: _right_sizes(nets["net_g"], lq),
        )
        if train.compile:
            shape, _ = _batch_shapes(options, train_set.batch_size_per_gpu, gt_size)
            whole = torch.zeros(shape, device=device)
            whole = whole.to(memory_format=model.memory_format)  # the shape that training compiles again
            _attempt(options, "train.compile", whole, lambda: torch.compile(nets["net_g"])(whole))
        if sr.shape != gt.shape:
            raise _problem(options, "network_g", f"{type(nets['net_g']).__name__} {_misfit(sr, gt, lq)}")
        if (teacher := model.teacher) is not None:
            target = _attempt(options, "path.teacher", lq, lambda: teacher(lq))
            if target.shape != gt.shape:
                said = f"{teacher.architecture} {_misfit(target, gt, lq)}"
                raise _problem(options, "path.teacher", said)
        total = sr.new_zeros(())
        for name, loss in model.losses.losses.items():
            one = WeightedSum(
                {name: (loss, model.losses.weights[name])},
                against={key: other for key, other in model.losses.against.items() if key == name},
                jitter_px=model.losses.jitter_px,
            )
            option = f"train.{name if name in train.losses else name.removesuffix('_style')}_opt"

            def run_loss(one: WeightedSum = one) -> Tensor:
                value: Tensor = one(sr, gt, lq=lq, gt_sharp=gt, sr_ema=sr.detach())[0]
                return value

            term = _attempt(options, option, sr, run_loss)
            if term.dim():
                raise _problem(options, option, f"gives {tuple(term.shape)} values, and a loss gives one")
            total = total + term
        if "net_d" in nets:
            images = jittered(gt, sr, jitter_px=model.losses.jitter_px)

            def run_discriminator() -> Tensor:
                logits = [one for image in images for one in scales(nets["net_d"](image))]
                sum_of_means = torch.stack([one.mean() for one in logits]).sum()
                return (
                    sum_of_means + r1_penalty(nets["net_d"], images[0])
                    if train.r1_reg_weight
                    else sum_of_means
                )

            total = total + _attempt(options, "network_d", images[0], run_discriminator)
        _attempt(options, "network_g", lq, total.backward)


def _batch_shapes(options: Options, count: int, gt_size: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the shapes of lq and gt in a batch of `count` crops with a side of `gt_size`."""
    part = options.datasets.train
    assert part is not None
    channels, lq_size = 1 if part.color == "y" else 3, gt_size // options.scale
    return (count, channels, lq_size, lq_size), (count, channels, gt_size, gt_size)


def _misfit(sr: Tensor, gt: Tensor, lq: Tensor) -> str:
    if sr.shape[:2] != gt.shape[:2]:
        return (
            f"makes images of {sr.shape[1]} channels, and training images have {gt.shape[1]}; "
            "change num_out_ch or datasets.train.color"
        )
    return (
        f"makes {sr.shape[-1]} x {sr.shape[-2]} pixels of {lq.shape[-1]} x {lq.shape[-2]}, and with scale "
        f"{gt.shape[-1] // lq.shape[-1]} ground truth has {gt.shape[-1]} x {gt.shape[-2]}; "
        "give it the file's scale"
    )


def _right_sizes(net: nn.Module, lq: Tensor) -> str:
    """Return the end of a message about a network that takes other sizes than that of lq."""
    try:
        multiple_of, scale = size_multiple(net.eval(), lq.shape[1])
    except NoSizeError:
        return ""
    if lq.shape[-1] % multiple_of == 0:
        return ""
    return f"; it takes multiples of {multiple_of}: make gt_size a multiple of {multiple_of * scale}"


def _attempt(
    options: Options, option: str, images: Tensor, work: Callable[[], T], advice: Callable[[], str] = str
) -> T:
    """Return `work()`; its errors name the option and the shape of `images`, and end with `advice()`."""
    try:
        return work()
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # networks and losses of other packages raise errors of any kind
        said = str(error).strip().split("\n")[0] or type(error).__name__
        if NO_VIEW in said:
            said = "it works on images with the channels first alone; set train.channels_last to false"
            raise _problem(options, option, said) from error
        given = f"images of shape {tuple(images.shape)}, which scale, gt_size, jitter and color make"
        raise _problem(options, option, f"cannot work on {given}: {said}{advice()}") from error


def _problem(options: Options, option: str, said: str) -> OptionsError:
    return OptionsError(f"{options.where(option)}: {option}: {said}")


def describe(options: Options, sets: Sequence[tuple[str, PairDataset]]) -> str:
    """Return the resolved options, networks, data and estimates of a training file, as text.

    The estimates are measured: a few steps on random images, whose results are dropped.

    Args:
        options: Those of the file.
        sets: Names and data sets of the file, as `build_data.check_data` returns them.

    Raises:
        SrcxError: of the kind that would stop the run.
    """
    train, train_set = options.train, options.datasets.train
    assert train is not None
    assert train_set is not None
    check_paths(options)
    check_weights(options)
    cached_mib = min(train_set.cache_mib, sets[0][1].decoded_mib)
    build_data.check_metrics(options)
    step = measure_step(options)
    counts = {
        name: sum(weight.numel() for weight in network.net.parameters())
        for name, network in step.model.networks.items()
    }
    networks = [
        f"  {name}: {type(step.model.networks[name].net).__name__}, {count:,} parameters"
        for name, count in counts.items()
    ]
    return "\n".join(
        [
            "# the options, resolved",
            options.to_yaml().rstrip(),
            "",
            "# networks",
            *networks,
            f"  convolutions by {step.model.convolution.way}: {step.model.convolution.reason}",
            "",
            "# data, every pair checked",
            *(f"  {name}: {one.describe()}" for name, one in sets),
            "",
            f"# estimates, from {TIMED_STEPS} steps on random images that were thrown away",
            f"  time: {step.time_s:.2f} s an iteration{step.kinds}, "
            f"{timedelta(seconds=round(step.time_s * train.total_iter))} for {train.total_iter} iterations, "
            "without validation",
            f"  memory: {step.peak_mib:.0f} MiB for the step, up to {cached_mib} MiB for decoded images",
        ]
    )


class Step(NamedTuple):
    """A training step as it was measured."""

    model: SRModel
    time_s: float
    """Mean seconds per iteration of the run."""
    kinds: str
    """The times in words, where the run has several kinds of steps; else empty."""
    peak_mib: float
    """Memory beyond what was used before the model was made."""


def measure_step(options: Options) -> Step:
    """Make the training model and run a few steps on random images.

    Raises:
        SrcxError: of the kind that would stop the run.
    """
    assert options.datasets.train is not None
    torch.manual_seed(options.manual_seed)
    with PeakMemory() as memory:
        model = build.model(options, build.accelerator(options))
        try_once(model, options)
        time_s, kinds = _mean_step_s(model, options)
    return Step(model, time_s, kinds, memory.mib)


def write_contact_sheet(options: Options, training_set: PairDataset) -> Path:
    """Write the first crops of the run, lq beside gt, as NAME_check.png beside the run's folder.

    Raises:
        OutputError: the sheet cannot be written.
    """
    part = options.datasets.train
    assert part is not None
    # The crop at each place of the stream is the same for all batch sizes and ranks.
    batch = next(
        train_batches(
            training_set,
            batch_size=SHEET_CROPS,
            seed=options.manual_seed,
            enlarge=part.dataset_enlarge_ratio,
            stages=part.stages(SHEET_CROPS),
        )
    )
    lqs, gts = (training_set.levels.images(batch[side]) for side in ("lq", "gt"))
    folder = make_folder(Path(options.path.experiments_root))
    path = folder / f"{options.name}_check.png"
    write_image(path, contact_sheet(list(zip(lqs, gts, strict=True))))
    return path


def _mean_step_s(model: SRModel, options: Options) -> tuple[float, str]:
    """Return the mean seconds per iteration of the run; and all times if there are several kinds of steps."""
    train, train_set = options.train, options.datasets.train
    assert train is not None
    assert train_set is not None
    stages = train_set.stages(train.total_iter)
    timed = [_step_s(model, options, gt_size) for gt_size, _ in stages]
    if len(stages) == 1:
        return timed[0]
    total_s = sum(time_s * count for (time_s, _), (_, count) in zip(timed, stages, strict=True))
    said = (
        f"{time_s:.2f} s with crops of {gt_size}"
        for (time_s, _), (gt_size, _) in zip(timed, stages, strict=True)
    )
    return total_s / train.total_iter, f" ({', '.join(said)})"


def _step_s(model: SRModel, options: Options, gt_size: int) -> tuple[float, str]:
    """Return the mean seconds per iteration at this size; and both times if there are two kinds of steps."""
    train, train_set = options.train, options.datasets.train
    assert train is not None
    assert train_set is not None
    count = train_set.batch_size_per_gpu * train.accumulate
    lq, gt = map(torch.rand, _batch_shapes(options, count, gt_size))
    batch = {"lq": lq, "gt": gt} | ({"gt_sharp": gt} if train.needs_gt_sharp else {})

    def time_step(iteration: int) -> float:
        times_s = []
        for _ in range(1 + TIMED_STEPS):
            model.iteration = iteration - 1
            start = time.perf_counter()
            model.step(batch)  # returns loss values, so a GPU is done too
            times_s.append(time.perf_counter() - start)
        return fmean(times_s[1:])  # the first one also makes buffers and picks kernels

    every = train.net_d_iters
    first = (train.net_d_init_iters // every + 1) * every
    whole_s = time_step(first)
    if first == 1:
        return whole_s, ""
    alone_s = time_step(1)
    share = max(train.total_iter // every - train.net_d_init_iters // every, 0) / train.total_iter
    said = f" ({whole_s:.2f} s with the generator's step, {alone_s:.2f} s with the discriminator's alone)"
    return share * whole_s + (1 - share) * alone_s, said


class PeakMemory:
    """Measures the most memory used at once inside a block, beyond what was used before it.

    It is the GPU's where there is one. On the CPU a thread reads the resident memory of the process every few
    milliseconds, since the peak that the system records is that of the whole process, imports included.
    """

    def __enter__(self) -> "PeakMemory":
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        self._before = self._most = _used_bytes()
        self._done = threading.Event()
        self._sampler = threading.Thread(target=self._sample, daemon=True)
        self._sampler.start()
        return self

    def _sample(self) -> None:
        while not self._done.wait(SAMPLE_EVERY_S):
            self._most = max(self._most, _used_bytes())

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._sampler.join()
        self._most = max(self._most, _used_bytes())

    @property
    def mib(self) -> float:
        """The measured peak, after the block."""
        return (self._most - self._before) / MIB


def _used_bytes() -> int:
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    used: int = psutil.Process().memory_info().rss
    return used

"""Makes the parts of a run from its options: networks, losses, the training model.

`build_data.py` makes the data sets and metrics.
"""

import inspect
import logging
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedDataParallelKwargs, InitProcessGroupKwargs
from torch import nn

from srcx.archs.community import renamed
from srcx.basicsr_compat.parts import AllParts
from srcx.config import Options, Part
from srcx.config.checks import GAN_LOSSES
from srcx.distributed import gather, launched_processes, stray_variables_hidden
from srcx.errors import OptionsError, SrcxError, UsageError
from srcx.hardware import bf16_gain, fast_dtype
from srcx.inference.bundled import file_of
from srcx.inference.models import find_model
from srcx.losses.weighted_sum import WeightedSum
from srcx.optim.schedules import Schedule, warm_up
from srcx.training.adversarial import ESRGANModel, SRGANModel
from srcx.training.cycle import CycleGANModel
from srcx.training.model import SRModel, TrainedNetwork
from srcx.training.teacher import Teacher
from srcx.weights.checkpoint import load_state
from srcx.weights.fit import load_into
from srcx.winograd import Convolution, choose

__all__ = [
    "accelerator",
    "convolution",
    "load_pretrained",
    "losses",
    "model",
    "network",
    "schedule",
    "teacher",
    "trained_network",
]

logger = logging.getLogger(__name__)

PARTS = AllParts()

MODELS: Mapping[str, type[SRModel]] = {
    "CycleGANModel": CycleGANModel,
    "ESRGANModel": ESRGANModel,
    "SRGANModel": SRGANModel,
    "SRModel": SRModel,
    "SwinIRModel": SRModel,  # BasicSR's pads images to whole windows; srcx does that for every network
}

RANKS_TIMEOUT = timedelta(hours=2)
"""Longest wait of the other ranks while rank 0 validates and saves."""


def network(part: Part, place: str = "network_g") -> nn.Module:
    """Return the network that `part` names, with fresh weights.

    Args:
        part: Its type and arguments.
        place: The option that names it, for messages.

    Raises:
        OptionsError: it cannot be made with these arguments.
    """
    made: nn.Module = _make("network", part.type, part.args, place)
    return made


def accelerator(options: Options, *, precision_before: str | None = None) -> Accelerator:
    """Return the accelerator: device, precision and processes of this run.

    Args:
        options: The options of a run.
        precision_before: The precision of a resumed run up to now, which `auto` keeps.

    Raises:
        UsageError: several GPUs are asked for, but fewer processes were started; or fp16 on the CPU.
    """
    gpus, there = options.num_gpu, torch.cuda.device_count()
    if gpus != "auto" and gpus > there == 0:
        logger.warning("num_gpu is %d and this machine has none: the run uses the CPU", gpus)
    # accelerate has one setting per process; a second run in this process may want another precision.
    AcceleratorState._reset_state()
    on_cpu = gpus == 0 or there == 0
    precision: str = options.train.precision if options.train else "fp32"
    resumes_in = precision_before if precision == "auto" else None
    if resumes_in:
        precision = resumes_in
    elif precision == "auto":
        # bf16 where the processor multiplies it faster than fp32; unlike fp16 it needs no loss scaling.
        cuda_has_bf16 = not on_cpu and torch.cuda.is_bf16_supported(including_emulation=False)
        fast = cuda_has_bf16 or (on_cpu and fast_dtype(torch.device("cpu")) == torch.bfloat16)
        precision = "bf16" if fast else "fp32"
    if precision == "fp16" and on_cpu:
        raise UsageError("train.precision is fp16, which needs a GPU; on the CPU take bf16 or fp32")
    if precision == "bf16" and on_cpu and bf16_gain() < 1:
        source = "this run was started in bf16" if resumes_in else "train.precision is bf16"
        logger.warning(
            "%s, in which this processor takes %.1f times as long as in fp32; set train.precision to fp32",
            source,
            1 / bf16_gain(),
        )
    # Without cpu=True, accelerate does not connect processes that have no GPU: each would train alone.
    several = launched_processes() > 1
    with stray_variables_hidden():
        made = Accelerator(
            cpu=gpus == 0 or (there == 0 and several),
            mixed_precision="no" if precision == "fp32" else precision,
            kwargs_handlers=[
                DistributedDataParallelKwargs(find_unused_parameters=options.find_unused_parameters),
                InitProcessGroupKwargs(timeout=RANKS_TIMEOUT),
            ],
        )
    if gpus != "auto" and there and made.num_processes < gpus:
        usable, processes = min(gpus, there), made.num_processes
        if processes < usable:
            raise UsageError(
                f"num_gpu is {gpus} and this machine has {there}, but processes started: {processes}; "
                f"start one for each GPU: torchrun --nproc_per_node {usable} -m srcx train -opt ..."
            )
        logger.warning(
            "num_gpu is %d and this machine has %d: the run uses %d, so a step has fewer images than meant",
            gpus, there, processes,
        )  # fmt: skip
    return made


def schedule(options: Options) -> Schedule:
    """Return the learning-rate schedule of the run."""
    assert options.train is not None
    part = options.train.scheduler
    bare: Schedule = _make("scheduler", part.type, part.args, _place(options, "train.scheduler"))
    return warm_up(bare, options.train.warmup_iter) if options.train.warmup_iter > 0 else bare


def losses(options: Options) -> WeightedSum:
    """Return the objective: every term but the adversarial one.

    BasicSR's perceptual_opt holds two terms with weights of their own: perceptual_weight and style_weight.
    """
    assert options.train is not None
    terms: dict[str, tuple[nn.Module, float]] = {}
    against: dict[str, str] = {}
    for name, term in options.train.losses.items():
        if term.type in GAN_LOSSES:
            continue
        args, place = term.args, _place(options, f"train.{name}_opt")
        weight = term.weight * args.pop("perceptual_weight", 1.0)
        style_weight = term.weight * args.pop("style_weight", 0.0)
        made: dict[str, tuple[nn.Module, float]] = {}
        if weight:
            made[name] = _make("loss", term.type, args, place), weight
        if style_weight:
            made[f"{name}_style"] = _make("loss", "GramLoss", args, place), style_weight
        terms |= made
        if term.against != "gt":
            against |= dict.fromkeys(made, term.against)
    return WeightedSum(terms, against=against, jitter_px=options.train.jitter)


def model(options: Options, accelerator: Accelerator, *, resumes: bool = False) -> SRModel:
    """Return the training model of `options.model_type`, with fresh or pretrained weights.

    Args:
        options: A training file's options.
        accelerator: Device, precision and processes.
        resumes: Whether a saved state is loaded next; pretrained weights are then read only for the
            networks in `path.ignore_resume_networks`.

    Raises:
        OptionsError: a part cannot be made with the arguments the options give.
        CheckpointError: pretrained weights are damaged or do not fit.
        WeightsError: the weights of a fixed network that a loss needs are not there.
    """
    train, path = options.train, options.path
    assert train is not None

    def trained(name: str, optimizer: str) -> TrainedNetwork:
        return trained_network(options, name, optimizer, accelerator.device)

    kind = MODELS[options.model_type]
    objective = losses(options)
    generator = trained("network_g", "optim_g")
    discriminator = trained("network_d", "optim_d") if options.network_d is not None else None
    nets = [generator.net, objective, *([discriminator.net] if discriminator is not None else [])]
    common: dict[str, Any] = {
        "accelerator": accelerator,
        "ema_decay": train.ema_decay,
        "ema_warmup": train.ema_warmup,
        "grad_clip": train.grad_clip,
        "accumulate": train.accumulate,
        "teacher": teacher(options),
        "grad_norms": options.logger.grad_norms,
        "channels_last": train.channels_last,
        "convolution": convolution(options, accelerator, nets),
    }
    if not issubclass(kind, (SRGANModel, CycleGANModel)):
        made: SRModel = kind(generator, objective, **common)
    else:
        gan = train.losses["gan"]
        gan_loss = _make("loss", gan.type, gan.args, _place(options, "train.gan_opt"))
        common["gan_weight"] = gan.weight
        assert discriminator is not None
        if issubclass(kind, CycleGANModel):
            generators = generator, trained("network_g", "optim_g")
            discriminators = discriminator, trained("network_d", "optim_d")
            made = kind(generators, discriminators, objective, gan_loss, **common)
        else:
            common |= {"gan_against": gan.against}
            keys = ("net_d_iters", "net_d_init_iters", "adaptive_d", "r1_reg_weight", "net_d_reg_every")
            common |= {key: getattr(train, key) for key in (*keys, "ema_decay_d", "warn_iter")}
            data = options.datasets.train
            common |= {"compares_colors": data is not None and data.targets == "paired" and data.std is None}
            made = kind(generator, discriminator, objective, gan_loss, **common)

    if path.pretrain_network_g and not (resumes and "network_g" not in path.ignore_resume_networks):
        source: Path | str = file_of(path.pretrain_network_g) or path.pretrain_network_g
        load = partial(load_pretrained, source=source, strict=path.strict_load_g, option="path.strict_load_g")
        load(made.networks["net_g"].net, key=path.param_key_g)
        if made.ema is not None:  # from its own entry of the checkpoint, as in BasicSR
            load(made.ema.module, key=None)
    if path.pretrain_network_d and not (resumes and "network_d" not in path.ignore_resume_networks):
        source = path.pretrain_network_d
        load = partial(load_pretrained, source=source, strict=path.strict_load_d, option="path.strict_load_d")
        load(made.networks["net_d"].net, key=path.param_key_d)
        if isinstance(made, SRGANModel) and made.ema_d is not None:
            load(made.ema_d.module, key=None)
    return made


def load_pretrained(
    net: nn.Module, source: Path | str, *, key: str | None, strict: bool, option: str
) -> None:
    """Load a checkpoint into a network of an option file.

    Args:
        net: The network.
        source: The checkpoint.
        key: Its entry to read; None takes the EMA weights if there are any.
        strict: Whether every weight must fit.
        option: Name of the option that `strict` comes from.

    Raises:
        CheckpointError: it is damaged or does not fit.
    """
    load_into(net, renamed(net, load_state(source, key=key)), source=source, strict=strict, option=option)


def convolution(options: Options, accelerator: Accelerator, nets: Sequence[nn.Module]) -> Convolution:
    """Return how the 3 x 3 convolutions of `nets` are computed: on every rank in the same way.

    Raises:
        OptionsError: the options ask for a way that cannot be had here, or not together with the others.
    """
    assert options.train is not None
    asked, place = options.train.convolution, _place(options, "train.convolution")
    dtype = {"no": torch.float32, "bf16": torch.bfloat16}.get(accelerator.mixed_precision)
    if accelerator.device.type != "cpu" or dtype is None or options.train.compile:
        said = "the Winograd kernel is for the CPU, in networks that are not compiled"
        if asked == "winograd":
            raise OptionsError(f"{place}: {said}; take auto")
        return Convolution("torch", said, asked=True)
    try:
        chosen = choose(asked, nets, dtype)
    except UsageError as error:
        raise OptionsError(f"{place}: {error}; take auto") from error
    every = gather(chosen)
    return next((one for one in every if one.way == "torch"), chosen)


def trained_network(options: Options, name: str, optimizer: str, device: torch.device) -> TrainedNetwork:
    """Return the network of the option `name`, with fresh weights, its optimizer and its schedule.

    Args:
        options: A training file's options.
        name: network_g or network_d.
        optimizer: optim_g or optim_d. On a GPU one kernel steps all weights, where torch has it and the
            options choose no way themselves; on the CPU the plain loop stays, whose numbers are BasicSR's.
        device: The run's device; the network stays on the CPU so far.
    """
    net_part, part = getattr(options, name), getattr(options.train, optimizer)
    assert options.train is not None
    net = network(net_part, _place(options, name))
    if name == "network_g":
        freeze(net, options.train.freeze_g)
    args = {"params": net.parameters(), **part.args}
    takes_fused = "fused" in inspect.signature(PARTS.part("optimizer", part.type)).parameters
    if device.type == "cuda" and takes_fused and not {"fused", "foreach", "differentiable"} & args.keys():
        args["fused"] = True
    made = _make("optimizer", part.type, args, _place(options, f"train.{optimizer}"))
    compiled = options.train.compile and name == "network_g"
    return TrainedNetwork(net, made, schedule(options), compiled=compiled)


def teacher(options: Options) -> Teacher | None:
    """Return the teacher of the run, if it has one.

    Raises:
        OptionsError: it has no network.
        CheckpointError: it is damaged, or of no known network.
        UsageError: there is no such model and no such file.
    """
    if options.path.teacher is None:
        return None
    assert options.train is not None
    found, train = find_model(options.path.teacher), options.train
    try:
        return Teacher(found, iters=train.teacher_iter, ensemble=train.teacher_ensemble)
    except OptionsError as error:
        raise OptionsError(f"{_place(options, 'path.teacher')}: {error}") from error


def freeze(net: nn.Module, parts: Sequence[str]) -> None:
    """Exclude the weights of these parts of `net` from training.

    Raises:
        OptionsError: `net` has no such part.
    """
    known = dict(net.named_children())
    for name in parts:
        if name not in known:
            parts_of_it = ", ".join(known)
            raise OptionsError(f"freeze_g: {type(net).__name__} has no part {name!r}; it has {parts_of_it}")
        known[name].requires_grad_(False)
    if parts and not any(weight.requires_grad for weight in net.parameters()):
        raise OptionsError(f"freeze_g: no weight of {type(net).__name__} is left to train; name fewer parts")


def _place(options: Options, name: str) -> str:
    """Return an option with its line, as messages begin."""
    return f"{options.where(name)}: {name}"


def _make(kind: str, type_name: str, args: dict[str, Any], place: str) -> Any:
    """Make a part; its errors about arguments name the option and its line.

    Raises:
        OptionsError: the part refuses its arguments, or fails with them.
        SrcxError: weights it needs are not available, or the like.
    """
    part = PARTS.part(kind, type_name)
    try:
        return part(**args)
    except OptionsError as error:
        raise OptionsError([f"{place}: {problem}" for problem in error.problems]) from error
    except SrcxError:
        raise
    except Exception as error:  # BasicSR's parts raise errors of any kind
        said = str(error).strip().split("\n")[0] or type(error).__name__
        given = ", ".join(f"{name}: {value}" for name, value in args.items() if name != "params")
        raise OptionsError(
            f"{place}: {type_name} cannot be made with {given or 'no arguments'}: {said}"
        ) from error

"""One training step of a generator alone, and what every training model shares."""

import logging
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.profiler import record_function

from srcx.errors import TrainingError
from srcx.hardware import cudnn_benchmark, to_channels_last
from srcx.losses.weighted_sum import WeightedSum
from srcx.optim.schedules import Schedule
from srcx.training.teacher import Teacher
from srcx.weights.fit import weights_difference
from srcx.winograd import BY_TORCH, Convolution, convolutions

__all__ = ["Part", "SRModel", "State", "TrainedNetwork", "frozen"]

State = dict[str, Any]
Part = Mapping[str, Tensor]
"""A batch or a part of one: {"lq": ..., "gt": ...}, and "gt_sharp" if a term compares with it."""

Tensors = tuple[Tensor, ...] | list[Tensor]

P = TypeVar("P")
R = TypeVar("R")

logger = logging.getLogger(__name__)

GRAD_NORM = "grad_norm"
"""Beginning of the names of the gradients' norms among the figures of a step."""


@dataclass
class TrainedNetwork:
    """A network with its optimizer and learning-rate schedule; calling it runs the network.

    Attributes:
        net: The network itself: its weights are saved and validated.
        compiled: Whether `prepared` is compiled by torch.compile; `net`, which validation gives images of
            many sizes, is not.
        name: Its name in the training model; set by `prepare`.
        prepared: `net` in the run's precision, which averages gradients over ranks; set by `prepare`.
    """

    net: nn.Module
    optimizer: Optimizer
    schedule: Schedule
    compiled: bool = False
    name: str = field(init=False)
    prepared: nn.Module = field(init=False)

    def __call__(self, images: Tensor) -> Any:
        with record_function(f"srcx: {self.name}"):
            return self.prepared(images)

    def prepare(self, name: str, accelerator: Accelerator, memory_format: torch.memory_format) -> None:
        """Move the network to the run's device and wrap it for the run's precision and processes."""
        self.name = name
        self.net = self.net.to(accelerator.device)
        if memory_format == torch.channels_last:
            to_channels_last(self.net)
        for group in self.optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])
        # accelerate replaces the forward of what it prepares; nn.Sequential leaves `net` as it is.
        # It does not prepare optimizers: its step would update the gradient scaler after each of several.
        net: nn.Module = torch.compile(self.net) if self.compiled else self.net  # type: ignore[assignment]
        self.prepared = accelerator.prepare(nn.Sequential(net))
        self.prepared.train()

    def set_learning_rate(self, iteration: int) -> None:
        """Set the learning rate of the step of this iteration, which counts from 1."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.schedule(group["initial_lr"], iteration - 1)

    def load_optimizer(self, state: State, name: str) -> None:
        """Load the moments of `state`; hyper-parameters stay as they are.

        `fused` is no hyper-parameter but a way to compute, which depends on the device.

        Raises:
            ValueError: `state` is of another kind of optimizer.
        """
        own = [{k: v for k, v in group.items() if k != "params"} for group in self.optimizer.param_groups]
        for group, saved in zip(own, state["param_groups"], strict=False):
            unknown = saved.keys() - group.keys() - {"params"}
            if unknown:
                raise ValueError(
                    f"its optimizer of {name} was another one, with {', '.join(sorted(unknown))}"
                )
        # torch puts the steps on the device that `fused` of the saved groups asks for.
        groups = [
            {**saved, **({"fused": group["fused"]} if "fused" in group else {})}
            for group, saved in zip(own, state["param_groups"], strict=False)
        ]
        self.optimizer.load_state_dict({**state, "param_groups": groups})
        for group, hyper in zip(self.optimizer.param_groups, own, strict=True):
            group.update(hyper)


class SRModel:
    """Trains `net_g` to minimise a weighted sum of losses between its output and the ground truth.

    Args:
        generator: The network with its optimizer and schedule.
        losses: The objective.
        accelerator: Device, precision and processes.
        ema_decay: Decay of the EMA weights per iteration; 0 means no EMA.
        ema_warmup: Whether the decay of step n is min(ema_decay, (1 + n) / (10 + n)), so that the first
            weights fade within a few steps.
        grad_clip: Largest norm of the gradient of all weights of a network; None does not clip.
        accumulate: Number of parts of a batch, whose gradients are averaged: the same step in less memory,
            except for losses and networks that use statistics of a batch (docs/scale.md).
        teacher: Makes the targets of the first iterations; None takes gt from the first on.
        grad_norms: Return the norm of the gradient of each network too, before it is clipped.
        channels_last: Hold weights and images in channels-last order, which is faster on most processors.
        convolution: How steps compute 3 x 3 convolutions, and why; a resumed run keeps its way.

    Attributes:
        iteration: Number of steps so far, those of the resumed run included.
        decides_by_figures: Whether later steps depend on the figures of this one, which all ranks then share;
            otherwise they share them when they log or save.
        networks: Every trained network by name, in the order in which states hold them.
        ema: The EMA of `net_g`; None without one.

    After BasicSR's SRModel, whose numbers it gives in fp32 (tests/basicsr_compat/test_trajectory.py).
    """

    def __init__(
        self,
        generator: TrainedNetwork,
        losses: WeightedSum,
        *,
        accelerator: Accelerator,
        ema_decay: float = 0.0,
        ema_warmup: bool = False,
        grad_clip: float | None = None,
        accumulate: int = 1,
        teacher: Teacher | None = None,
        grad_norms: bool = False,
        channels_last: bool = True,
        convolution: Convolution = BY_TORCH,
    ) -> None:
        self.accelerator, self.convolution = accelerator, convolution
        self.grad_clip, self.accumulate, self.grad_norms = grad_clip, accumulate, grad_norms
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.losses = losses.to(accelerator.device)
        if channels_last:
            to_channels_last(self.losses)
        self.losses.parts = accumulate * accelerator.num_processes
        self.teacher = teacher
        if teacher is not None:
            teacher.to(accelerator.device, self.memory_format)
        self.iteration = 0
        self.networks: dict[str, TrainedNetwork] = {}
        self.add_network("net_g", generator)
        self.ema: AveragedModel | None = None
        if ema_decay > 0:
            average = warmed_ema(ema_decay) if ema_warmup else get_ema_multi_avg_fn(ema_decay)
            self.ema = AveragedModel(generator.net, multi_avg_fn=average)
            self.ema.update_parameters(generator.net)  # the EMA starts at the first weights
            self.ema.eval()  # its batch norms use the running statistics of net_g
        self._sums: dict[str, Tensor] = {}
        self.decides_by_figures = False

    def add_network(self, name: str, network: TrainedNetwork) -> None:
        """Prepare `network` and train it from now on."""
        network.prepare(name, self.accelerator, self.memory_format)
        self.networks[name] = network

    @cudnn_benchmark()
    def step(self, batch: Part) -> dict[str, float]:
        """Train on one batch {"lq": (N, C, H, W), "gt": (N, C, sH, sW)}, RGB in [0, 1].

        The batch also has "gt_sharp", gt after an unsharp mask, if a term compares with it.

        Returns:
            The weighted loss terms by name, and other figures, as means over the parts of this rank's batch;
            over all ranks if the model decides by them.

        Raises:
            TrainingError: a term is not finite; the weights are then of no use, the last checkpoint is. Or
                the batch cannot be cut into `accumulate` equal parts.
        """
        self.iteration += 1
        for network in self.networks.values():
            network.set_learning_rate(self.iteration)
        size, rest = divmod(len(batch["lq"]), self.accumulate)
        if rest or not size:
            raise TrainingError(
                f"accumulate: {len(batch['lq'])} images cannot be cut into {self.accumulate} equal parts; "
                "give a multiple"
            )
        with record_function("srcx: copy to the device"):
            parts = [
                {
                    key: value[start : start + size].to(
                        self.accelerator.device, memory_format=self.memory_format, non_blocking=True
                    )
                    for key, value in batch.items()
                }
                for start in range(0, size * self.accumulate, size)
            ]
        if self.teacher is not None:
            with self.accelerator.autocast(), record_function("srcx: teacher"):
                parts = [{**part, "gt": self.teacher.target_of(part, self.iteration)} for part in parts]
        self._sums = {}
        with convolutions(self.convolution.way):
            self.optimise_networks(parts)
        if self.ema is not None:
            with record_function("srcx: EMA"):
                self.ema.update_parameters(self.networks["net_g"].net)
        # A GPU works on until here without being waited for, except in fp16 and by `ema_warmup`.
        means = torch.stack([value.float() for value in self._sums.values()]) / self.accumulate
        if self.decides_by_figures:
            means = self.accelerator.reduce(means, "mean")
        terms: dict[str, float] = dict(zip(self._sums, means.tolist(), strict=True))
        not_finite = {name: value for name, value in terms.items() if not math.isfinite(value)}
        if self.accelerator.scaler is not None:  # it passes over a step whose gradients are not finite
            for name in [name for name in not_finite if name.startswith(GRAD_NORM)]:
                del terms[name], not_finite[name]
        broken = ", ".join(f"{name} = {value:g}" for name, value in not_finite.items())
        if broken:
            raise TrainingError(
                f"iteration {self.iteration}: the loss is not finite ({broken}); the run stops "
                "and the last checkpoint remains: lower the learning rate or that term's weight, "
                "or set train.precision to fp32"
            )
        return terms

    def optimise_networks(self, parts: Sequence[Part]) -> None:
        """Update every network that this iteration trains; training models override this."""
        self.optimise(["net_g"], parts, self._run_generator)

    def _run_generator(self, part: Part) -> None:
        total, terms = self.objective(self.networks["net_g"](part["lq"]), part)
        self.backward(total, terms)

    def optimise(self, names: Sequence[str], parts: Sequence[P], run_part: Callable[[P], R]) -> list[R]:
        """Run every part forward and backward, then step the optimizers of these networks.

        Args:
            names: The networks that the parts compute gradients for.
            parts: The parts of one batch.
            run_part: Runs one part; it passes its loss to `backward`.

        Returns:
            The results of `run_part`, one for each part.
        """
        networks = [self.networks[name] for name in names]
        results = []
        for number, part in enumerate(parts, start=1):
            with ExitStack() as local:
                for network in networks if number < len(parts) else ():
                    # Ranks average gradients in the last part alone, once for each of its backward passes.
                    local.enter_context(self.accelerator.no_sync(network.prepared))
                results.append(run_part(part))
        with record_function("srcx: optimizer"):
            self._step_optimizers(names)
        return results

    def _step_optimizers(self, names: Sequence[str]) -> None:
        scaler = self.accelerator.scaler  # fp16 alone has one
        for name in names:
            network = self.networks[name]
            if self.grad_clip is not None or self.grad_norms:
                if scaler is not None:
                    scaler.unscale_(network.optimizer)
                weights = list(network.net.parameters())
                if self.grad_clip is not None:
                    norm = nn.utils.clip_grad_norm_(weights, self.grad_clip)
                else:
                    gradients = [weight.grad for weight in weights if weight.grad is not None]
                    norm = nn.utils.get_total_norm(gradients)
                if self.grad_norms:  # of the whole batch: the step divides figures by the number of parts
                    self.log({f"{GRAD_NORM}{name.removeprefix('net')}": norm * self.accumulate})
            if scaler is not None:
                scaler.step(network.optimizer)  # unscales what was not unscaled before
            else:
                network.optimizer.step()
            network.optimizer.zero_grad()
        if scaler is not None:
            scaler.update()

    def backward(self, total: Tensor, terms: Mapping[str, Tensor]) -> None:
        """Add the gradient of `total` of one part, divided by the number of parts; `log` its `terms`."""
        self.log(terms)
        self.accelerator.backward(total / self.accumulate)

    def log(self, terms: Mapping[str, Tensor]) -> None:
        """Add figures of one part to those that the step returns."""
        for name, value in terms.items():
            self._sums[name] = self._sums.get(name, torch.zeros_like(value)) + value.detach()

    def objective(self, sr: Tensor, part: Part) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the objective of `sr`, the output for `part`, and its terms; networks run in autocast."""
        with self.accelerator.autocast():
            if not self.losses.needs_ema:
                return self.losses(sr, **part)
            assert self.ema is not None, "a term needs the output of the EMA network; set ema_decay"
            with torch.no_grad(), record_function("srcx: EMA network"):
                sr_ema = self.ema.module(part["lq"])
            return self.losses(sr, **part, sr_ema=sr_ema)

    @property
    def eval_net(self) -> nn.Module:
        """The network to evaluate and publish: the EMA of `net_g`, or `net_g` without one."""
        return self.ema.module if self.ema is not None else self.networks["net_g"].net

    @property
    def learning_rate(self) -> float:
        """The generator's learning rate in the last iteration."""
        return float(self.networks["net_g"].optimizer.param_groups[0]["lr"])

    def weights(self) -> dict[str, dict[str, dict[str, Tensor]]]:
        """Return network name -> {"params": ..., "params_ema": ...}, BasicSR's layout of a checkpoint."""
        weights = {name: {"params": network.net.state_dict()} for name, network in self.networks.items()}
        if self.ema is not None:
            weights["net_g"]["params_ema"] = self.ema.module.state_dict()
        return weights

    @property
    def precision(self) -> str:
        """The number format of a step, as train.precision names it."""
        return "fp32" if self.accelerator.mixed_precision == "no" else self.accelerator.mixed_precision

    def state(self) -> State:
        """Return everything the next step depends on, as tensors and plain values."""
        scaler = self.accelerator.scaler
        return {
            "iteration": self.iteration,
            "nets": {name: network.net.state_dict() for name, network in self.networks.items()},
            "optimizers": {name: network.optimizer.state_dict() for name, network in self.networks.items()},
            "ema": self.ema.state_dict() if self.ema is not None else None,
            "scaler": scaler.state_dict() if scaler is not None else None,
            "precision": self.precision,
            "by_winograd": self.convolution.way == "winograd",
        }

    def load_state(self, state: State, *, ignored: Collection[str] = ()) -> None:
        """Continue where `state` was taken; learning rates, betas and the like stay those of this model.

        Args:
            state: A result of `state()`.
            ignored: Names of networks whose present weights stay, with a new optimizer; with "net_g" also its
                EMA stays.

        Raises:
            ValueError: the state lacks a network or the EMA, or is of another kind of optimizer.
        """
        self.iteration = state["iteration"]
        for name, network in self.networks.items():
            if name not in state["nets"]:
                raise ValueError(f"it has no {name}")
            if name not in ignored:
                if difference := weights_difference(network.net, state["nets"][name]):
                    raise ValueError(f"weights of {name}: {difference}")
                network.net.load_state_dict(state["nets"][name])
                network.load_optimizer(state["optimizers"][name], name)
            if self.iteration:
                network.set_learning_rate(self.iteration)  # so that this state, saved again, is the same
        if self.ema is not None and "net_g" not in ignored:
            if state["ema"] is None:
                raise ValueError("it has no EMA weights; set train.ema_decay to 0")
            self.ema.load_state_dict(state["ema"])
        if self.accelerator.scaler is not None and state["scaler"]:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        if "by_winograd" in state:  # older states do not say
            self.convolution = self.convolution.continued("winograd" if state["by_winograd"] else "torch")
        unused = [name for name in state["nets"] if name not in self.networks]
        unused += ["the EMA weights"] if state["ema"] is not None and self.ema is None else []
        if unused:
            logger.warning("the state also has %s, which this run does not use", " and ".join(unused))


def warmed_ema(decay: float) -> Callable[[Tensors, Tensors, Tensor | int], None]:
    """Return the update of an EMA whose decay grows from 2/11 to `decay`, for `AveragedModel`.

    The state of the model holds the number of steps, so a resumed run continues with the same decay.

    References:
        The decay of TensorFlow's `ExponentialMovingAverage` with `num_updates`.
    """

    @torch.no_grad()
    def update(ema: Tensors, now: Tensors, done: Tensor | int) -> None:
        steps = int(done)
        get_ema_multi_avg_fn(min(decay, (1 + steps) / (10 + steps)))(ema, now, done)

    return update


@contextmanager
def frozen(*nets: nn.Module) -> Iterator[None]:
    """Compute no gradients for the weights of `nets` inside the block; weights frozen before stay frozen."""
    trained = [weight for net in nets for weight in net.parameters() if weight.requires_grad]
    for weight in trained:
        weight.requires_grad_(False)
    try:
        yield
    finally:
        for weight in trained:
            weight.requires_grad_(True)

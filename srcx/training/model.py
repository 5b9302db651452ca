"""One training step of a generator alone."""

import logging
from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from srcx.errors import TrainingError
from srcx.hardware import to_channels_last
from srcx.losses.weighted_sum import WeightedSum
from srcx.optim.schedules import Schedule
from srcx.training.means import Means
from srcx.weights.fit import weights_difference

__all__ = ["Learner", "Part", "SRModel", "State"]

State = dict[str, Any]
Part = Mapping[str, Tensor]
"""A batch or a part of one: {"lq": ..., "gt": ...}, and "gt_sharp" if a term compares with it."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Learner:
    """A network with what teaches it: its optimizer and learning-rate schedule."""

    net: nn.Module
    optimizer: Optimizer
    schedule: Schedule


class SRModel:
    """Trains `net_g` to lower a sum of losses of its output and the ground truth.

    Args:
        generator: The network with its optimizer and schedule.
        losses: The objective.
        accelerator: Device, precision and processes.
        ema_decay: Decay of the averaged weights per iteration; 0 keeps none.
        grad_clip: Largest norm of the gradient of all weights of a network; None does not clip.
        accumulate: Parts a batch is cut into, whose gradients are averaged: the same step in less memory, but
            for terms and networks that take statistics over a batch (docs/scale.md).
        channels_last: Keep weights and images in channels-last order, which is faster nearly everywhere.

    After BasicSR's SRModel, whose numbers it gives in fp32 (tests/basicsr_compat/test_trajectory.py).
    """

    def __init__(
        self,
        generator: Learner,
        losses: WeightedSum,
        *,
        accelerator: Accelerator,
        ema_decay: float = 0.0,
        grad_clip: float | None = None,
        accumulate: int = 1,
        channels_last: bool = True,
    ) -> None:
        self.accelerator = accelerator
        self.grad_clip, self.accumulate = grad_clip, accumulate
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.losses = losses.to(accelerator.device)
        self.losses.parts = accumulate * accelerator.num_processes
        self.iteration = 0
        self.learners: dict[str, Learner] = {}
        self.bare_nets: dict[str, nn.Module] = {}
        self._adopt("net_g", generator)
        self.ema: AveragedModel | None = None
        if ema_decay > 0:
            self.ema = AveragedModel(self.bare_nets["net_g"], multi_avg_fn=get_ema_multi_avg_fn(ema_decay))
            self.ema.update_parameters(self.bare_nets["net_g"])  # the average starts at the first weights
            self.ema.eval()  # its batch norms keep the averages they are given

    def step(self, batch: Part) -> dict[str, float]:
        """Learn from one batch {"lq": (N, 3, H, W), "gt": (N, 3, sH, sW)}, RGB in [0, 1].

        The batch also has "gt_sharp", gt after an unsharp mask, if a term compares with it.

        Returns:
            The weighted loss terms by name.

        Raises:
            TrainingError: a term is not finite; the networks that were not yet updated in this step keep
                their weights. Or the batch cannot be cut into `accumulate` equal parts.
        """
        self.iteration += 1
        self._set_learning_rates()
        terms = self._learn([self._on_device(part) for part in _cut(batch, self.accumulate)])
        if self.ema is not None:
            self.ema.update_parameters(self.bare_nets["net_g"])
        return terms

    @property
    def eval_net(self) -> nn.Module:
        """The network to judge and ship: the averaged weights where they are kept."""
        return self.ema.module if self.ema is not None else self.bare_nets["net_g"]

    @property
    def learning_rate(self) -> float:
        """The generator's learning rate in the last iteration."""
        return float(self.learners["net_g"].optimizer.param_groups[0]["lr"])

    def weights(self) -> dict[str, dict[str, dict[str, Tensor]]]:
        """Network name -> BasicSR's layout {"params": ..., "params_ema": ...}, to be saved for readers."""
        weights = {name: {"params": net.state_dict()} for name, net in self.bare_nets.items()}
        if self.ema is not None:
            weights["net_g"]["params_ema"] = self.ema.module.state_dict()
        return weights

    def state(self) -> State:
        """Everything the next step depends on, as tensors and plain values."""
        return {
            "iteration": self.iteration,
            "nets": {name: net.state_dict() for name, net in self.bare_nets.items()},
            "optimizers": {name: learner.optimizer.state_dict() for name, learner in self.learners.items()},
            "ema": self.ema.state_dict() if self.ema is not None else None,
            "scaler": self.accelerator.scaler.state_dict() if self.accelerator.scaler is not None else None,
        }

    def load_state(self, state: State, *, ignored: Collection[str] = ()) -> None:
        """Go on where `state` was taken; learning rates, betas and the like stay those of this model.

        Args:
            state: What `state` returned.
            ignored: Names of networks that keep the weights they have, as does the EMA of `net_g`.

        Raises:
            ValueError: the state lacks a network or the EMA, or is of another kind of optimizer.
        """
        self.iteration = state["iteration"]
        for name, net in self.bare_nets.items():
            if name not in state["nets"]:
                raise ValueError(f"it has no {name}")
            if name not in ignored:
                if difference := weights_difference(net, state["nets"][name]):
                    raise ValueError(f"weights of {name}: {difference}")
                net.load_state_dict(state["nets"][name])
            _load_optimizer(self.learners[name].optimizer, state["optimizers"][name], name)
        if self.ema is not None and "net_g" not in ignored:
            if state["ema"] is None:
                raise ValueError("it has no EMA weights; set train.ema_decay to 0")
            self.ema.load_state_dict(state["ema"])
        if self.accelerator.scaler is not None and state["scaler"]:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        if self.iteration:
            self._set_learning_rates()  # so that this state, saved again, is the same
        left_out = [name for name in state["nets"] if name not in self.bare_nets]
        left_out += ["the EMA weights"] if state["ema"] is not None and self.ema is None else []
        if left_out:
            logger.warning("the state also has %s, which this run does not use", " and ".join(left_out))

    def _learn(self, parts: list[Part]) -> dict[str, float]:
        means = Means(len(parts), self.accelerator)
        for number, part in enumerate(parts, start=1):
            with self.accumulating("net_g", is_last=number == len(parts)):
                sr = self.learners["net_g"].net(part["lq"])
                total, terms = self.objective(sr, part)
                means.add(terms)
                self._backward(total / len(parts), terms)
        self._update("net_g")
        return means.values()

    def accumulating(self, name: str, *, is_last: bool) -> AbstractContextManager[Any]:
        """Around a part's forward and backward pass: ranks average gradients once, in the last part."""
        return nullcontext() if is_last else self.accelerator.no_sync(self.learners[name].net)

    def objective(self, sr: Tensor, part: Part) -> tuple[Tensor, dict[str, Tensor]]:
        """The objective of `sr`, the output for `part`; networks run in the run's precision."""
        with self.accelerator.autocast():
            if not self.losses.needs_ema:
                return self.losses(sr, **part)
            assert self.ema is not None, "a term needs the output of the EMA network; set ema_decay"
            with torch.no_grad():
                sr_ema = self.ema.module(part["lq"])
            return self.losses(sr, **part, sr_ema=sr_ema)

    def _adopt(self, name: str, learner: Learner) -> None:
        """Move a network to its device and wrap it for its precision and processes."""
        net = learner.net.to(self.accelerator.device)
        if self.memory_format == torch.channels_last:
            to_channels_last(net)
        self.bare_nets[name] = net
        for group in learner.optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])
        # accelerate replaces the forward of what it prepares; the shell keeps the network itself as it is.
        # It does not prepare optimizers: its step would update the gradient scaler after each of several.
        wrapped = self.accelerator.prepare(nn.Sequential(net))
        self.learners[name] = Learner(wrapped, learner.optimizer, learner.schedule)
        wrapped.train()

    def _on_device(self, part: Part) -> dict[str, Tensor]:
        return {
            key: value.to(self.accelerator.device, memory_format=self.memory_format, non_blocking=True)
            for key, value in part.items()
        }

    def _set_learning_rates(self) -> None:
        for learner in self.learners.values():
            for group in learner.optimizer.param_groups:
                group["lr"] = learner.schedule(group["initial_lr"], self.iteration - 1)

    def _backward(self, total: Tensor, terms: Mapping[str, Tensor]) -> None:
        if not torch.isfinite(total):
            named = ", ".join(f"{name} = {value.item():g}" for name, value in terms.items())
            raise TrainingError(
                f"iteration {self.iteration}: the loss is not finite ({named}); the run stops "
                "and the last checkpoint is kept: lower the learning rate or that term's weight, "
                "or set train.precision to fp32"
            )
        self.accelerator.backward(total)

    def _update(self, *names: str) -> None:
        """Step the networks of one backward pass, and after all of them the scale of fp16's losses."""
        scaler = self.accelerator.scaler
        for name in names:
            learner = self.learners[name]
            if self.grad_clip is not None:
                if scaler is not None:
                    scaler.unscale_(learner.optimizer)
                nn.utils.clip_grad_norm_(learner.net.parameters(), self.grad_clip)
            if scaler is not None:
                scaler.step(learner.optimizer)
            else:
                learner.optimizer.step()
            learner.optimizer.zero_grad()
        if scaler is not None:
            scaler.update()


def _load_optimizer(optimizer: Optimizer, state: State, name: str) -> None:
    """Load the moments of `state`; the hyper-parameters stay, and each that differs is logged."""
    own = [
        {key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups
    ]
    for group, saved in zip(own, state["param_groups"], strict=False):
        strange = saved.keys() - group.keys() - {"params"}
        if strange:
            raise ValueError(f"its optimizer of {name} was another one, with {', '.join(sorted(strange))}")
    optimizer.load_state_dict(state)
    for number, (group, hyper) in enumerate(zip(optimizer.param_groups, own, strict=True)):
        for key in hyper:
            before, now = group.get(key), hyper[key]
            if number == 0 and key != "lr" and before is not None and _plain(before) != _plain(now):
                option = "lr" if key == "initial_lr" else key
                logger.warning("%s: %s is now %s, as the options say; it was %s", name, option, now, before)
        group.update(hyper)


def _plain(value: Any) -> Any:
    """Lists for tuples: saved states may hold either."""
    return list(value) if isinstance(value, tuple) else value


def _cut(batch: Part, parts: int) -> Iterator[dict[str, Tensor]]:
    """Cut a batch into equal parts along its first axis."""
    size, rest = divmod(len(batch["lq"]), parts)
    if rest or not size:
        raise TrainingError(
            f"accumulate: {len(batch['lq'])} images cannot be cut into {parts} equal parts; give a multiple"
        )
    for start in range(0, size * parts, size):
        yield {key: value[start : start + size] for key, value in batch.items()}

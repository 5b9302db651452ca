"""Options that name a part by its type: network, optimizer, scheduler, loss term, metric."""

from copy import deepcopy
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, ConfigDict, Field, ValidationInfo, field_validator, model_serializer

from srcx.config.values import (
    Count,
    Fraction,
    Kinds,
    Natural,
    NonNegative,
    Number,
    Positive,
    Section,
    Tuple,
    sentence,
    wrong,
)

__all__ = ["SCHEDULERS", "SPANDREL", "LossTerm", "Metric", "Optimizer", "Part", "Scheduler"]

SPANDREL = "spandrel."
"""`spandrel.SPAN` in an option file is the network SPAN of spandrel."""


class Part(Section):
    """A part by name, `{type: Name, argument: value, ...}`, with the part's own arguments."""

    model_config = ConfigDict(extra="allow")
    not_args: ClassVar[frozenset[str]] = frozenset({"type"})
    """Keys that are not arguments of the part."""

    type: str
    """The part's class or function name, as in srcx/registry.py, in BasicSR, or spandrel.NAME."""

    @property
    def args(self) -> dict[str, Any]:
        """Return a copy of the part's arguments as the file gives them."""
        return {key: deepcopy(value) for key, value in self._given().items() if key not in self.not_args}

    @model_serializer(mode="plain")
    def _given(self) -> dict[str, Any]:
        given = {key: getattr(self, key) for key in type(self).model_fields if key in self.model_fields_set}
        return {key: value for key, value in given.items() if value is not None} | (self.model_extra or {})


def _pair(value: tuple[float, ...]) -> tuple[float, ...]:
    if len(value) != 2:
        raise wrong("two numbers")
    return value


class Optimizer(Part):
    """An optimizer of torch.optim or srcx; other arguments than these are checked by its signature."""

    lr: Positive
    """Learning rate at the start, after warm-up."""
    betas: Annotated[Tuple[Fraction], AfterValidator(_pair)] | None = None
    """Adam's two decay rates; null takes the optimizer's own."""
    weight_decay: NonNegative | None = None
    """Adam's L2 penalty, or AdamW's decay; null takes the optimizer's own."""


class Scheduler(Part):
    """Learning rate over the run, by BasicSR's names."""

    type: Literal["MultiStepLR", "MultiStepRestartLR", "CosineAnnealingRestartLR"]
    """MultiStepLR, MultiStepRestartLR (the same) or CosineAnnealingRestartLR."""


class MultiStep(Scheduler):
    """The rate falls by a factor at each milestone."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["MultiStepLR", "MultiStepRestartLR"]
    milestones: Tuple[Count]
    """Iterations at which the rate is multiplied by `gamma`, rising."""
    gamma: Positive = 0.1
    """That factor."""
    restarts: Tuple[Natural] = (0,)
    """Iterations at which the rate starts anew."""
    restart_weights: Tuple[Number] = Field(default=(1.0,), validate_default=True)
    """Factor of the rate after each of `restarts`."""

    @field_validator("milestones")
    @classmethod
    def _rise(cls, milestones: tuple[int, ...]) -> tuple[int, ...]:
        if list(milestones) != sorted(set(milestones)):
            raise sentence(f"milestones must rise; got {list(milestones)}")
        return milestones

    @field_validator("restart_weights")
    @classmethod
    def _one_for_each(cls, weights: tuple[float, ...], info: ValidationInfo) -> tuple[float, ...]:
        return _as_many(weights, "restarts", info)


class CosineAnnealing(Scheduler):
    """The rate falls along half a cosine, again in each period."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["CosineAnnealingRestartLR"]
    periods: Tuple[Count]
    """Iterations of each half wave; together at least total_iter."""
    restart_weights: Tuple[Number] = Field(default=(1.0,), validate_default=True)
    """Factor of the rate in each of `periods`."""
    eta_min: NonNegative = 0.0
    """The rate at the end of each half wave."""

    @field_validator("restart_weights")
    @classmethod
    def _one_for_each(cls, weights: tuple[float, ...], info: ValidationInfo) -> tuple[float, ...]:
        return _as_many(weights, "periods", info)


def _as_many(weights: tuple[float, ...], name: str, info: ValidationInfo) -> tuple[float, ...]:
    starts = info.data.get(name)
    if starts is not None and len(weights) != len(starts):
        raise sentence(f"{len(weights)} weights for {len(starts)} {name}; give one for each")
    return weights


SCHEDULERS = Kinds("type", Scheduler, MultiStep, CosineAnnealing)


class LossTerm(Part):
    """One term of the objective, `<name>_opt`."""

    not_args: ClassVar[frozenset[str]] = frozenset({"type", "loss_weight", "against"})

    loss_weight: Number = 1.0
    """Factor of this term in the sum; 1 for losses with weights of their own (perceptual_weight)."""
    against: Literal["gt", "lq", "gt_sharp"] = "gt"
    """srcx: the target: gt, gt_sharp (gt after an unsharp mask) or, where scale is 1, lq."""

    @property
    def weight(self) -> float:
        """Return `loss_weight`."""
        return self.loss_weight


class Metric(Part):
    """One figure of a validation, such as `{type: calculate_psnr, crop_border: 4, test_y_channel: true}`."""

    not_args: ClassVar[frozenset[str]] = frozenset({"type", "better"})

    better: Literal["higher", "lower"] | None = None
    """The better direction, for the best checkpoint; null takes the metric's own."""

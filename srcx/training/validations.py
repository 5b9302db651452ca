"""Validation during a run: it starts at an iteration, and ends when its metrics are computed."""

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any

from srcx.config import ValOptions
from srcx.evaluation.scoring import metric_executor
from srcx.evaluation.validation import StartedValidation, ValidationSet, start_validation, validate_bicubic
from srcx.training.checkpoints import Progress, RunFolder, Validated
from srcx.training.model import SRModel
from srcx.training.random_state import random_states, restore_random_state

__all__ = ["Validations"]


@dataclass
class Snapshot:
    """A training model's weights for readers as they were at an iteration."""

    iteration: int
    copied: dict[str, dict[str, dict[str, Any]]]

    @classmethod
    def of(cls, model: SRModel) -> "Snapshot":
        """Return a snapshot in the memory of the CPU."""
        copied = {
            net: {
                key: {name: one.detach().cpu().clone() for name, one in sets.items()}
                for key, sets in all_sets.items()
            }
            for net, all_sets in model.weights().items()
            if net == "net_g"
        }
        return cls(model.iteration, copied)

    def weights(self) -> dict[str, dict[str, dict[str, Any]]]:
        """Return the copied weights."""
        return self.copied


class Validations:
    """Validates a run, one iteration after the other; use it as a context.

    With `val.metric_workers`, the images are upscaled at once and the training goes on while other processes
    compute the metrics. The figures and the best weights are those of the iteration that is validated.

    Args:
        sets: What to validate on; empty on all ranks but the first.
        options: How.
        run: Gets figures, images and the best weights.
        scale: Of the network.
    """

    def __init__(
        self, sets: Sequence[ValidationSet], options: ValOptions, run: RunFolder, *, scale: int
    ) -> None:
        self.sets, self.options, self.run, self.scale = sets, options, run, scale
        self._executor: Executor = metric_executor(options.metric_workers if sets else 0)
        self._iteration: int | None = None  # that is being validated
        self._started: list[tuple[Validated, ValidationSet, StartedValidation]] = []

    def __enter__(self) -> "Validations":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._executor.shutdown(cancel_futures=True)

    @property
    def is_parallel(self) -> bool:
        """Whether the training goes on while metrics are computed; the same on all ranks."""
        return self.options.metric_workers > 0

    def compare_start(self, model: SRModel) -> None:
        """Log the figures of the network that starts, beside those of bicubic."""
        generators = random_states()  # a metric may draw random numbers, and the run stays BasicSR's
        for one in self.sets:
            by_bicubic = validate_bicubic(one, scale=self.scale)
            other = "bicubic" if self.scale > 1 else "input"
            started = start_validation(model.eval_net, one, self._executor, tile_px=self.options.tile)
            self.run.log_start(model, one.name, started.results(), by_bicubic, other)
        restore_random_state(generators)

    def start(self, model: SRModel, progress: Progress) -> None:
        """Validate the model as it is now; of an earlier validation, the metrics are waited for."""
        self.finish(progress)
        self._iteration = model.iteration
        validated = Snapshot.of(model) if self.is_parallel and self.sets else model
        for one in self.sets:
            started = start_validation(
                model.eval_net,
                one,
                self._executor,
                tile_px=self.options.tile,
                save_as=partial(self.run.image_path, model, one.name) if self.options.save_img else None,
                on_image=self.run.log.strips(model.iteration, one.name),
            )
            self._started.append((validated, one, started))
            if not self.is_parallel:
                self._log(progress)
        if not self.is_parallel:
            self.finish(progress)

    def finish(self, progress: Progress, *, waits: bool = True) -> None:
        """Log the results of the validation that was started, if they are there or `waits` is true.

        Raises:
            TrainingError: a process that computes metrics has died.
            Exception: what a metric raised.
        """
        if self._iteration is None or not (waits or all(one.is_done() for *_, one in self._started)):
            return
        self._log(progress)
        progress.validated, self._iteration = self._iteration, None

    def _log(self, progress: Progress) -> None:
        while self._started:
            validated, one, started = self._started.pop(0)
            if self.run.log_results(validated, progress, one.name, started.results(), one.higher_is_better):
                self.run.save_weights(validated, f"best_{one.name}")

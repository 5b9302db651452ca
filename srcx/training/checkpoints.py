"""The folder of a training run: checkpoints, metrics, logs, images, and how a run goes on from them.

experiments/NAME/
├── NAME.yml           the options the run was started with, resolved
├── metrics.csv        iter, set, metric, value: losses (set "train") and validation results
├── models/            net_g_ITER.pth, net_d_ITER.pth, net_g_latest.pth, net_g_best_SET.pth (BasicSR's layout)
├── training_states/   ITER.state: all the next iteration depends on; ITER.state.aside: not to go on from
├── log/               what the terminal showed; tensorboard's event files
└── visualization/     validation images

Beside it, .NAME.lock says who trains it (`srcx.training.run_lock`).
"""

import logging
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from textwrap import shorten
from types import TracebackType
from typing import Any, Protocol

from torch import Tensor

from srcx.atomic import atomic_path, make_folder, remove_leftovers
from srcx.errors import CheckpointError, OutputError
from srcx.progress import Pace
from srcx.training import random_state
from srcx.training.tracking import RunLog
from srcx.weights.checkpoint import save_state
from srcx.weights.training_state import load_training_state, save_training_state

__all__ = ["Progress", "RunFolder"]

logger = logging.getLogger(__name__)

MIB = 2**20


class Trainable(Protocol):
    """What a run folder needs of a model."""

    def state(self) -> dict[str, Any]: ...

    def load_state(self, state: dict[str, Any], *, ignored: Collection[str] = ()) -> None: ...

    def weights(self) -> dict[str, dict[str, dict[str, Tensor]]]: ...


@dataclass
class Progress:
    """What a run remembers beside its model: loss sums since the last log line, best results so far."""

    iteration: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    """Of each sum, how many iterations gave the term: some terms are absent in some iterations."""
    best: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    validated: int = 0
    """Iteration of the last validation that was completed."""

    @classmethod
    def of_state(cls, saved: dict[str, Any]) -> "Progress":
        """Return the progress that a training state holds; states of older versions hold other fields."""
        saved = {**saved}
        # Older states were saved after the validation of their iteration.
        saved.setdefault("validated", saved["iteration"])
        if "summed" in saved:  # older states counted iterations, not the iterations of each term
            saved["counts"] = dict.fromkeys(saved["sums"], saved.pop("summed"))
        return cls(**saved)

    def add(self, terms: Mapping[str, float]) -> None:
        """Count one iteration's loss terms."""
        self.iteration += 1
        for name, value in terms.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
            self.counts[name] = self.counts.get(name, 0) + 1

    def take_means(self) -> dict[str, float]:
        """Return the mean of each term since the last call, over the iterations that gave the term."""
        means = {name: total / self.counts[name] for name, total in self.sums.items()}
        self.sums, self.counts = {}, {}
        return means

    def note_best(self, set_name: str, metric: str, value: float, *, higher_is_better: bool) -> bool:
        """Keep `value` if it is the best of this metric on this set so far; tells whether it is."""
        record = self.best.setdefault(set_name, {}).get(metric)
        better = record is None or (value > record["value"] if higher_is_better else value < record["value"])
        if better:
            self.best[set_name][metric] = {"value": value, "iter": self.iteration}
        return better


class RunFolder:
    """Keeps everything of one run under `root`; inside its `with` block it can be written to.

    Nothing is made or moved before the block is entered, so a run that cannot start leaves no trace.

    Args:
        root: experiments/NAME.
        options_text: The resolved options, kept as NAME.yml.
        goes_on: Whether this run goes on from a saved state; otherwise an older run of the name is set aside.
        keep_last: Checkpoints to keep; None keeps all.
        tensorboard: Whether to write event files too.
        writes: Whether this process is the one that writes; of several only the first is.
    """

    def __init__(
        self,
        root: Path,
        *,
        options_text: str = "",
        goes_on: bool = False,
        keep_last: int | None = None,
        tensorboard: bool = False,
        writes: bool = True,
    ) -> None:
        self.root, self.keep_last, self.writes = root, keep_last, writes
        self.models, self.states = root / "models", root / "training_states"
        self.options_text, self.goes_on = options_text, goes_on
        self.log = RunLog(root, tensorboard=tensorboard)
        self._resumed = Progress()

    def __enter__(self) -> "RunFolder":
        """Make the folder or tidy it, and begin to keep in log/ what is logged."""
        if not self.writes:
            return self
        if not self.goes_on and (aside := self.set_aside(self.root)):
            logger.warning("%s held an earlier run, which is now %s", self.root, aside)
        for folder in (self.models, self.states, self.log.folder):
            make_folder(folder)
        remove_leftovers(self.root)
        self._set_aside_states_after(self._resumed.iteration)
        self._prune()  # the last process may have been killed between writing a checkpoint and this
        with atomic_path(self.root / f"{self.root.name}.yml") as temporary:
            temporary.write_text(self.options_text, encoding="utf-8")
        self.log.open(after=self._resumed.iteration, validated=self._resumed.validated)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self.writes:
            return
        self.log.close()
        if isinstance(error, OutputError):
            raise OutputError(f"{error}; {self.kept()}") from error

    def kept(self) -> str:
        """What the folder holds and how to go on from it, for the end of a message."""
        states = self.saved_states(self.root)
        if not states:
            return f"{self.root} holds no checkpoint yet"
        size = sum(path.stat().st_size for path in (*states, *self.models.glob("*.pth")))
        return (
            f"{self.root} holds {len(states)} checkpoints of {size / MIB:.0f} MiB together "
            f"(logger.keep_last keeps fewer), and the same command with --auto_resume goes on from "
            f"{states[-1].name}"
        )

    @staticmethod
    def set_aside(root: Path) -> Path | None:
        """Rename an older run of the same name, as BasicSR does, so that a new one never mixes with it.

        Raises:
            OutputError: the folder cannot be renamed.
        """
        if not root.is_dir() or not any(root.iterdir()):
            return None
        aside = root.with_name(f"{root.name}_archived_{time.strftime('%Y%m%d_%H%M%S')}")
        while aside.exists():
            aside = aside.with_name(f"{aside.name}_")
        try:
            root.rename(aside)
        except OSError as error:
            raise OutputError(
                f"{root}: an earlier run is here and cannot be renamed: {error.strerror}"
            ) from error
        return aside

    @staticmethod
    def saved_states(root: Path) -> list[Path]:
        """The state files of the run at `root`, oldest first."""
        states = [path for path in (root / "training_states").glob("*.state") if path.stem.isdigit()]
        return sorted(states, key=lambda path: int(path.stem))

    def save(self, model: Trainable, progress: Progress) -> None:
        """Write a checkpoint: weights for readers, then the state to resume from; prune old ones.

        Of several processes all call this together, as each has random generators of its own.
        """
        if self.writes:
            for name, weights in model.weights().items():
                save_state(self.models / f"{name}_{progress.iteration}.pth", weights)
        self.save_progress(model, progress)
        if self.writes:
            self._prune()

    def save_progress(self, model: Trainable, progress: Progress) -> None:
        """Write the state to resume from alone; all processes call this together."""
        random = random_state.take()
        if self.writes:
            state = {"model": model.state(), "progress": vars(progress), "random": random}
            save_training_state(self.states / f"{progress.iteration}.state", state)

    def save_weights(self, model: Trainable, label: str) -> None:
        """Write the generator's weights as net_g_LABEL.pth."""
        if self.writes:
            save_state(self.models / f"net_g_{label}.pth", model.weights()["net_g"])

    def resume(
        self, model: Trainable, path: Path | None = None, *, ignored: Collection[str] = ()
    ) -> Progress | None:
        """Bring `model` and the random states to where `path` was saved, or to the newest undamaged state.

        Args:
            model: What the state was taken of.
            path: The state; None takes the newest undamaged one of the folder.
            ignored: Names of networks that keep the weights they have.

        Returns:
            The run's progress, or None where this run does not go on from another.

        Raises:
            CheckpointError: `path` is damaged, or no state of the folder is whole, or it does not fit.
        """
        if not self.goes_on:
            return None
        candidates = [path] if path is not None else self.saved_states(self.root)[::-1]
        damage: CheckpointError | None = None
        for candidate in candidates:
            try:
                state = load_training_state(candidate)
            except CheckpointError as error:
                logger.warning("%s", error)
                damage = damage or error
                continue
            return self._go_on(model, state, candidate, ignored)
        if damage is not None:
            raise damage
        return None

    def log_losses(self, progress: Progress, learning_rate: float, pace: Pace) -> None:
        """Note the mean of each loss term since the last such line."""
        means = progress.take_means()
        if not self.writes:
            return
        self.log.add(progress.iteration, "train", {"lr": learning_rate, **means})
        logger.info("%s, lr %.3g, %s", pace.lap(), learning_rate, _line(means))

    def log_results(
        self,
        progress: Progress,
        set_name: str,
        results: Mapping[str, float | None],
        higher_is_better: Mapping[str, bool],
    ) -> bool:
        """Note validation results; tells whether the set's first metric is the best so far."""
        known = {name: value for name, value in results.items() if value is not None}
        self.log.add(progress.iteration, set_name, known)
        best = {
            name: progress.note_best(set_name, name, value, higher_is_better=higher_is_better[name])
            for name, value in known.items()
        }
        if known:  # a set may be there for its images alone
            logger.info("iteration %d, %s: %s", progress.iteration, set_name, _line(known))
        return bool(results) and best.get(next(iter(results)), False)

    def image_path(self, progress: Progress, set_name: str, name: str) -> Path:
        """Where a validation image goes, as in BasicSR: visualization/NAME/NAME_ITER.png."""
        return self.root / "visualization" / set_name / f"{name}_{progress.iteration}.png"

    def _go_on(
        self, model: Trainable, state: dict[str, Any], path: Path, ignored: Collection[str]
    ) -> Progress:
        try:
            model.load_state(state["model"], ignored=ignored)
            progress = Progress.of_state(state["progress"])
            random_state.restore(state["random"])
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            reason = shorten(" ".join(str(error).split()), 300, placeholder=" ...")
            raise CheckpointError(
                f"{path}: this state does not fit the option file's networks and optimizers ({reason}); "
                "resume with the option file the run was started with, or begin a new run under another name"
            ) from error
        self._resumed = replace(progress)
        logger.info("%s: going on after iteration %d", path, progress.iteration)
        return progress

    def _set_aside_states_after(self, iteration: int) -> None:
        """Rename states beyond the one this run begins with: they are damaged, or of a way not taken."""
        for state in self.saved_states(self.root):
            if int(state.stem) > iteration:
                state.replace(state.with_name(f"{state.name}.aside"))

    def _prune(self) -> None:
        """Delete all but the newest checkpoints; best and latest have names of their own and stay."""
        if self.keep_last is None:
            return
        for state in self.saved_states(self.root)[: -self.keep_last]:
            for weights in self.models.glob(f"net_*_{state.stem}.pth"):
                if not weights.name.startswith("net_g_best_"):
                    weights.unlink()
            state.unlink()


def _line(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in values.items())

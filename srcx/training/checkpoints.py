"""The folder of a training run: checkpoints, metrics, logs, images, its lock, and how to resume from it.

experiments/NAME/
├── NAME.yml           the options the run was started with, resolved
├── metrics.csv        iter, set, metric, value: losses (set "train") and validation results; at the start
│                      also METRIC_bicubic
├── models/            net_g_ITER.pth, net_d_ITER.pth, net_g_latest.pth, net_g_best_SET.pth (BasicSR's layout)
├── training_states/   ITER.state: all that the next iteration needs; ITER.state.unused: not used any more
├── log/               the lines of the terminal; files of TensorBoard and wandb
└── visualization/     validation images

Beside it, .NAME.lock names the process that trains it.
"""

import logging
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from textwrap import shorten
from types import TracebackType
from typing import Any, NamedTuple, Protocol

from torch import Tensor

from srcx.atomic import atomic_path, make_folder, remove_leftovers
from srcx.config import LoggerOptions
from srcx.distributed import gather
from srcx.errors import CheckpointError, OutputError, TrainingError
from srcx.training.changes import changes_since, describe, fixed_names
from srcx.training.random_state import random_states, restore_random_state
from srcx.training.tracking import ProgressBar, RunLog
from srcx.weights.checkpoint import save_state
from srcx.weights.training_state import load_training_state, save_training_state

__all__ = [
    "Progress",
    "RunFolder",
    "SavedState",
    "Validated",
    "check_same_start",
]

State = dict[str, Any]

logger = logging.getLogger(__name__)

MIB = 2**20


class SavedState(NamedTuple):
    """A training state and its file."""

    path: Path
    state: State

    @property
    def precision(self) -> str | None:
        """The number format that the run had; older states do not say."""
        model = self.state.get("model")
        return model.get("precision") if isinstance(model, dict) else None


class Trainable(Protocol):
    """The part of a training model that a run folder uses."""

    iteration: int

    @property
    def learning_rate(self) -> float: ...

    def state(self) -> State: ...

    def load_state(self, state: State, *, ignored: Collection[str] = ()) -> None: ...

    def weights(self) -> dict[str, dict[str, dict[str, Tensor]]]: ...


class Validated(Protocol):
    """A training model, or a snapshot of its weights, at the iteration that is validated."""

    iteration: int

    def weights(self) -> dict[str, dict[str, dict[str, Tensor]]]: ...


@dataclass
class Progress:
    """State of a run beside its model: sums of the losses since the last log line, best results so far."""

    sums: dict[str, float] = field(default_factory=dict)
    """Those of this rank, until `share_sums`."""
    counts: dict[str, int] = field(default_factory=dict)
    """Number of iterations in each sum: some terms are absent in some iterations."""
    best: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    validated: int = 0
    """Iteration of the last validation that was completed."""

    @classmethod
    def of_state(cls, saved: dict[str, Any]) -> "Progress":
        """Return the progress in a training state; states of older versions have other fields."""
        saved = {**saved}
        # Older states were saved after the validation of their iteration.
        saved.setdefault("validated", saved["iteration"])
        del saved["iteration"]  # the model counts iterations
        if "summed" in saved:  # older states counted iterations, not the iterations of each term
            saved["counts"] = dict.fromkeys(saved["sums"], saved.pop("summed"))
        return cls(**saved)

    def add(self, terms: Mapping[str, float]) -> None:
        """Add one iteration's loss terms."""
        for name, value in terms.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
            self.counts[name] = self.counts.get(name, 0) + 1

    def share_sums(self) -> None:
        """Replace the sums by their means over ranks; every rank calls this."""
        every = gather(self.sums)
        self.sums = {name: fmean(sums[name] for sums in every) for name in self.sums}

    def take_means(self) -> dict[str, float]:
        """Return each term's mean over ranks and over the iterations since the last call that gave it.

        Every rank calls this.
        """
        self.share_sums()
        means = {name: total / self.counts[name] for name, total in self.sums.items()}
        self.sums, self.counts = {}, {}
        return means

    def record_best(
        self, set_name: str, metric: str, value: float, *, iteration: int, higher_is_better: bool
    ) -> bool:
        """Record `value` if it is the best of this metric on this set so far; return whether it is."""
        record = self.best.setdefault(set_name, {}).get(metric)
        better = record is None or (value > record["value"] if higher_is_better else value < record["value"])
        if better:
            self.best[set_name][metric] = {"value": value, "iter": iteration}
        return better


class RunFolder:
    """Writes and reads all files of one run under `root`; it can be written to inside its `with` block.

    Nothing is made or moved before the block is entered, so a run that cannot start leaves no trace.

    Args:
        root: experiments/NAME.
        options_text: The resolved options, written to NAME.yml.
        resumes: Whether this run resumes from a saved state.
        archives: Whether an older run of the name is archived first; None does so for a run that resumes not.
            A run that resumes from the state of another one begins a folder of its own.
        logs: How to log, and the number of checkpoints to retain; None takes the defaults.
        writes: Whether this process writes; of several only rank 0 does.
    """

    def __init__(
        self,
        root: Path,
        *,
        options_text: str = "",
        resumes: bool = False,
        archives: bool | None = None,
        logs: LoggerOptions | None = None,
        writes: bool = True,
    ) -> None:
        logs = logs or LoggerOptions()
        self.root, self.keep_last, self.writes = root, logs.keep_last, writes
        self.models, self.states = root / "models", root / "training_states"
        self.options_text, self.resumes = options_text, resumes
        self.archives = not resumes if archives is None else archives
        self.log = RunLog(root, options=logs, options_text=options_text)
        self._start, self._validated = 0, 0  # of the state this run resumes from
        self._changes: list[str] = []

    def __enter__(self) -> "RunFolder":
        """Make the folder, or clean up after a killed process, and open the log."""
        if not self.writes:
            return self
        if self.archives and (archive := self.archive(self.root)):
            logger.warning("%s held an earlier run, which is now %s", self.root, archive)
        for folder in (self.models, self.states, self.log.folder):
            make_folder(folder)
        remove_leftovers(self.root)
        for state in self.saved_states(self.root):
            if int(state.stem) > self._start:  # damaged, or of iterations that this run trains again
                state.replace(state.with_name(f"{state.name}.unused"))
        self._prune()  # the last process may have been killed between writing a checkpoint and this
        with atomic_path(self.root / f"{self.root.name}.yml") as temporary:
            temporary.write_text(self.options_text, encoding="utf-8")
        self.log.open(after=self._start, validated=self._validated)
        for line in self._changes:
            logger.info("changed: %s", line)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self.writes:
            return
        self.log.close()
        if isinstance(error, OutputError):
            raise OutputError(f"{error}; {self.describe_checkpoints()}") from error

    def describe_checkpoints(self) -> str:
        """Return what the folder holds and how to resume from it, for the end of a message."""
        states = self.saved_states(self.root)
        if not states:
            return f"{self.root} holds no checkpoint yet"
        size = sum(path.stat().st_size for path in (*states, *self.models.glob("*.pth")))
        return (
            f"{self.root} holds {len(states)} checkpoints of {size / MIB:.0f} MiB together "
            "(a smaller logger.keep_last holds fewer), and the same command with --auto_resume continues "
            f"from {states[-1].name}"
        )

    @staticmethod
    def archive(root: Path) -> Path | None:
        """Rename an older run of the same name, as BasicSR does, so that a new one never mixes with it.

        Returns:
            Its new folder; None if there is no older run.

        Raises:
            OutputError: the folder cannot be renamed.
        """
        if not root.is_dir() or not any(root.iterdir()):
            return None
        archive = root.with_name(f"{root.name}_archived_{time.strftime('%Y%m%d_%H%M%S')}")
        while archive.exists():
            archive = archive.with_name(f"{archive.name}_")
        try:
            root.rename(archive)
        except OSError as error:
            raise OutputError(
                f"{root}: an earlier run is here and cannot be renamed: {error.strerror}"
            ) from error
        return archive

    @staticmethod
    def saved_states(root: Path) -> list[Path]:
        """Return the state files of the run at `root`, oldest first."""
        states = [path for path in (root / "training_states").glob("*.state") if path.stem.isdigit()]
        return sorted(states, key=lambda path: int(path.stem))

    def save(self, model: Trainable, progress: Progress) -> None:
        """Write a checkpoint: weights for readers, then the state to resume from; delete old ones.

        Every rank calls this, because each has random generators of its own.
        """
        if self.writes:
            for name, weights in model.weights().items():
                save_state(self.models / f"{name}_{model.iteration}.pth", weights)
        self.save_progress(model, progress)
        if self.writes:
            self._prune()

    def save_progress(self, model: Trainable, progress: Progress) -> None:
        """Write the state to resume from, without weights for readers; every rank calls this."""
        generators = random_states()
        progress.share_sums()  # each rank resumes with these
        if self.writes:
            state = {
                "model": model.state(),
                "progress": {"iteration": model.iteration, **vars(progress)},
                "random": generators,
            }
            save_training_state(self.states / f"{model.iteration}.state", state)

    def save_weights(self, model: Validated, label: str) -> None:
        """Write the generator's weights as net_g_LABEL.pth."""
        if self.writes:
            save_state(self.models / f"net_g_{label}.pth", model.weights()["net_g"])

    def find_state(self, path: Path | None = None) -> SavedState | None:
        """Read the state that this run resumes from.

        Args:
            path: The state; None takes the newest undamaged one of the folder.

        Returns:
            None if this run does not resume, or there is no state.

        Raises:
            CheckpointError: `path` is damaged, or all states of the folder are.
        """
        if not self.resumes:
            return None
        if path is not None:
            return SavedState(path, load_training_state(path))
        damage: CheckpointError | None = None
        for candidate in self.saved_states(self.root)[::-1]:
            try:
                return SavedState(candidate, load_training_state(candidate))
            except CheckpointError as error:
                logger.warning("%s", error)
                damage = damage or error
        if damage is not None:
            raise damage
        return None

    def resume(self, model: Trainable, saved: SavedState, *, ignored: Collection[str] = ()) -> Progress:
        """Load a state into `model` and the random generators; return the run's progress.

        Args:
            model: A training model of the same options.
            saved: A result of `find_state`.
            ignored: Names of networks whose present weights stay.

        Raises:
            CheckpointError: the state does not fit.
        """
        changes = changes_since(saved.path.absolute().parent.parent, self.options_text)
        try:
            model.load_state(saved.state["model"], ignored=ignored)
            progress = Progress.of_state(saved.state["progress"])
            restore_random_state(saved.state["random"])
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            reason = shorten(" ".join(str(error).split()), 300, placeholder=" ...")
            if fixed := fixed_names(changes, str(error)):
                said = f"resuming cannot change {fixed} ({reason}); give it back"
            else:
                said = (
                    "this state does not fit the option file's networks and optimizers "
                    f"({reason}); resume with the option file the run was started with"
                )
            raise CheckpointError(f"{saved.path}: {said}, or begin a new run under another name") from error
        self._start, self._validated = model.iteration, progress.validated
        self._changes = describe(changes, self._start)
        logger.info("%s: going on after iteration %d", saved.path, self._start)
        return progress

    def log_losses(self, model: Trainable, progress: Progress, bar: ProgressBar) -> None:
        """Log the mean of each loss term since the last such line."""
        means = progress.take_means()
        if self.writes:
            self.log.add(model.iteration, "train", {"lr": model.learning_rate, **means})
            logger.info("%s, lr %.3g, %s", bar.summary(), model.learning_rate, _line(means))

    def log_results(
        self,
        model: Validated,
        progress: Progress,
        set_name: str,
        results: Mapping[str, float | None],
        higher_is_better: Mapping[str, bool],
    ) -> bool:
        """Log validation results; return whether the set's first metric is the best so far."""
        known = {name: value for name, value in results.items() if value is not None}
        self.log.add(model.iteration, set_name, known)
        best = {
            name: progress.record_best(
                set_name, name, value, iteration=model.iteration, higher_is_better=higher_is_better[name]
            )
            for name, value in known.items()
        }
        if known:  # a set without metrics is there for its images alone
            logger.info("iteration %d, %s: %s", model.iteration, set_name, _line(known))
        return bool(results) and best.get(next(iter(results)), False)

    def log_start(
        self,
        model: Trainable,
        set_name: str,
        results: Mapping[str, float | None],
        others: Mapping[str, float | None],
        other: str,
    ) -> None:
        """Log results before the first iteration beside those of `other`; neither can be the best.

        Args:
            model: The training model.
            set_name: The validation set.
            results: The network's results by metric.
            others: Those of `other`, by the same metrics; metrics.csv has them as METRIC_OTHER.
            other: "bicubic", or "input" where nothing is enlarged.
        """
        known = {name: value for name, value in results.items() if value is not None}
        beside = {name: value for name, value in others.items() if value is not None}
        self.log.add(model.iteration, set_name, known | {f"{name}_{other}": beside[name] for name in beside})
        if known or beside:
            figures = (
                f"{name} {_figure(known.get(name))} ({other} {_figure(beside.get(name))})" for name in results
            )
            logger.info("iteration %d, %s: %s", model.iteration, set_name, ", ".join(figures))

    def describe_files(self, progress: Progress) -> list[str]:
        """Return one line for each file of a finished run that its user looks for."""
        files = [("weights", self.models / "net_g_latest.pth", "")]
        for set_name, metrics in progress.best.items():
            weights = self.models / f"net_g_best_{set_name}.pth"
            if metrics and weights.is_file():
                metric, best = next(iter(metrics.items()))
                said = f" (iteration {best['iter']}, {metric} {_figure(best['value'])})"
                files.append((f"best of {set_name}", weights, said))
        files += [("figures", self.log.metrics_file, ""), ("log", self.log.folder, "")]
        return [f"{what}: {path}{said}" for what, path, said in files]

    def image_path(self, model: Trainable, set_name: str, name: str) -> Path:
        """Return the path of a validation image, as in BasicSR: visualization/SET/NAME_ITER.png."""
        return self.root / "visualization" / set_name / f"{name}_{model.iteration}.png"

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
    return ", ".join(f"{name} {_figure(value)}" for name, value in values.items())


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def check_same_start(iteration: int) -> None:
    """Check that every rank resumes after the same iteration.

    Raises:
        TrainingError: the ranks found different states, as they do if each node has a folder of its own.
    """
    starts = gather(iteration)
    if len(set(starts)) > 1:
        found = ", ".join(f"rank {number}: {start}" for number, start in enumerate(starts))
        raise TrainingError(
            f"the ranks would go on from different iterations ({found}); "
            "put experiments/ on a disk that all nodes share"
        )

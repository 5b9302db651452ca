"""Options that changed since a run was last started: each by name, and what it does to the resumed run."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from srcx.config import read_options
from srcx.config.document import KeyPath, dotted
from srcx.config.problems import shown
from srcx.errors import OptionsError

__all__ = ["Change", "changes_since", "describe", "fixed_names"]

OF_THE_START = ("name", "path.resume_state", "path.experiments_root", "path.ignore_resume_networks")
"""Options that say how to start; they are not what is trained."""

NO_WEIGHTS_READ = "no effect, except for the networks that path.ignore_resume_networks names"
OTHER_CROPS = "from here on the crops are not those of a run without a break"
EFFECTS = (
    (r"path\.(pretrain|param_key|strict_load)_", NO_WEIGHTS_READ),
    (
        r"datasets\.train\.(name|num_worker_per_gpu|cache_mib|pin_memory|persistent_workers|use_shuffle|prefetch_mode"
        r"|num_prefetch_queue)$",
        "the crops stay the same",
    ),
    (
        r"datasets\.train\.(gt_sizes|iters)",
        "from iteration {next} on crops have the size that the new options give that iteration",
    ),
    (r"datasets\.train|manual_seed|train\.accumulate", OTHER_CROPS),
    (
        r"train\.(scheduler|warmup_iter|optim_[gd]\.lr)",
        "from iteration {next} on each iteration has the learning rate that the new options give it",
    ),
    (r"train\.optim_[gd]", "from iteration {next} on; the optimizer keeps its moments"),
    (
        r"train\.(convolution|precision)",
        "auto keeps what the run had; any other value holds from iteration {next} on",
    ),
    (r"train\.\w+_opt", "in the objective of iteration {next} and later"),
    (r"train\.total_iter", "the run ends there"),
    (r"val\.metrics|datasets\.val", "from the next validation on; the best figures so far stay"),
    (r"", "from iteration {next} on"),
)
"""Beginning of an option's name -> what a change of it does; the first that fits."""

FIXED = {
    r"it has no net_": "model_type",
    r"weights of net_g": r"scale|network_g\.",
    r"weights of net_d": r"network_d\.",
    r"optimizer of net_g": r"train\.optim_g\.type",
    r"optimizer of net_d": r"train\.optim_d\.type",
    r"no EMA weights": r"train\.ema_decay$",
}
"""Reason of a model not to load a state -> beginning of the options that may be the cause."""


class Change(NamedTuple):
    """One option that has another value; None is null, and an option or section that is not there."""

    name: str
    before: Any
    now: Any


def changes_since(run: Path, now: str) -> list[Change]:
    """Return the options that differ from those that the run at `run` was last started with.

    Args:
        run: The folder of a run, which holds one option file.
        now: All options as text, as `Options.to_yaml` writes them.

    Returns:
        The changes in the order of `now`; none where the folder has no option file that can be read.
    """
    files = list(run.glob("*.yml"))
    if len(files) != 1 or not now:
        return []
    try:
        before = read_options(files[0].read_text("utf-8"))
        return [one for one in _changes((), before, read_options(now)) if one.name not in OF_THE_START]
    except (OptionsError, OSError, UnicodeDecodeError):  # the state alone decides whether the run resumes
        return []


def describe(changes: Sequence[Change], iteration: int) -> list[str]:
    """Return one line for each change: the values, and what it does to a run resumed after `iteration`."""
    lines = []
    for change in changes:
        effect = next(text for pattern, text in EFFECTS if re.match(pattern, change.name))
        values = f"{_written(change.now)}, was {_written(change.before)}"
        lines.append(f"{change.name} is {values}: {effect.format(next=iteration + 1)}")
    return lines


def fixed_names(changes: Sequence[Change], reason: str) -> str:
    """Return the changes that are the `reason` why a state does not fit, each with its earlier value."""
    causes = [options for pattern, options in FIXED.items() if re.search(pattern, reason)]
    fixed = [one for one in changes if any(re.match(options, one.name) for options in causes)]
    return ", ".join(
        f"{one.name}, which is {_written(one.now)} and was {_written(one.before)}" for one in fixed
    )


def _changes(path: KeyPath, before: Any, now: Any) -> Iterator[Change]:
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for key in dict.fromkeys((*now, *before)):
            yield from _changes((*path, key), before.get(key), now.get(key))
    elif before != now:
        yield Change(dotted(path), before, now)


def _written(value: Any) -> str:
    """Return a value as an option file has it, in one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_written(item)}" for key, item in value.items()) + "}"
    return value if isinstance(value, str) else shown(value)

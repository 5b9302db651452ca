r"""Print the leaderboard: the minutes of training that each run took to some PSNRs, from its own files.

A run is a folder of `srcx train`, experiments/NAME. The PSNR of an iteration is from its metrics.csv, the
time from the log in log/. The clock counts training alone: not validations, not the time while a run was
stopped, and no iteration twice that a resumed run repeated. A set is found by the name that it has under
datasets in the option file, where it needs the metric psnr. Train on idle cores.

    python scripts/pages/leaderboard.py experiments/*
    python scripts/pages/leaderboard.py experiments/* --target Set5=31.0,31.5 validation=26
"""

import argparse
import csv
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from srcx.config import load_options
from srcx.errors import DataError, SrcxError

TARGETS = {"Set5": (31.0, 31.3, 31.6, 31.9), "validation_free": (33.0, 33.5)}
"""In dB."""

LINE = re.compile(r"(?P<time>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}) \w+ (?P<text>.*)")
START = re.compile(r".+ from iteration (\d+) on: ")
STEPS = re.compile(r"iteration (\d+) of \d+, ")
VALIDATION = re.compile(r"iteration (\d+), .+: ")


def training_times(run: Path) -> dict[int, float]:
    """Return the seconds of training up to each iteration that the log names.

    Raises:
        DataError: there is no log.
    """
    times: dict[int, float] = {}
    before, iteration, seconds = None, 0, 0.0
    for now, text in _log_lines(run):
        if started := START.match(text):
            iteration = int(started[1]) - 1
            times = {done: time_s for done, time_s in times.items() if done <= iteration}
            seconds = max(times.values(), default=0.0)
        else:
            validated = VALIDATION.match(text)
            # A validation stands after the line of its iteration, or no line has counted its steps yet.
            if before is not None and not (validated and int(validated[1]) == iteration):
                seconds += (now - before).total_seconds()
            if stepped := STEPS.match(text):
                iteration = int(stepped[1])
                times[iteration] = seconds
        before = now
    return times


def first_above(run: Path, set_name: str, target: float) -> int | None:
    """Return the first validated iteration whose PSNR is at least `target` dB, or None.

    Raises:
        DataError: there is no metrics.csv.
    """
    path = run / "metrics.csv"
    if not path.exists():
        raise DataError(f"{path}: missing; name folders of runs, as experiments/NAME, that were validated")
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if (row["set"], row["metric"]) == (set_name, "psnr") and float(row["value"]) >= target:
                return int(row["iter"])
    return None


def minutes_to(run: Path, set_name: str, target: float, times: Mapping[int, float]) -> float | None:
    """Return the minutes of training to the first validation of at least `target` dB, or None."""
    iteration = first_above(run, set_name, target)
    logged = [done for done in times if iteration is not None and done >= iteration]
    if iteration == 0:
        return 0.0
    return times[min(logged)] / 60 if logged else None


def table(runs: Sequence[Path], targets: Mapping[str, Sequence[float]]) -> list[str]:
    """Return the lines of the leaderboard in Markdown: first who reached the most, then who was faster.

    Raises:
        DataError: a run has no log or no metrics.csv.
    """
    columns = [(name, target) for name, some in targets.items() for target in some]
    rows = []
    for run in runs:
        times = training_times(run)
        minutes = [minutes_to(run, name, target, times) for name, target in columns]
        known = [one for one in minutes if one is not None]
        cells = ["-" if one is None else f"{one:.1f}" for one in minutes]
        rows.append(((-len(known), sum(known)), f"| {run.name} | {_start(run)} | {' | '.join(cells)} |"))
    head = " | ".join(f"{name} {target:g} dB" for name, target in columns)
    return [f"| run | start | {head} |", "|---" * (2 + len(columns)) + "|", *(row for _, row in sorted(rows))]


def _start(run: Path) -> str:
    """Return the weights that a run started from, by the option file in its folder."""
    name = run.name.partition("_archived_")[0]  # an archived run has its files under its old name
    weights = load_options(run / f"{name}.yml").path.pretrain_network_g
    return "random weights" if weights is None else Path(weights).stem


def runs_among(paths: Sequence[Path]) -> list[Path]:
    """Return the folders that have the log and the metrics.csv of a run; name the others on stderr.

    `experiments/*` has folders of other scripts too, and runs that have not validated yet.

    Raises:
        DataError: there is none.
    """
    runs = [path for path in paths if (path / "log").is_dir() and (path / "metrics.csv").is_file()]
    if not runs:
        raise DataError("no log of a training with a metrics.csv; name folders of runs, as experiments/NAME")
    for path in paths:
        if path not in runs:
            print(f"{path}: left out: has no log and metrics.csv", file=sys.stderr)
    return runs


def _log_lines(run: Path) -> Iterator[tuple[datetime, str]]:
    """Yield times and texts of all log files of a run, the oldest first."""
    files = []
    for path in run.glob("log/train_*.log*"):
        lines = [match for line in path.read_text("utf-8").splitlines() if (match := LINE.match(line))]
        if lines:
            files.append([(datetime.fromisoformat(line["time"]), line["text"]) for line in lines])
    if not files:
        raise DataError(f"{run / 'log'}: no log of a training; name folders of runs, as experiments/NAME")
    for entries in sorted(files):
        yield from entries


def _target(words: str) -> tuple[str, tuple[float, ...]]:
    name, _, numbers = words.partition("=")
    try:
        return name, tuple(float(number) for number in numbers.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"expected SET=DB,DB..., such as Set5=31.0,31.3; got {words!r}"
        ) from error


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folders of runs")
    parser.add_argument("--target", nargs="+", type=_target, metavar="SET=DB,DB", help="sets and PSNRs")
    args = parser.parse_args()
    try:
        print("\n".join(table(runs_among(args.runs), dict(args.target) if args.target else TARGETS)))
    except SrcxError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()

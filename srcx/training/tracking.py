"""The records of a run: metrics.csv, log/, trackers, and the progress bar."""

import csv
import logging
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from logging.handlers import RotatingFileHandler
from pathlib import Path
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from srcx.atomic import atomic_path, writing
from srcx.config import LoggerOptions, read_options
from srcx.data import WholePair
from srcx.evaluation.report.contact_sheet import strip
from srcx.imaging.decode import ImageArray
from srcx.training.trackers import TensorBoard, Tracker, WeightsAndBiases, check_wandb

__all__ = ["ProgressBar", "RunLog"]

METRICS_HEADER = ["iter", "set", "metric", "value"]

LOG_BYTES = 16 * 2**20
OLDER_LOGS = 3
"""A log file that grows beyond LOG_BYTES continues in a new one; at most OLDER_LOGS full ones are there."""


class RunLog:
    """The logs of the run folder at `root`; open it before the first value, close it at the end.

    Args:
        root: experiments/NAME.
        options: Which trackers there are, and how many images they get.
        options_text: All options of the run, for trackers that show them.

    Raises:
        UsageError: a tracker is not installed.
    """

    def __init__(self, root: Path, *, options: LoggerOptions, options_text: str = "") -> None:
        check_wandb(options.wandb)
        self.metrics_file, self.folder = root / "metrics.csv", root / "log"
        self.options, self.options_text = options, options_text
        self._trackers: list[Tracker] = []

    def open(self, *, after: int = 0, validated: int = 0) -> None:
        """Open the files; values that the resumed run will log again are dropped.

        Args:
            after: The iteration that the run resumes after; losses of later ones are dropped.
            validated: Iteration of the last completed validation; results of later ones are dropped.

        Raises:
            OutputError: log/ cannot be written, or a tracker cannot begin.
        """
        if self.metrics_file.exists():
            with self.metrics_file.open(newline="", encoding="utf-8", errors="replace") as file:
                rows = [row for row in csv.reader(file) if len(row) == len(METRICS_HEADER)]  # no broken line
            last = {"train": after}
            rows = [row for row in rows if row[0].isdecimal() and int(row[0]) <= last.get(row[1], validated)]
            with (
                atomic_path(self.metrics_file) as temporary,
                temporary.open("w", newline="", encoding="utf-8") as file,
            ):
                csv.writer(file, lineterminator="\n").writerows([METRICS_HEADER, *rows])
        if self.options.use_tb_logger:
            self._trackers.append(TensorBoard(self.folder, after=after))
        if self.options.wandb.project:
            settings = read_options(self.options_text)
            name = self.folder.parent.name
            tracker = WeightsAndBiases(self.folder, options=self.options.wandb, name=name, settings=settings)
            self._trackers.append(tracker)
        path = self.folder / f"train_{self.folder.parent.name}_{time.strftime('%Y%m%d_%H%M%S')}.log"
        with writing(path):
            self._handler = _LogFile(path, maxBytes=LOG_BYTES, backupCount=OLDER_LOGS, encoding="utf-8")
        self._handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        srcx_logger = logging.getLogger("srcx")
        srcx_logger.addHandler(self._handler)
        self._level_before = srcx_logger.level
        srcx_logger.setLevel(logging.INFO)

    def close(self) -> None:
        """Close the files and restore the logger."""
        srcx_logger = logging.getLogger("srcx")
        srcx_logger.removeHandler(self._handler)
        srcx_logger.setLevel(self._level_before)
        self._handler.close()
        while self._trackers:
            self._trackers.pop().close()

    def add(self, iteration: int, set_name: str, values: Mapping[str, float]) -> None:
        """Append values; they are on the disk before any state of a later iteration is.

        Raises:
            OutputError: they cannot be written.
        """
        rows: list[list[object]] = [
            [iteration, set_name, name, repr(value)] for name, value in values.items()
        ]
        if not self.metrics_file.exists():
            rows.insert(0, list(METRICS_HEADER))
        with (
            writing(self.metrics_file),
            self.metrics_file.open("a", newline="", encoding="utf-8") as file,
        ):
            csv.writer(file, lineterminator="\n").writerows(rows)
            file.flush()
            os.fsync(file.fileno())
        for tracker in self._trackers:
            tracker.add(iteration, {f"{set_name}/{name}": value for name, value in values.items()})

    def strips(self, iteration: int, set_name: str) -> Callable[[WholePair, ImageArray], None] | None:
        """Return a function that gives trackers lq, sr and gt of the first images of a validation; or None.

        Args:
            iteration: Of the validation.
            set_name: Of the validation set.
        """
        left = iter(range(self.options.val_images if self._trackers else 0))

        def add(pair: WholePair, sr: ImageArray) -> None:
            if next(left, None) is not None:
                for tracker in self._trackers:
                    tracker.add_image(iteration, f"{set_name}/{pair.name}", strip(pair, sr))

        return add if self._trackers and self.options.val_images else None


class _LogFile(RotatingFileHandler):
    """A log file that cannot be written stops the run, as any other of its files does."""

    def handleError(self, record: logging.LogRecord) -> None:
        with writing(Path(self.baseFilename)):
            raise  # logging calls this while the error is handled

    def close(self) -> None:
        with suppress(OSError):  # every line was flushed, or its error was raised
            super().close()


class ProgressBar:
    """A bar of the iterations on a terminal, and a line with speed and time left for the log.

    Args:
        start: Iterations done before this run started.
        total: Iterations in all.
        stages: Sides of the crop and the iterations at each, as `TrainDataset.stages` returns them; an
            iteration is taken to last in proportion to the area of its crops. Empty where all are alike.
        shown: Whether to draw the bar; of several ranks only one does.

    Example:
        >>> with ProgressBar(start=0, total=4) as bar:
        ...     bar.update(1)
        ...     bar.summary().split(",")[0]
        'iteration 1 of 4'
    """

    def __init__(
        self, start: int, total: int, *, stages: Sequence[tuple[int, int]] = (), shown: bool = True
    ) -> None:
        self.start, self.total, self.stages = start, total, stages or [(1, total)]
        self._bar = Progress(
            TextColumn("training"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[left]} left"),
            console=Console(file=sys.stderr),
            disable=not (shown and sys.stderr.isatty()),
            transient=True,
        )
        self._task = self._bar.add_task("training", total=total, completed=start, left="-:--:--")

    def __enter__(self) -> "ProgressBar":
        self._start_s = self._last_s = time.monotonic()
        self._iteration = self._last_iteration = self.start
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def update(self, iteration: int) -> None:
        """Show that this iteration is done."""
        self._iteration = iteration
        self._bar.update(self._task, completed=iteration, left=self._left(time.monotonic()))

    def summary(self) -> str:
        """Return the iteration, seconds per iteration since the last call, and the time left.

        The time left assumes the mean speed since the start, in pixels of the crops.
        """
        now_s, iteration = time.monotonic(), self._iteration
        each_s = (now_s - self._last_s) / max(iteration - self._last_iteration, 1)
        self._last_s, self._last_iteration = now_s, iteration
        return f"iteration {iteration} of {self.total}, {each_s:.3g} s each, {self._left(now_s)} left"

    def _left(self, now_s: float) -> timedelta:
        done = self._pixels(self._iteration) - self._pixels(self.start)
        left = self._pixels(self.total) - self._pixels(self._iteration)
        return timedelta(seconds=round((now_s - self._start_s) * left / (done or left or 1)))

    def _pixels(self, iteration: int) -> int:
        """Return the pixels of one crop of each iteration up to this one."""
        pixels = 0
        for side, count in self.stages:
            pixels += side**2 * min(count, iteration)
            iteration -= min(count, iteration)
        return pixels

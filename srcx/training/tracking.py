"""What a run says: figures in metrics.csv and tensorboard's event files, sentences in log/."""

import csv
import logging
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

from srcx.atomic import atomic_path, writing

__all__ = ["RunLog"]

METRICS_HEADER = ["iter", "set", "metric", "value"]

LOG_BYTES = 16 * 2**20
LOGS_BEFORE = 3
"""A log file that grows beyond LOG_BYTES goes on in a new one; so many before it are kept."""


class RunLog:
    """The logs of the run folder at `root`; open it before the first figure, close it at the end.

    Args:
        root: experiments/NAME.
        tensorboard: Whether to write event files too.
    """

    def __init__(self, root: Path, *, tensorboard: bool = False) -> None:
        self.metrics_file, self.folder = root / "metrics.csv", root / "log"
        self.tensorboard = tensorboard
        self._events: Any = None

    def open(self, *, after: int = 0, validated: int = 0) -> None:
        """Begin to keep what is logged; figures that will come again are dropped.

        Args:
            after: The iteration the run goes on after; figures of later ones are dropped.
            validated: Iteration of the last completed validation; results of later ones are dropped too.

        Raises:
            OutputError: log/ cannot be written.
        """
        self._forget_after(after, validated)
        if self.tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            self._events = SummaryWriter(str(self.folder), purge_step=after + 1)
        path = self.folder / f"train_{self.folder.parent.name}_{time.strftime('%Y%m%d_%H%M%S')}.log"
        with writing(path):
            self._handler = _LogFile(path, maxBytes=LOG_BYTES, backupCount=LOGS_BEFORE, encoding="utf-8")
        self._handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        of_srcx = logging.getLogger("srcx")
        of_srcx.addHandler(self._handler)
        self._level_before = of_srcx.level
        of_srcx.setLevel(logging.INFO)

    def close(self) -> None:
        """Let go of the files."""
        of_srcx = logging.getLogger("srcx")
        of_srcx.removeHandler(self._handler)
        of_srcx.setLevel(self._level_before)
        self._handler.close()
        if self._events is not None:
            with writing(self.folder):
                self._events.close()

    def add(self, iteration: int, set_name: str, values: Mapping[str, float]) -> None:
        """Append figures; they are on the disk before any state of a later iteration is.

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
        if self._events is not None:
            with writing(self.folder):
                for name, value in values.items():
                    self._events.add_scalar(f"{set_name}/{name}", value, iteration)

    def _forget_after(self, iteration: int, validated: int) -> None:
        """Drop figures of later iterations, results of later validations, and a line cut off in writing."""
        if not self.metrics_file.exists():
            return
        with self.metrics_file.open(newline="", encoding="utf-8", errors="replace") as file:
            rows = [row for row in csv.reader(file) if len(row) == len(METRICS_HEADER)]
        last = {"train": iteration}
        kept = [row for row in rows if row[0].isdecimal() and int(row[0]) <= last.get(row[1], validated)]
        with (
            atomic_path(self.metrics_file) as temporary,
            temporary.open("w", newline="", encoding="utf-8") as file,
        ):
            csv.writer(file, lineterminator="\n").writerows([METRICS_HEADER, *kept])


class _LogFile(RotatingFileHandler):
    """A log file that cannot be written stops the run, as any other of its files does."""

    def handleError(self, record: logging.LogRecord) -> None:
        with writing(Path(self.baseFilename)):
            raise  # logging calls this while the error is handled

    def close(self) -> None:
        with suppress(OSError):  # every line was flushed, or its error was raised
            super().close()

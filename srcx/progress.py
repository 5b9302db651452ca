"""How far long work has come, how fast it goes, and when it will be done."""

import sys
import time
from datetime import timedelta
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

__all__ = ["Pace"]


class Pace:
    """Counts iterations from `done` to `total`; on a terminal it draws a bar; a lap's text fits a log line.

    Args:
        done: Iterations done so far.
        total: Iterations in all.
        shown: Whether to draw the bar; of several processes one does.

    Example:
        >>> with Pace(done=0, total=4) as pace:
        ...     pace.tick()
        ...     pace.lap().split(",")[0]
        'iteration 1 of 4'
    """

    def __init__(self, done: int, total: int, *, shown: bool = True) -> None:
        self.first, self.done, self.total = done, done, total
        self._bar = Bar(
            TextColumn("training"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=Console(file=sys.stderr),
            disable=not (shown and sys.stderr.isatty()),
            transient=True,
        )
        self._task = self._bar.add_task("training", total=total, completed=done)

    def __enter__(self) -> "Pace":
        self._start = self._mark_s = time.monotonic()
        self._mark_done = self.done
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def tick(self) -> None:
        """One more iteration is done."""
        self.done += 1
        self._bar.update(self._task, completed=self.done)

    def lap(self) -> str:
        """Position, seconds an iteration since the last call, time left at the mean pace so far."""
        now = time.monotonic()
        each_s = (now - self._mark_s) / max(self.done - self._mark_done, 1)
        left_s = (now - self._start) / max(self.done - self.first, 1) * (self.total - self.done)
        self._mark_s, self._mark_done = now, self.done
        left = timedelta(seconds=round(left_s))
        return f"iteration {self.done} of {self.total}, {each_s:.3g} s each, {left} left"

"""Show progress: a bar with the remaining time on a terminal, plain lines otherwise."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from srcx.cli.verb import complain, is_quiet, one_line
from srcx.progress import OnProgress, no_progress

__all__ = ["progress"]


EVERY_S = 2.0
"""Seconds between plain lines, so that a log stays readable."""

LEAST_DONE = 5
"""Least number of items, besides a twentieth of all, before the remaining time is shown."""


@contextmanager
def progress(wanted: bool = True) -> Iterator[OnProgress]:
    """Give the `OnProgress` callback that shows the progress on stderr.

    Args:
        wanted: False shows nothing, as -q does.
    """
    if not wanted or is_quiet():
        yield no_progress
        return
    if not sys.stderr.isatty():
        yield _plain_lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    # File names are not markup.
    text = TextColumn("{task.description}", markup=False)
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), text)
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)

        def on_progress(what: str, done: int, total: int) -> None:
            bar.update(task, description=one_line(what), completed=done, total=total or None)

        yield on_progress


def _plain_lines() -> OnProgress:
    said_s = -EVERY_S
    started_s = time.monotonic()

    def on_progress(what: str, done: int, total: int) -> None:
        nonlocal said_s, started_s
        now_s = time.monotonic()
        if done == 1:
            started_s = now_s
        if now_s - said_s < EVERY_S and done != total:
            return
        said_s = now_s
        left_s = (now_s - started_s) / max(done - 1, 1) * (total - done)
        known = done >= max(LEAST_DONE, total / 20)
        left = f", about {left_s:.0f} s left" if known and done < total else ""
        complain(f"{done}/{total} {one_line(what)}{left}" if total else f"{done} {one_line(what)}")

    return on_progress

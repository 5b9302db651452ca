"""Timing that the scripts of this folder share."""

import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence


def seconds(work: Callable[[], object]) -> float:
    """Return the wall-clock seconds that a call takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def in_turn(
    works: Mapping[str, Callable[[], object]], runs: int, *, warm_up: int = 1
) -> dict[str, list[float]]:
    """Time several works in turn, so that whatever else the machine does meets all of them.

    Returns:
        The seconds of `runs` calls of each, by name; the first `warm_up` turns are not counted.
    """
    times: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(warm_up + runs):
        for name, work in works.items():
            taken_s = seconds(work)
            if turn >= warm_up:
                times[name].append(taken_s)
    return times


def spread(times: Sequence[float]) -> str:
    """Return the median and the range of the middle half, in seconds."""
    low, median, high = statistics.quantiles(times, n=4) if len(times) > 1 else [*times] * 3
    return f"{median:.3f} s (middle half {low:.3f} to {high:.3f})"


def load() -> str:
    """Return the machine's load of the last minute, as a benchmark's head names it."""
    return f"load before {os.getloadavg()[0]:.2f}"

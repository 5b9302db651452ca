"""Memory and cores that this process may use: a container's limits count, not the host's figures."""

import math
import os
from collections.abc import Iterator
from pathlib import Path

import psutil

__all__ = ["cores", "free_bytes"]

CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUP = Path("/proc/self/cgroup")


def cores() -> int:
    """Return how many cores this process may use: the least of its affinity and its cgroups' quotas."""
    affinity = getattr(os, "sched_getaffinity", None)
    count: float = len(affinity(0)) if affinity else (os.cpu_count() or 1)
    for folder in _cgroups("cpu"):
        version_1 = _words(folder / "cpu.cfs_quota_us") + _words(folder / "cpu.cfs_period_us")
        quota = _words(folder / "cpu.max") or version_1
        if len(quota) == 2 and quota[0].isdigit() and int(quota[1]) > 0:
            count = min(count, int(quota[0]) / int(quota[1]))
    return max(math.floor(count), 1)


def free_bytes() -> int:
    """Return the memory that can still be taken: the least of the machine's and each cgroup's."""
    free = psutil.virtual_memory().available
    for folder in _cgroups("memory"):
        limit = _number(folder / "memory.max", folder / "memory.limit_in_bytes")
        used = _number(folder / "memory.current", folder / "memory.usage_in_bytes")
        if limit is not None and used is not None:
            # What files of the page cache take is given back where it is needed.
            free = min(free, max(limit - used + _inactive_file(folder / "memory.stat"), 0))
    return free


def _cgroups(controller: str) -> Iterator[Path]:
    """Yield this process's cgroup and all above it, of version 2 and of version 1."""
    try:
        lines = OWN_CGROUP.read_text("utf-8", errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        root = CGROUPS / controller if controllers else CGROUPS
        own = root / path.lstrip("/")
        # A container sees its own cgroup as the root, where the path leads nowhere.
        yield from (folder for folder in (own, *own.parents) if folder.is_relative_to(root))


def _words(file: Path) -> list[str]:
    try:
        return file.read_text("ascii").split()
    except (OSError, ValueError):
        return []


def _number(*files: Path) -> int | None:
    words = next((words for file in files if (words := _words(file))), ["max"])
    return int(words[0]) if words[0].isdigit() else None


def _inactive_file(file: Path) -> int:
    words = _words(file)
    figures = dict(zip(words[::2], words[1::2], strict=False))
    return int(figures.get("total_inactive_file") or figures.get("inactive_file") or 0)

"""One process of a training run, for tests that kill it; a fork of a server that has imported everything.

Started with these names set: folder, words (of the command line), environment, die_at_write (0: never).
"""

import os
import signal
import sys
from pathlib import Path

from srcx.cli import main
from srcx.data import remote


def die_in_the_middle_of(write: int) -> None:
    """SIGKILL this process at its so-many-th atomic write, with half of the new file on the disk."""
    left = [write]
    replace = Path.replace

    def half(path: Path, target: Path) -> Path:
        left[0] -= 1
        if left[0] == 0:
            os.truncate(path, path.stat().st_size // 2)
            os.kill(os.getpid(), signal.SIGKILL)
        return replace(path, target)

    Path.replace = half


if __name__ == "__main__":
    given = globals()
    os.chdir(given["folder"])
    os.environ.update(given["environment"])
    remote.LEAST_FREE = 0  # copies of shards are kept however full the disk of the tests is
    if given["die_at_write"]:
        die_in_the_middle_of(given["die_at_write"])
    with Path("said.txt").open("a", buffering=1) as sys.stderr:
        sys.exit(main(given["words"]))

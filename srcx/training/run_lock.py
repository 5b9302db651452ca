"""The lock of a run folder: one training at a time."""

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from srcx.atomic import make_folder, writing
from srcx.distributed import run_on_main
from srcx.errors import TrainingError
from srcx.lock import try_lock

__all__ = ["run_lock"]


@contextmanager
def run_lock(root: Path) -> Iterator[None]:
    """Hold the lock of the run at `root`, so that no other command trains it at the same time.

    Its file is beside the run folder, .NAME.lock, because that folder is renamed if it holds an earlier run.
    Not filelock's: its older versions empty the file, which names the process, and take a file system
    without locks for a lock that is held.

    Args:
        root: experiments/NAME. Every rank calls this; rank 0 holds the lock.

    Raises:
        TrainingError: another process trains this run; raised on every rank.
        OutputError: the file cannot be written; raised on every rank.
    """

    def lock() -> None:
        path = make_folder(root.parent) / f".{root.name}.lock"
        with writing(path):
            file = path.open("a+b", buffering=0)  # neither reader nor writer empties it by opening
        held.enter_context(file)
        if not try_lock(file.fileno(), root):
            file.seek(0)
            holder = file.read(200).decode(errors="replace") or "another process"
            raise TrainingError(
                f"{root}: {holder} is training this run; wait for it or stop it, or give this run "
                "another name: --force_yml name=..."
            )
        with writing(path):
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}".encode())

    with ExitStack() as held:
        run_on_main(lock)
        yield

"""The lock of a run folder: one training at a time."""

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from srcx.atomic import make_folder, writing
from srcx.distributed import run_on_main
from srcx.errors import TrainingError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["run_lock"]

logger = logging.getLogger(__name__)


@contextmanager
def run_lock(root: Path) -> Iterator[None]:
    """Hold the lock of the run at `root`, so that no other command trains it at the same time.

    The operating system owns the lock and frees it when the process ends, for whatever reason. Its file is
    beside the run folder, .NAME.lock, because that folder is renamed if it holds an earlier run.
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
        try:
            if fcntl is None:
                raise OSError("this operating system has none")
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:
            file.seek(0)
            holder = file.read(200).decode(errors="replace") or "another process"
            raise TrainingError(
                f"{root}: {holder} is training this run; wait for it or stop it, or give this run "
                "another name: --force_yml name=..."
            ) from error
        except OSError as error:
            logger.warning(
                "%s: its file system has no locks (%s), so nothing stops a second training of this name: "
                "start it once", root, error.strerror or error,
            )  # fmt: skip
        with writing(path):
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}".encode())

    with ExitStack() as held:
        run_on_main(lock)
        yield

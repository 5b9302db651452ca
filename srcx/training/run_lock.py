"""One training to a run folder: a second process that would write into it is stopped."""

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

from srcx.atomic import make_folder, writing
from srcx.distributed import Team
from srcx.errors import TrainingError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["only_training"]

logger = logging.getLogger(__name__)


@contextmanager
def only_training(root: Path, team: Team) -> Iterator[None]:
    """Inside the block no other team of processes can train the run at `root`.

    The lock is the operating system's, so it ends with the process that holds it, whatever ends that. It is
    on a file beside the run folder, .NAME.lock, since that folder is renamed where it holds an earlier run.
    Not filelock's: its older versions empty the file, which says who holds the lock, and take a file system
    without locks for a lock that is held.

    Args:
        root: experiments/NAME.
        team: The processes of this training, all of which have to call this; the first one holds the lock.

    Raises:
        TrainingError: another process trains this run; in every process of the team.
        OutputError: the file cannot be written; likewise.
    """
    with ExitStack() as held:
        team.first(lambda: held.enter_context(_locked(root)))
        yield


@contextmanager
def _locked(root: Path) -> Iterator[None]:
    path = make_folder(root.parent) / f".{root.name}.lock"
    with writing(path):
        file = path.open("a+b", buffering=0)  # neither reader nor writer empties it by opening
    with file:
        _lock(file, root)
        with writing(path):
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}".encode())
        yield


def _lock(file: BinaryIO, root: Path) -> None:
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
            "%s: its file system keeps no locks (%s), so nothing stops a second training of this name: "
            "start it once", root, error.strerror or error,
        )  # fmt: skip

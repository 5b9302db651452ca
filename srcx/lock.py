"""Locks of the operating system: it frees them when their process ends, for whatever reason."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from srcx.atomic import make_folder, writing
from srcx.errors import OutputError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["hold_folder", "try_lock"]

log = logging.getLogger(__name__)


def try_lock(handle: int, place: Path) -> bool:
    """Lock an open file or folder until it is closed; return False if another process holds the lock.

    Where there are no locks, a warning names `place`, and True is returned.

    Args:
        handle: Of the file, open for writing, or of the folder.
        place: What the lock protects, for the warning.
    """
    try:
        if fcntl is None:
            raise OSError("this operating system has none")
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError as error:
        log.warning(
            "%s: its file system has no locks (%s), so nothing stops a second command that writes there: "
            "start it once", place, error.strerror or error,
        )  # fmt: skip
    return True


@contextmanager
def hold_folder(folder: Path) -> Iterator[None]:
    """Make a folder if it is missing, and let no other process hold it while the block runs.

    The folder itself is locked, so that no file is left in it. Windows does not open folders: nothing is
    locked there.

    Raises:
        OutputError: another process holds it, or it cannot be made.
    """
    make_folder(folder)
    if fcntl is None:
        yield
        return
    with writing(folder):
        handle = os.open(folder, os.O_RDONLY)
    try:
        if not try_lock(handle, folder):
            raise OutputError(
                f"{folder}: another process is writing to it; wait for it or stop it, then run this again"
            )
        yield
    finally:
        os.close(handle)

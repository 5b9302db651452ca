"""Write files atomically: write a temporary file, flush it to disk, rename it."""

import contextlib
import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from srcx.errors import OutputError

__all__ = [
    "DISK_FULL",
    "atomic_path",
    "check_folder",
    "make_folder",
    "real_path",
    "remove_leftovers",
    "writing",
]

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
"""Numbers of the errors of a disk that takes no more."""


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; on success it is flushed to disk and renamed to `path`.

    When the block raises, the temporary file is removed and `path` is left as it was.

    Raises:
        OutputError: the folder cannot be written, or the disk is full.

    Example:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp()) / "note.txt"
        >>> with atomic_path(target) as temporary:
        ...     _ = temporary.write_text("whole")
        >>> target.read_text()
        'whole'
    """
    # Writers of images choose the format by the suffix; `path` may have the longest name there is.
    temporary = path.with_name(f".{os.getpid()}-{secrets.token_hex(4)}.part{path.suffix}")
    try:
        with writing(path):
            yield temporary
            with temporary.open("rb") as written:
                os.fsync(written.fileno())
            temporary.replace(path)
            _sync_folder(path.parent)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an OSError of the block into one sentence with its cause and its fix.

    Raises:
        OutputError: the block met an OSError.
    """
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"{path}: cannot be written: {error.strerror or error}; {_remedy(path, error)}"
        ) from error


def real_path(path: Path) -> Path:
    """Return the absolute path without links; where links lead in a circle, the path of one of them.

    Before Python 3.13, `Path.resolve` raises RuntimeError there.
    """
    return Path(os.path.realpath(path))


def remove_leftovers(folder: Path) -> None:
    """Delete the temporary files that killed processes left in `folder` and below."""
    for leftover in folder.rglob(".*.part*"):
        with contextlib.suppress(OSError):
            leftover.unlink()


def make_folder(path: Path) -> Path:
    """Make `path` and its parents if they are missing, and return it.

    Raises:
        OutputError: the folder cannot be made, or is a file.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise OutputError(_in_the_way(path, _nearest_there(path))) from error
    except OSError as error:
        raise OutputError(
            f"{path}: cannot make this folder: {error.strerror or error}; {_remedy(path, error)}"
        ) from error
    return path


def check_folder(path: Path) -> None:
    """Check that `path` is a folder that can be written, or can be made; make nothing.

    Raises:
        OutputError: it is not.
    """
    there = _nearest_there(path)
    if not there.is_dir():
        raise OutputError(_in_the_way(path, there))
    if not os.access(there, os.W_OK):
        raise OutputError(
            f"{path}: cannot be written: permission denied; choose another place or change the permission"
        )


def _nearest_there(path: Path) -> Path:
    return next((place for place in (path, *path.parents) if os.path.lexists(place)), path)


def _in_the_way(path: Path, there: Path) -> str:
    return f"{path}: cannot make this folder: {there} is there and is no folder; choose another name"


def _sync_folder(folder: Path) -> None:
    """Flush the rename to disk, on systems that can open a folder."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _remedy(path: Path, error: OSError) -> str:
    if error.errno == errno.ENAMETOOLONG:
        return "choose a shorter name"
    if error.errno not in DISK_FULL:
        return "choose another place or fix its permissions"
    there = next((folder for folder in path.absolute().parents if folder.is_dir()), path)
    free_mib = shutil.disk_usage(there).free / 2**20
    return f"{free_mib:.0f} MiB are free there: free some disk space and run the command again"

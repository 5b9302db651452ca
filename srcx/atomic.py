"""Files that are either whole or not there: write beside, flush to disk, rename."""

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from srcx.errors import OutputError

__all__ = ["atomic_path", "make_folder"]


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
    # The suffix stays last: writers of pictures choose the format by it.
    temporary = path.with_name(f".{path.stem}.{os.getpid()}-{secrets.token_hex(3)}.part{path.suffix}")
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror or error}; {_mend(error)}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def make_folder(path: Path) -> Path:
    """Make `path` and its parents if they are missing, and return it.

    Raises:
        OutputError: the folder cannot be made, or is a file.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{path}: cannot make this folder: {error.strerror or error}; {_mend(error)}"
        ) from error
    return path


def _sync_folder(folder: Path) -> None:
    """Flush the rename itself; not every system can open a folder, and then there is nothing to flush."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _mend(error: OSError) -> str:
    import errno

    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "free some disk space and run it again"
    return "choose another place or mend its permissions"

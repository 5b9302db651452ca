"""What the library logs, on the terminal."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["logs_on_stderr"]


class _Stderr(logging.Handler):
    """Writes to whatever stderr is at the moment: a progress bar puts its own in place, to stay below."""

    def emit(self, record: logging.LogRecord) -> None:
        print(self.format(record), file=sys.stderr, flush=True)


@contextmanager
def logs_on_stderr() -> Iterator[None]:
    """Inside the block, what srcx has to say goes to stderr, one line each."""
    handler, logger = _Stderr(), logging.getLogger("srcx")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)

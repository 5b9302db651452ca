"""All that is wrong with the images of a data set, said at once instead of one by one."""

from collections.abc import Iterator
from contextlib import contextmanager

from srcx.errors import DataError, SrcxError

__all__ = ["Problems"]

SHOWN = 10


class Problems:
    """Collects sentences about what is wrong.

    Example:
        >>> problems = Problems()
        >>> problems.add("a.png: is empty")
        >>> problems.stop_if_any("datasets/train")
        Traceback (most recent call last):
        srcx.errors.DataError: a.png: is empty
    """

    def __init__(self) -> None:
        self.sentences: list[str] = []

    def add(self, sentence: str) -> None:
        """Note one problem."""
        self.sentences.append(sentence)

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Note what the block raises instead of stopping there."""
        try:
            yield
        except SrcxError as error:
            self.add(str(error))

    def stop_if_any(self, where: str) -> None:
        """Raise DataError with the first ten problems and the number of the others."""
        if len(self.sentences) == 1:
            raise DataError(self.sentences[0])
        if self.sentences:
            lines = self.sentences[:SHOWN]
            if len(self.sentences) > SHOWN:
                lines.append(f"... and {len(self.sentences) - SHOWN} more")
            listed = "\n  ".join(lines)
            raise DataError(f"{where}: {len(self.sentences)} problems with its images:\n  {listed}")

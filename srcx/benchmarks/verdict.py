"""What is said of a set."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Verdict", "counted", "listed"]

SHOWN = 5


@dataclass(frozen=True)
class Verdict:
    """One sentence about the set in `folder`, and all that is wrong with it."""

    folder: Path
    sentence: str
    problems: tuple[str, ...]


def counted(number: int) -> str:
    """A number of images.

    Example:
        >>> counted(1), counted(5)
        ('1 image', '5 images')
    """
    return f"{number} image{'' if number == 1 else 's'}"


def listed(names: Sequence[str]) -> str:
    """The first names, and whether there are more.

    Example:
        >>> listed(["a", "b", "c", "d", "e", "f"])
        'a, b, c, d, e, ...'
    """
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")

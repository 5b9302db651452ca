"""Progress of long work: one callback type for the whole package."""

from collections.abc import Callable

__all__ = ["OnProgress", "no_progress"]

OnProgress = Callable[[str, int, int], None]
"""Called with the name of the item just done, the number of items done, and the number of all items,
0 where it is not known."""


def no_progress(_what: str, _done: int, _total: int) -> None:
    """Show nothing: the `OnProgress` where nobody watches."""

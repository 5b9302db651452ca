"""The name somebody meant."""

from collections.abc import Iterable
from difflib import get_close_matches

__all__ = ["nearest"]


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name most like `name`, whatever its capitals, or None where none is like it.

    Example:
        >>> nearest("SRGanModel", ["SRModel", "SRGANModel"]), nearest("x", ["y"])
        ('SRGANModel', None)
    """
    by_lower = {other.lower(): other for other in known}
    near = get_close_matches(name.lower(), by_lower, n=1)
    return by_lower[near[0]] if near else None

"""The name somebody meant."""

from collections.abc import Iterable
from difflib import SequenceMatcher, get_close_matches

__all__ = ["LIKE_AN_OPTION", "nearest"]

LIKE_A_PART = 0.83
"""Likeness of names of networks, losses ...: "Loss" at the end makes very different ones look alike."""
LIKE_AN_OPTION = 0.7
LEAST_SHARED = 5
"""Characters that a name and the longer or shorter one that was meant have in common."""


def nearest(name: str, known: Iterable[str], *, least: float = LIKE_A_PART) -> str | None:
    """Return the known name most like `name`, whatever its capitals, or None where none is like it.

    Args:
        name: What was written.
        known: What could have been meant.
        least: Least likeness, as difflib measures it: 0 to 1. A name that is nearly all contained in another
            is like it whatever that is.

    Example:
        >>> nearest("SRGanModel", ["SRModel", "SRGANModel"]), nearest("weight", ["loss_weight"])
        ('SRGANModel', 'loss_weight')
        >>> nearest("FocalFrequencyLoss", ["LowFrequencyLoss"]), nearest("num_frame", ["name"])
        (None, None)
    """
    by_lower = {other.lower(): other for other in known}
    near = get_close_matches(name.lower(), by_lower, n=1, cutoff=least)
    if near:
        return by_lower[near[0]]
    contained = (other for lower, other in by_lower.items() if _share(name.lower(), lower))
    return next(contained, None)


def _share(one: str, other: str) -> bool:
    """Whether at least nine tenths of the shorter name are in the other in one piece."""
    shared, shorter = SequenceMatcher(None, one, other).find_longest_match().size, min(len(one), len(other))
    return shared >= max(LEAST_SHARED, 0.9 * shorter)

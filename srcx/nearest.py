"""The known name that a misspelt one is nearest to."""

from collections.abc import Iterable
from difflib import SequenceMatcher, get_close_matches

__all__ = ["LIKE_AN_OPTION", "LIKE_A_PART", "did_you_mean", "nearest"]

LIKE_A_PART = 0.83
"""Least likeness of names of networks, losses ...: different ones that end in "Loss" are alike already."""
LIKE_AN_OPTION = 0.7
"""Least likeness of names of options."""
LEAST_SHARED = 5
"""Least number of characters that a name shares with a much longer or shorter one."""


def nearest(name: str, known: Iterable[str], *, least: float = LIKE_A_PART) -> str | None:
    """Return the known name most like `name`, in upper or lower case, or None where none is like it.

    Args:
        name: The name that is not known.
        known: The names to choose from.
        least: Least likeness by difflib, 0 to 1. A name of which nine tenths are contained in another in one
            piece is like it at any likeness.

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
    for lower, other in by_lower.items():
        shared = SequenceMatcher(None, name.lower(), lower).find_longest_match().size
        if shared >= max(LEAST_SHARED, 0.9 * min(len(name), len(lower))):
            return other
    return None


def did_you_mean(name: str, known: Iterable[str], *, least: float = LIKE_A_PART) -> str:
    """Return the end of a message about an unknown name: the nearest known name, or all of them.

    Example:
        >>> did_you_mean("vg19", ["vgg16", "vgg19"]), did_you_mean("resnet", ["vgg16", "vgg19"])
        ("did you mean 'vgg19'?", 'known are vgg16, vgg19')
    """
    known = list(known)
    near = nearest(name, known, least=least)
    return f"did you mean '{near}'?" if near else f"known are {', '.join(known)}"

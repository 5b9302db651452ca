"""The low-resolution images of a set: how each was made, and what that means for a table."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from srcx.benchmarks.manifest import KnownFile
from srcx.benchmarks.pixels import pixel_sha256
from srcx.benchmarks.shrinking import WAYS, Likeness, compare
from srcx.benchmarks.verdict import counted, listed
from srcx.errors import ImageError
from srcx.imaging.decode import ImageArray
from srcx.imaging.io import read_image

__all__ = ["LqFinding", "inspect_lq", "judge_lqs"]

ELSEWHERE = 12.0  # levels of 255: so far from every way, an image shows something else
WRONG = "tables made from them are not comparable; 'srcx data prepare lr' makes right ones"


class LqFinding(NamedTuple):
    """A low-resolution image: how it is the published one, else what it is like, or a problem."""

    path: Path
    published: str | None = None
    like: Likeness | None = None
    problem: str | None = None


def inspect_lq(path: Path, gt: ImageArray, scale: int, published: KnownFile | None) -> LqFinding:
    """Compare a low-resolution image with the published one, and else with its ground truth."""
    try:
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        lq = read_image(path)
    except OSError as error:
        return LqFinding(path, problem=f"{path}: cannot be read: {error.strerror}")
    except ImageError as error:
        return LqFinding(path, problem=str(error))
    if published and sha256 == published.sha256:
        return LqFinding(path, "the published files")
    if published and pixel_sha256(lq) == published.pixels:
        return LqFinding(path, "the published images, saved anew (equal pixels)")
    try:
        return LqFinding(path, like=compare(lq, gt, scale))
    except ImageError as error:
        return LqFinding(path, problem=f"{path}: {error}")


def judge_lqs(found: Sequence[LqFinding], scale: int) -> tuple[str, list[str]]:
    """One clause about the images of a scale, and what is wrong with them."""
    problems = [one.problem for one in found if one.problem]
    published = Counter(one.published for one in found if one.published)
    clauses = [(count, words) for words, count in published.items()]
    for place, group in _explained(found).items():
        way = WAYS[place]
        clauses.append((len(group), f"made by {way.words}" + (" (close)" if way.grade == "close" else "")))
        if way.grade == "wrong":
            problems.append(f"{_place_of(group)} made by {way.words}; {WRONG}")
    strange = [one for one in found if one.like and not one.like.exact]
    if strange:
        clauses.append((len(strange), "made in no way srcx knows"))
        problems += _strange(strange)
    if unread := sum(one.problem is not None for one in found):
        clauses.append((unread, "not to be judged"))
    if len(clauses) == 1:
        return f"LR x{scale}: {clauses[0][1]}", problems
    return f"LR x{scale}: " + (", ".join(f"{count} {words}" for count, words in clauses) or "none"), problems


def _explained(found: Sequence[LqFinding]) -> dict[int, list[LqFinding]]:
    """Images by the way that gives them: as few ways as will do, since several may give a small image."""
    left = [one for one in found if one.like and one.like.exact]
    groups: dict[int, list[LqFinding]] = {}
    while left:
        count = Counter(place for one in left if one.like for place in one.like.exact)
        best = min(count, key=lambda place: (-count[place], place))
        groups[best] = [one for one in left if one.like and best in one.like.exact]
        left = [one for one in left if one not in groups[best]]
    return groups


def _strange(group: Sequence[LqFinding]) -> list[str]:
    """What is wrong with images that no way gives: too far from all of them, or only changed."""
    problems = []
    for others in (True, False):
        some = [one for one in group if one.like and (one.like.mean > ELSEWHERE) is others]
        if not some:
            continue
        means = sorted(one.like.mean for one in some if one.like)
        apart = f"{means[0]:.1f} to {means[-1]:.1f} levels of 255 off what comes nearest"
        why = "of something else than their ground truth" if others else "changed, or saved with loss"
        problems.append(f"{_place_of(some)} {why}, {apart}; {WRONG}")
    return problems


def _place_of(group: Sequence[LqFinding]) -> str:
    return f"{group[0].path.parent}: {counted(len(group))} ({listed([one.path.name for one in group])})"

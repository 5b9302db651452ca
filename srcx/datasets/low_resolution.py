"""The low-resolution pictures of a set: how each was made, and what that means for a table."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from srcx.datasets.shrinking import WAYS, Likeness, compare
from srcx.datasets.verdict import listed
from srcx.errors import ImageError
from srcx.imaging.decode import Picture
from srcx.imaging.io import read_picture

__all__ = ["LqFinding", "inspect_lq", "judge_lqs"]

ELSEWHERE = 12.0  # levels of 255: so far from every way, a picture shows something else
WRONG = "tables made from it are not comparable; 'srcx data prepare lr' makes right ones"


class LqFinding(NamedTuple):
    """A low-resolution picture: published to the byte, like what the usual ways make, or a problem."""

    path: Path
    published: bool = False
    like: Likeness | None = None
    problem: str | None = None


def inspect_lq(path: Path, gt: Picture, scale: int, *, published_sha256: str | None) -> LqFinding:
    """Compare a low-resolution picture with its ground truth, unless it is the published file."""
    try:
        if published_sha256 and hashlib.sha256(path.read_bytes()).hexdigest() == published_sha256:
            return LqFinding(path, published=True)
        lq = read_picture(path)
    except OSError as error:
        return LqFinding(path, problem=f"{path}: cannot be read: {error.strerror}")
    except ImageError as error:
        return LqFinding(path, problem=str(error))
    try:
        return LqFinding(path, like=compare(lq, gt, scale))
    except ImageError as error:
        return LqFinding(path, problem=f"{path}: {error}")


def judge_lqs(found: Sequence[LqFinding], scale: int) -> tuple[str, list[str]]:
    """One clause about the pictures of a scale, and what is wrong with them."""
    label = f"LR x{scale}"
    clauses, problems = [], [one.problem for one in found if one.problem]
    published = [one for one in found if one.published]
    if published:
        clauses.append((len(published), "the published files"))
    explained = _explained(found)
    for place, group in explained.items():
        way = WAYS[place]
        clauses.append((len(group), f"made by {way.words}" + (" (close)" if way.grade == "close" else "")))
        if way.grade == "wrong":
            names = listed([one.path.name for one in group])
            where = group[0].path.parent
            problems.append(f"{where}: {len(group)} pictures made by {way.words} ({names}): {WRONG}")
    strange = [one for one in found if one.like and not one.like.exact]
    if strange:
        clauses.append((len(strange), "made in no way srcx knows"))
        problems += [f"{one.path}: {_strange(one.like)}" for one in strange if one.like]
    if unread := sum(one.problem is not None for one in found):
        clauses.append((unread, "not to be judged"))
    if len(clauses) == 1:
        return f"{label}: {clauses[0][1]}", problems
    return f"{label}: " + ", ".join(f"{count} {words}" for count, words in clauses), problems


def _explained(found: Sequence[LqFinding]) -> dict[int, list[LqFinding]]:
    """Pictures by the way that gives them: as few ways as will do, since several may give a small picture."""
    left = [one for one in found if one.like and one.like.exact]
    groups: dict[int, list[LqFinding]] = {}
    while left:
        count = Counter(place for one in left if one.like for place in one.like.exact)
        best = min(count, key=lambda place: (-count[place], place))
        groups[best] = [one for one in left if one.like and best in one.like.exact]
        left = [one for one in left if one not in groups[best]]
    return groups


def _strange(like: Likeness) -> str:
    apart = f"differs from it by {like.mean:.1f} levels on average, {like.most} at most"
    if like.mean > ELSEWHERE:
        return f"shows something else than its ground truth: what comes nearest {apart}"
    return f"made in no way srcx knows; {WAYS[like.nearest].words}, comes nearest and {apart}: {WRONG}"

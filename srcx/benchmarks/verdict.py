"""Sentences about a set: which copy it is, how its low-resolution images were made, and what is wrong."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from srcx.benchmarks.inspect import Finding, Kind, LqFinding
from srcx.benchmarks.manifest import KnownSet
from srcx.benchmarks.shrinking import METHODS
from srcx.counted import counted

__all__ = ["Verdict", "describe_gts", "describe_lqs", "listed"]

SHOWN = 5
ELSEWHERE = 12.0  # levels of 255: an image this far from all methods shows something else
WRONG = "tables made from them are not comparable; make correct ones with 'srcx data prepare lr'"

WORDS: dict[Kind, str] = {
    "published": "the published files",
    "saved anew": "the published images, saved anew (equal pixels)",
    "cut to multiples of 12": "the published images cut to multiples of 12, as BasicSR's GTmod12",
    "not cut": "the published images before they were cut to multiples of 4",
}


@dataclass(frozen=True)
class Verdict:
    """One sentence about the set in `folder`, and its problems."""

    folder: Path
    sentence: str
    problems: tuple[str, ...]


def listed(names: Sequence[str]) -> str:
    """Return the first five names, and "..." if there are more.

    Example:
        >>> listed(["a", "b", "c", "d", "e", "f"])
        'a, b, c, d, e, ...'
    """
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")


def describe_gts(folder: Path, known: KnownSet | None, findings: Sequence[Finding]) -> tuple[str, list[str]]:
    """Return a clause about the ground truth in `folder`, and its problems."""
    if not findings:
        return "HR: no images", [f"{folder}: there are no images in this folder"]
    problems = [one.problem for one in findings if one.problem]
    if known is None:
        return f"HR: {counted(len(findings))}", problems
    if not any(one.hr.pixels for one in known.images):
        if len(findings) != known.count:
            problems.append(f"{folder}: holds {counted(len(findings))}, and {known.name} has {known.count}")
        return f"HR: {counted(len(findings))}, whose published digests are not known", problems
    kinds = Counter(_kind_in(one, {other.kind for other in findings}) for one in findings)
    if len(kinds) == 1 and (only := next(iter(kinds))) in WORDS:
        return f"HR: {WORDS[only]}", problems + _missing(folder, known, findings)
    clause = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
    return f"HR: {clause}", problems + _missing(folder, known, findings)


def _kind_in(one: Finding, kinds: set[Kind]) -> Kind:
    """Return the kind; an image whose size needs no crop has the kind of its set."""
    if one.match and one.kind in ("published", "saved anew"):
        if "not cut" in kinds:
            return "not cut"
        if "cut to multiples of 12" in kinds and one.match.image.hr.pixels == one.match.image.hr.pixels_mod12:
            return "cut to multiples of 12"
    return one.kind


def _missing(folder: Path, known: KnownSet, findings: Sequence[Finding]) -> list[str]:
    """Return the differences from the published set: changed, repeated and missing images."""
    count = Counter(one.match.image.name for one in findings if one.match and one.match.set == known.name)
    others = [one for one in findings if not (one.match and one.match.set == known.name)]
    strange = [one.path.name for one in others if one.kind != "damaged"]
    twice = [name for name, times in count.items() if times > 1]
    here = count.keys() | {one.path.stem for one in others}  # a changed or damaged one is not missing too
    missing = [one.name for one in known.images if one.name not in here]
    problems = []
    if strange:
        what = f"changed, saved with loss, or not of {known.name}"
        problems.append(f"{folder}: {counted(len(strange))} {what}: {listed(strange)}")
    if twice:
        problems.append(f"{folder}: {counted(len(twice))} more than once: {listed(twice)}")
    if missing:
        problems.append(f"{folder}: {counted(len(missing))} of {known.count} not here: {listed(missing)}")
    return problems


def describe_lqs(found: Sequence[LqFinding], scale: int) -> tuple[str, list[str]]:
    """Return a clause about the low-resolution images of one scale, and their problems."""
    problems = [one.problem for one in found if one.problem]
    published = Counter(one.published for one in found if one.published)
    clauses = [(count, words) for words, count in published.items()]
    for place, group in _explained(found).items():
        method = METHODS[place]
        clauses.append(
            (len(group), f"made by {method.words}" + (" (close)" if method.grade == "close" else ""))
        )
        if method.grade == "wrong":
            problems.append(f"{_place_of(group)} made by {method.words}; {WRONG}")
    strange = [one for one in found if one.like and not one.like.exact]
    if strange:
        clauses.append((len(strange), "made by an unknown method"))
        problems += _strange(strange)
    if unread := sum(one.problem is not None for one in found):
        clauses.append((unread, "not readable or not comparable"))
    if len(clauses) == 1:
        return f"LR x{scale}: {clauses[0][1]}", problems
    return f"LR x{scale}: " + (", ".join(f"{count} {words}" for count, words in clauses) or "none"), problems


def _explained(found: Sequence[LqFinding]) -> dict[int, list[LqFinding]]:
    """Return the images by method, with as few methods as possible, since several may give one image."""
    left = [one for one in found if one.like and one.like.exact]
    groups: dict[int, list[LqFinding]] = {}
    while left:
        count = Counter(place for one in left if one.like for place in one.like.exact)
        best = min(count, key=lambda place: (-count[place], place))
        groups[best] = [one for one in left if one.like and best in one.like.exact]
        left = [one for one in left if one not in groups[best]]
    return groups


def _strange(group: Sequence[LqFinding]) -> list[str]:
    """Return the problems of images that no method gives: another scene, or a changed image."""
    problems = []
    for others in (True, False):
        some = [one for one in group if one.like and (one.like.mean > ELSEWHERE) is others]
        if not some:
            continue
        means = sorted(one.like.mean for one in some if one.like)
        apart = f"{means[0]:.1f} to {means[-1]:.1f} levels of 255 away from the nearest method"
        why = "show something other than their ground truth" if others else "changed, or saved with loss"
        problems.append(f"{_place_of(some)} {why}, {apart}; {WRONG}")
    return problems


def _place_of(group: Sequence[LqFinding]) -> str:
    return f"{group[0].path.parent}: {counted(len(group))} ({listed([one.path.name for one in group])})"

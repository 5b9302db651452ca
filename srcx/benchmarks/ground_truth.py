"""The ground truth of a set: which copy of it this is, and what is missing or changed."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from srcx.benchmarks.inspect import Finding, Kind
from srcx.benchmarks.manifest import KnownSet
from srcx.benchmarks.verdict import counted, listed

__all__ = ["judge_gts"]

WORDS: dict[Kind, str] = {
    "published": "the published files",
    "saved anew": "the published images, saved anew (equal pixels)",
    "cut to multiples of 12": "the published images cut to multiples of 12, as BasicSR's GTmod12",
    "not cut": "the published images before they were cut to multiples of 4",
}


def judge_gts(folder: Path, known: KnownSet | None, findings: Sequence[Finding]) -> tuple[str, list[str]]:
    """One clause about the ground truth in `folder`, and what is wrong with it."""
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
    """An image that no cut changes is of the same kind as the others of its set."""
    if one.match and one.kind in ("published", "saved anew"):
        if "not cut" in kinds:
            return "not cut"
        if "cut to multiples of 12" in kinds and one.match.image.hr.pixels == one.match.image.hr.pixels_mod12:
            return "cut to multiples of 12"
    return one.kind


def _missing(folder: Path, known: KnownSet, findings: Sequence[Finding]) -> list[str]:
    """What is not the published set: changed images, images that are there twice or not at all."""
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

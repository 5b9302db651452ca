"""Verify a set on disk: recognise which copy it is, and list its problems."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from srcx.benchmarks.div2k import is_div2k, verify_div2k
from srcx.benchmarks.inspect import Finding, inspect
from srcx.benchmarks.layout import NamedFile, gt_files, is_set, lq_files
from srcx.benchmarks.manifest import KnownSet, known_sets
from srcx.benchmarks.verdict import Verdict, describe_gts, describe_lqs, listed
from srcx.counted import counted
from srcx.errors import DataError
from srcx.imaging.parallel import in_parallel
from srcx.progress import OnProgress

__all__ = ["sets_in", "verify"]

KNOWN_SCALE = 4  # of the published files whose digests are known
SCALES = (KNOWN_SCALE, 2, 3, 8)


def sets_in(folder: Path) -> list[Path]:
    """Return the sets in a folder: the folder itself if it is a set, else the sets directly inside.

    Raises:
        DataError: the folder holds no set.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; 'srcx data list' shows the sets and their folders")
    if _is_any_set(folder):
        return [folder]
    found = [one for one in sorted(folder.iterdir()) if one.is_dir() and _is_any_set(one)]
    if not found:
        raise DataError(
            f"{folder}: holds no set; one has its images in SET/HR and SET/LR_bicubic/X4, "
            "or SET/GTmod12 and SET/LRbicx4"
        )
    return found


def verify(folder: Path, on_progress: OnProgress) -> Verdict:
    """Return a verdict on the copy of a set in `folder`.

    Args:
        folder: A folder that `sets_in` gives.
        on_progress: Called after each image.

    Raises:
        DataError: a folder in it cannot be read.
    """
    if is_div2k(folder):
        return verify_div2k(folder, on_progress)
    groups: dict[Path, _Group] = {}  # SelfExSR's layout has ground truth of its own for each scale
    for scale in SCALES:
        if found := gt_files(folder, scale):
            group = groups.setdefault(found[0], _Group(scale, found[1], {}))
            if low := lq_files(folder, scale):
                group.low[scale] = low
    findings = {place: _inspect(folder, group, on_progress) for place, group in groups.items()}
    name = _name_of(folder, [one for of_group in findings.values() for one in of_group])
    clauses: list[str] = []
    problems: list[str] = []
    for place, group in groups.items():
        known = known_sets().get(name or "") if group.scale == KNOWN_SCALE else None
        clause, wrong = _describe(place, group, known, findings[place])
        clauses.append(f"{place.name}: {clause}" if len(groups) > 1 else clause)
        problems += wrong
    return Verdict(folder, f"{name or 'an unknown set'}: {'; '.join(clauses)}", tuple(problems))


class _Group(NamedTuple):
    """Ground truth of one scale, and by scale the folder and images of low resolution."""

    scale: int
    gts: list[NamedFile]
    low: dict[int, tuple[Path, list[NamedFile]]]


def _is_any_set(folder: Path) -> bool:
    return is_div2k(folder) or any(is_set(folder, scale) for scale in SCALES)


def _inspect(folder: Path, group: _Group, on_progress: OnProgress) -> list[Finding]:
    lqs = {scale: dict(named) for scale, (_, named) in group.low.items()}

    def look(one: NamedFile) -> Finding:
        name, gt = one
        return inspect(gt, {scale: by_name[name] for scale, by_name in lqs.items() if name in by_name})

    findings: list[Finding] = []
    for finding in in_parallel(look, group.gts):
        findings.append(finding)
        on_progress(f"{folder.name} {finding.path.name}", len(findings), len(group.gts))
    return findings


def _describe(
    place: Path, group: _Group, known: KnownSet | None, findings: Sequence[Finding]
) -> tuple[str, list[str]]:
    clause, problems = describe_gts(place, known, findings)
    clauses = [clause]
    for scale, low in group.low.items():
        clause, wrong = describe_lqs([one.lqs[scale] for one in findings if scale in one.lqs], scale)
        clauses.append(clause)
        problems += [*wrong, *_unpaired(group.gts, place, low)]
    if not group.low:
        clauses.append("no LR; srcx benchmark makes it")
    return "; ".join(clauses), problems


def _name_of(folder: Path, findings: Sequence[Finding]) -> str | None:
    """Return the set that most images belong to, else the set with the name of the folder."""
    votes = Counter(one.match.set for one in findings if one.match)
    if votes:
        return votes.most_common(1)[0][0]
    return next((name for name in known_sets() if name.lower() == folder.name.lower()), None)


def _unpaired(gts: Sequence[NamedFile], gt_folder: Path, low: tuple[Path, list[NamedFile]]) -> list[str]:
    """Return the images without a partner on both sides."""
    names, lqs = [name for name, _ in gts], dict(low[1])
    alone = [name for name in names if name not in lqs]
    extra = [path.name for name, path in low[1] if name not in names]
    problems = []
    if alone:
        problems.append(
            f"{low[0]}: has no image for {len(alone)} of {len(names)} in {gt_folder}: {listed(alone)}"
        )
    if extra:
        problems.append(
            f"{low[0]}: {counted(len(extra))} without ground truth in {gt_folder}: {listed(extra)}"
        )
    return problems

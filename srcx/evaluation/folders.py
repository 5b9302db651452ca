"""Scores of ready-made pictures in folders, matched by file name, as PIRM's evaluate_results does."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from srcx.errors import DataError, ImageError, UsageError
from srcx.evaluation.scoring import MetricCall, ScoreJob, Scores, mean_of_set, metric_calls, score_all
from srcx.imaging import list_pictures, picture_size

__all__ = ["FolderScores", "score_folders"]


@dataclass(frozen=True)
class FolderScores:
    """Scores of every picture by its name, and of the folder."""

    pictures: dict[str, Scores]
    means: Scores

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain values, for JSON."""
        return {
            "pictures": {
                name: {"metrics": one.values, "reasons": one.reasons} for name, one in self.pictures.items()
            },
            "mean": {"metrics": self.means.values, "reasons": self.means.reasons},
        }


def score_folders(
    sr: Path,
    gt: Path | None,
    metrics: Sequence[str],
    border_px: int,
    *,
    tell: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> FolderScores:
    """Score the pictures of a folder.

    Args:
        sr: Pictures to score.
        gt: Their ground truth under the same names (suffixes may differ), or None.
        metrics: Names of metrics.
        border_px: Pixels shaved from each border by the metrics that shave.
        tell: Called after each picture.

    Raises:
        DataError: a folder is missing or empty, or pictures lack partners or differ in size; all at once. An
            image that cannot be read has None for every metric, and the reason.
        UsageError: there is no such metric, or it needs ground truth and there is none.
    """
    calls = metric_calls(metrics, scale=border_px)
    lonely = [call.name for call in calls if call.needs_gt]
    if gt is None and lonely:
        raise UsageError(
            f"{', '.join(lonely)}: compares with the ground truth; give --gt, or other --metrics"
        )
    pairs = _pairs(sr, gt)
    jobs = [ScoreJob(picture, partner, calls) for picture, partner in pairs]
    pictures: dict[str, Scores] = {}
    for done, (job, scores) in enumerate(zip(jobs, score_all(jobs), strict=True), start=1):
        pictures[job.sr.stem] = scores
        tell(f"scored {job.sr.name}", done, len(jobs))
    return FolderScores(pictures, _means(calls, list(pictures.values())))


def _means(calls: Sequence[MetricCall], scores: Sequence[Scores]) -> Scores:
    figures = {call.name: mean_of_set(call.name, scores) for call in calls}
    return Scores(
        {name: value for name, (value, _) in figures.items()},
        {name: reason for name, (_, reason) in figures.items() if reason},
    )


def _pairs(sr: Path, gt: Path | None) -> list[tuple[Path, Path | None]]:
    pictures = _by_stem(sr)
    if gt is None:
        return [(picture, None) for picture in pictures.values()]
    partners = _by_stem(gt)
    problems = [
        f"only in {here}: {', '.join(alone)}"
        for here, one, other in ((sr, pictures, partners), (gt, partners, pictures))
        if (alone := [name for name in one if name not in other])
    ]
    problems += [
        f"{name} is {size} in {sr} and {gt_size} in {gt}"
        for name in pictures
        if name in partners
        and (size := _size(pictures[name]))
        and (gt_size := _size(partners[name]))
        and size != gt_size
    ]
    if problems:
        raise DataError(f"the pictures do not match; {'; '.join(problems)}")
    return [(picture, partners[name]) for name, picture in pictures.items()]


def _size(picture: Path) -> str | None:
    """Width x height; None for an image that cannot be read, which scoring gives the reason of."""
    try:
        height, width = picture_size(picture)
    except ImageError:
        return None
    return f"{width} x {height}"


def _by_stem(folder: Path) -> dict[str, Path]:
    pictures: dict[str, Path] = {}
    for picture in list_pictures(folder):
        if picture.stem in pictures:
            raise DataError(f"{folder}: has both {pictures[picture.stem].name} and {picture.name}; keep one")
        pictures[picture.stem] = picture
    if not pictures:
        raise DataError(f"{folder}: there are no pictures in this folder")
    return pictures

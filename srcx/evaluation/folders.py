"""Scores of ready-made images in folders, matched by file name, as PIRM's evaluate_results does."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from srcx.errors import DataError, ImageError, UsageError
from srcx.evaluation.scoring import MetricCall, ScoreJob, Scores, mean_of_set, metric_calls, score_all
from srcx.imaging import image_size, list_images

__all__ = ["FolderScores", "score_folders"]


@dataclass(frozen=True)
class FolderScores:
    """Scores of every image by its name, and of the folder."""

    images: dict[str, Scores]
    means: Scores

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain values, for JSON."""
        return {
            "images": {
                name: {"metrics": one.values, "reasons": one.reasons} for name, one in self.images.items()
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
    """Score the images of a folder.

    Args:
        sr: Images to score.
        gt: Their ground truth under the same names (suffixes may differ), or None.
        metrics: Names of metrics.
        border_px: Pixels shaved from each border by the metrics that shave.
        tell: Called after each image.

    Raises:
        DataError: a folder is missing or empty, or images lack partners or differ in size; all at once. An
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
    jobs = [ScoreJob(image, partner, calls) for image, partner in pairs]
    images: dict[str, Scores] = {}
    for done, (job, scores) in enumerate(zip(jobs, score_all(jobs), strict=True), start=1):
        images[job.sr.stem] = scores
        tell(f"scored {job.sr.name}", done, len(jobs))
    return FolderScores(images, _means(calls, list(images.values())))


def _means(calls: Sequence[MetricCall], scores: Sequence[Scores]) -> Scores:
    figures = {call.name: mean_of_set(call.name, scores) for call in calls}
    return Scores(
        {name: value for name, (value, _) in figures.items()},
        {name: reason for name, (_, reason) in figures.items() if reason},
    )


def _pairs(sr: Path, gt: Path | None) -> list[tuple[Path, Path | None]]:
    images = _by_stem(sr)
    if gt is None:
        return [(image, None) for image in images.values()]
    partners = _by_stem(gt)
    problems = [
        f"only in {here}: {', '.join(alone)}"
        for here, one, other in ((sr, images, partners), (gt, partners, images))
        if (alone := [name for name in one if name not in other])
    ]
    problems += [
        f"{name} is {size} in {sr} and {gt_size} in {gt}"
        for name in images
        if name in partners
        and (size := _size(images[name]))
        and (gt_size := _size(partners[name]))
        and size != gt_size
    ]
    if problems:
        raise DataError(
            f"the images do not match; {'; '.join(problems)}: rename or cut them, so that each image "
            "has a ground truth of its name and size"
        )
    return [(image, partners[name]) for name, image in images.items()]


def _size(image: Path) -> str | None:
    """Width x height; None for an image that cannot be read, which scoring gives the reason of."""
    try:
        height, width = image_size(image)
    except ImageError:
        return None
    return f"{width} x {height}"


def _by_stem(folder: Path) -> dict[str, Path]:
    images: dict[str, Path] = {}
    for image in list_images(folder):
        if image.stem in images:
            raise DataError(f"{folder}: has both {images[image.stem].name} and {image.name}; keep one")
        images[image.stem] = image
    if not images:
        raise DataError(f"{folder}: there are no images in this folder")
    return images

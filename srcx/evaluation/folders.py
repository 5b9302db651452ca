"""Scores of ready-made images in folders, matched by file name, as PIRM's evaluate_results does."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from srcx.errors import DataError, ImageError, UsageError
from srcx.evaluation.scoring import ScoreJob, Scores, find_metrics, mean_of_set, score_all
from srcx.imaging import image_size, list_images
from srcx.progress import OnProgress, no_progress

__all__ = ["FolderScores", "score_folders"]


@dataclass(frozen=True)
class FolderScores:
    """Scores of every image by its name, and their means."""

    images: dict[str, Scores]
    means: Scores

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain values, for JSON."""
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
    on_progress: OnProgress = no_progress,
) -> FolderScores:
    """Score the images of a folder.

    Args:
        sr: Images to score.
        gt: Their ground truth under the same names (suffixes may differ), or None.
        metrics: Names of metrics.
        border_px: Pixels shaved from each border by the metrics that shave.
        on_progress: Called after each image.

    Raises:
        DataError: a folder is missing or empty, or images lack partners or differ in size; all at once. An
            image that cannot be read has None for every metric, and the reason.
        UsageError: there is no such metric, or it needs ground truth and there is none.
    """
    found = find_metrics(metrics, scale=border_px)
    names = [metric.name for metric in found if metric.needs_gt]
    if gt is None and names:
        raise UsageError(f"{', '.join(names)}: compares with the ground truth; give --gt, or other --metrics")
    jobs = [ScoreJob(image, partner, found) for image, partner in _pairs(sr, gt)]
    images: dict[str, Scores] = {}
    for done, (job, scores) in enumerate(zip(jobs, score_all(jobs), strict=True), start=1):
        images[job.sr.stem] = scores
        on_progress(f"scored {job.sr.name}", done, len(jobs))
    return FolderScores(images, mean_of_set(found, list(images.values())))


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
    """Return width x height; None for an image that cannot be read, whose scores give the reason."""
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

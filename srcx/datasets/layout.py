"""Benchmark sets on disk: which picture belongs to which, in the layouts people have."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from srcx.errors import DataError
from srcx.imaging.io import list_pictures

__all__ = ["BenchmarkSet", "PicturePair", "find_sets"]

KNOWN_ORDER = ("Set5", "Set14", "BSD100", "Urban100", "Manga109")
GT_FOLDERS = ("HR", "GTmod12", "GTmod4", "GT")


@dataclass(frozen=True)
class PicturePair:
    """One ground truth, and its low-resolution picture where one is stored."""

    name: str
    gt: Path
    lq: Path | None


@dataclass(frozen=True)
class BenchmarkSet:
    """The pairs of one set at one scale."""

    name: str
    scale: int
    pairs: tuple[PicturePair, ...]
    lq_folder: Path | None
    """Where the low-resolution pictures are; None where they must be made."""


def find_sets(data: Path, names: Sequence[str] | None, *, scale: int) -> list[BenchmarkSet]:
    """Find sets in a folder of benchmark data.

    Args:
        data: Folder of sets: DATA/SET/HR/NAME.png with DATA/SET/LR_bicubic/X4/NAMEx4.png, or BasicSR's
            DATA/SET/GTmod12/NAME.png with DATA/SET/LRbicx4/NAME.png.
        names: Sets to take; None takes all there are.
        scale: Factor of the low-resolution pictures.

    Raises:
        DataError: the folder or a set is missing, empty, or lacks a low-resolution picture.
    """
    if not data.is_dir():
        raise DataError(
            f"{data}: no such folder of benchmark sets; put Set5/HR/*.png and so on there "
            "(datasets/README.md says from where) or name another with --data"
        )
    there = sorted(
        (folder.name for folder in data.iterdir() if _gt_folder(folder)),
        key=lambda name: (KNOWN_ORDER.index(name) if name in KNOWN_ORDER else len(KNOWN_ORDER), name),
    )
    missing = [name for name in names or [] if name not in there]
    if missing or not there:
        have = f"the sets there are {', '.join(there)}" if there else "there is no SET/HR folder in it"
        raise DataError(f"{data}: has no set {', '.join(missing) or 'at all'}; {have}")
    return [_read_set(data / name, scale) for name in (dict.fromkeys(names) if names else there)]


def _gt_folder(folder: Path) -> Path | None:
    return next((folder / name for name in GT_FOLDERS if (folder / name).is_dir()), None)


def _read_set(folder: Path, scale: int) -> BenchmarkSet:
    gt_folder = _gt_folder(folder)
    assert gt_folder is not None
    gts = list_pictures(gt_folder)
    if not gts:
        raise DataError(f"{gt_folder}: there are no pictures in this folder")
    lq_folder = next(
        (lq for lq in (folder / f"LR_bicubic/X{scale}", folder / f"LRbicx{scale}") if lq.is_dir()), None
    )
    if lq_folder is None:
        return BenchmarkSet(folder.name, scale, tuple(PicturePair(gt.stem, gt, None) for gt in gts), None)
    stored = {lq.stem.removesuffix(f"x{scale}"): lq for lq in list_pictures(lq_folder)}
    alone = [gt.stem for gt in gts if gt.stem not in stored]
    if alone:
        raise DataError(
            f"{lq_folder}: has no picture for {len(alone)} of {len(gts)} in {gt_folder.name} "
            f"({', '.join(alone[:5])}{', ...' if len(alone) > 5 else ''}); add them, or remove the folder "
            "to have them made"
        )
    return BenchmarkSet(
        folder.name, scale, tuple(PicturePair(gt.stem, gt, stored[gt.stem]) for gt in gts), lq_folder
    )

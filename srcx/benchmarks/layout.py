"""Find the pairs of an image set in the usual folder layouts."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from srcx.errors import DataError
from srcx.imaging.io import list_images

__all__ = [
    "BenchmarkSet",
    "ImagePair",
    "NamedFile",
    "find_sets",
    "gt_files",
    "image_folder",
    "is_set",
    "lq_files",
]

KNOWN_ORDER = ("Set5", "Set14", "BSD100", "Urban100", "Manga109")
GT_FOLDERS = ("HR", "GTmod12", "GTmod4", "GT")
NamedFile = tuple[str, Path]
"""An image's name, which ground truth and low resolution share, and its file."""


@dataclass(frozen=True)
class ImagePair:
    """One ground truth, and its low-resolution image where one is stored; at least one of the two."""

    name: str
    gt: Path | None
    lq: Path | None


@dataclass(frozen=True)
class BenchmarkSet:
    """The pairs of one set at one scale."""

    name: str
    scale: int
    pairs: tuple[ImagePair, ...]
    lq_folder: Path | None
    """Folder of the low-resolution images; None if they must be made."""


def gt_files(folder: Path, scale: int) -> tuple[Path, list[NamedFile]] | None:
    """Return the ground-truth folder of the set `folder` and its images; None if there is none."""
    for place, ending in [*((name, "") for name in GT_FOLDERS), (_both(scale), f"_SRF_{scale}_HR")]:
        if (folder / place).is_dir():
            return folder / place, _named(folder / place, ending)
    return None


def lq_files(folder: Path, scale: int) -> tuple[Path, list[NamedFile]] | None:
    """Return the folder of low-resolution images and its images; None if there is none."""
    for place in (f"LR_bicubic/X{scale}", f"LR/X{scale}", f"LRbicx{scale}"):
        if (folder / place).is_dir():
            named = _named(folder / place, "")
            return folder / place, [(name.removesuffix(f"x{scale}"), path) for name, path in named]
    both = folder / _both(scale)
    return (both, _named(both, f"_SRF_{scale}_LR")) if both.is_dir() else None


def is_set(folder: Path, scale: int) -> bool:
    """Return True if `folder` holds a folder of ground truth."""
    return any((folder / name).is_dir() for name in (*GT_FOLDERS, _both(scale)))


def find_sets(data: Path, names: Sequence[str] | None, *, scale: int) -> list[BenchmarkSet]:
    """Find sets in a folder of benchmark data.

    Args:
        data: Folder of sets: DATA/SET/HR/NAME.png with DATA/SET/LR_bicubic/X4/NAMEx4.png (or LR/X4),
            BasicSR's DATA/SET/GTmod12/NAME.png with DATA/SET/LRbicx4/NAME.png, or SelfExSR's
            DATA/SET/image_SRF_4/NAME_SRF_4_HR.png with NAME_SRF_4_LR.png.
        names: Sets to take; None takes all there are.
        scale: Factor of the low-resolution images.

    Raises:
        DataError: the folder or a set is missing, empty, or lacks a low-resolution image.
    """
    if not data.is_dir():
        raise DataError(
            f"{data}: no such folder of benchmark sets; 'srcx data fetch Set5 Set14 BSD100' fills "
            "datasets/benchmark, or name another folder with --data"
        )
    there = sorted(
        (folder.name for folder in data.iterdir() if is_set(folder, scale)),
        key=lambda name: (KNOWN_ORDER.index(name) if name in KNOWN_ORDER else len(KNOWN_ORDER), name),
    )
    missing = [name for name in names or [] if name not in there]
    if missing or not there:
        have = f"the sets there are {', '.join(there)}" if there else "there is no SET/HR folder in it"
        raise DataError(f"{data}: has no set {', '.join(missing) or 'at all'}; {have}")
    return [_read_set(data / name, scale) for name in (dict.fromkeys(names) if names else there)]


def image_folder(folder: Path, *, scale: int) -> BenchmarkSet:
    """Return the images of a folder as lq images without ground truth, under their file names.

    Raises:
        DataError: the folder is missing or has no images.
    """
    images = list_images(folder)
    if not images:
        raise DataError(f"{folder}: there are no images in this folder")
    pairs = tuple(ImagePair(image.name, None, image) for image in images)
    return BenchmarkSet(folder.resolve().name, scale, pairs, folder)


def _both(scale: int) -> str:
    """SelfExSR's folder, which holds ground truth, low resolution and its authors' results."""
    return f"image_SRF_{scale}"


def _named(folder: Path, ending: str) -> list[NamedFile]:
    named: dict[str, Path] = {}
    for path in list_images(folder):
        if not path.stem.endswith(ending):
            continue
        name = path.stem.removesuffix(ending)
        if name in named:
            raise DataError(
                f"{folder}: has both {named[name].name} and {path.name}, and results go by the name without "
                "suffix; keep one or rename one"
            )
        named[name] = path
    return list(named.items())


def _read_set(folder: Path, scale: int) -> BenchmarkSet:
    found = gt_files(folder, scale)
    assert found is not None
    gt_folder, gts = found
    if not gts:
        raise DataError(f"{gt_folder}: there are no images in this folder")
    low = lq_files(folder, scale)
    if low is None:
        return BenchmarkSet(folder.name, scale, tuple(ImagePair(name, gt, None) for name, gt in gts), None)
    lq_folder, stored = low[0], dict(low[1])
    alone = [name for name, _ in gts if name not in stored]
    if alone:
        raise DataError(
            f"{lq_folder}: has no image for {len(alone)} of {len(gts)} in {gt_folder.name} "
            f"({', '.join(alone[:5])}{', ...' if len(alone) > 5 else ''}); add them, or remove the folder "
            "to have them made"
        )
    pairs = tuple(ImagePair(name, gt, stored[name]) for name, gt in gts)
    return BenchmarkSet(folder.name, scale, pairs, lq_folder)

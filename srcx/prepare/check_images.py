"""Check images before training: near-duplicates, and damaged, blurred, upscaled, flat and unreadable ones."""

import errno
import os
import shutil
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

from srcx.atomic import atomic_path, make_folder, real_path, writing
from srcx.errors import DataError, ImageError, OutputError
from srcx.imaging.cleanliness import cleanliness
from srcx.imaging.io import list_images, read_image
from srcx.imaging.parallel import in_parallel
from srcx.imaging.perceptual_hash import Hash, nearest, perceptual_hash
from srcx.imaging.sharpness import sharpness
from srcx.prepare.recipe import refuse_inside
from srcx.progress import OnProgress

__all__ = ["KINDS", "Finding", "check_images", "move"]

KINDS = {
    "duplicate": "Resembles a larger image of the folder, or an earlier one of the same size, which is kept.",
    "benchmark": "Resembles an image of the sets of --against: figures measured there would be too good.",
    "damaged": "Has JPEG blocks or noise. A network for clean images learns to make them.",
    "blurred": "Has little fine detail: out of focus, shaken or smoothed.",
    "upscaled": "Has little fine detail, and its spectrum ends at an edge, as after an enlargement.",
    "flat": "Has hardly any detail at all.",
    "unreadable": "Training would stop at it.",
}
"""Kinds of findings, and why each matters."""


class Finding(NamedTuple):
    """One defect of one image."""

    kind: str
    """One of `KINDS`."""
    path: Path
    detail: str
    """Measured values in words."""
    like: Path | None = None
    """The image that it resembles."""


def check_images(folder: Path, against: Sequence[Path], on_progress: OnProgress) -> tuple[int, list[Finding]]:
    """Look for defects of the images in a folder and its sub-folders; nothing is changed.

    Args:
        folder: Images that are to be ground truth.
        against: Folders of benchmark sets, with their sub-folders, which no image of `folder` may resemble.
        on_progress: Called after each image.

    Returns:
        Number of images, and the findings in the order of `KINDS` and of names.

    Raises:
        DataError: a folder is missing or has no images.
    """
    images = _images(folder)
    own = {real_path(path) for path in images}
    others = [path for other in against for path in _images(other) if real_path(path) not in own]
    hashes: dict[Path, Hash] = {}
    pixels: dict[Path, int] = {}
    found: list[Finding] = []
    every = [*images, *others]
    for done, (path, (hashed, pixels[path], defects)) in enumerate(
        zip(every, in_parallel(_look_at, every), strict=True), 1
    ):
        if hashed is not None:
            hashes[path] = hashed
        if done <= len(images):
            found += defects
        on_progress(path.name, done, len(every))
    # The largest of near-duplicates is kept: it comes first.
    by_size = sorted((path for path in images if path in hashes), key=lambda path: -pixels[path])
    found += _near("duplicate", by_size, by_size, nearest([hashes[path] for path in by_size]))
    known = [path for path in others if path in hashes]
    near_known = nearest([hashes[path] for path in by_size], [hashes[path] for path in known])
    found += _near("benchmark", by_size, known, near_known)
    order, kinds = {path: place for place, path in enumerate(images)}, list(KINDS)
    return len(images), sorted(found, key=lambda one: (kinds.index(one.kind), order[one.path]))


def move(found: Sequence[Finding], folder: Path, target: Path, kinds: Collection[str]) -> int:
    """Move the images with a finding of these kinds from `folder` to the same places in `target`.

    Returns:
        Number of images moved.

    Raises:
        OutputError: `target` lies in `folder`, or a file of that name exists there, or an image cannot be
            moved; nothing is overwritten.
    """
    refuse_inside(folder, target)
    wanted = dict.fromkeys(one.path for one in found if one.kind in kinds)
    places = {path: target / path.relative_to(folder) for path in wanted}
    for place in places.values():
        if os.path.lexists(place):
            raise OutputError(f"{place}: exists; no image was moved: name another folder with --move-to")
    for source in dict.fromkeys(path.parent for path in wanted):
        if not os.access(source, os.W_OK):
            raise OutputError(
                f"{source}: nothing can be moved out of this folder: permission denied; no image was moved: "
                "change its permission"
            )
    for path, place in places.items():
        make_folder(place.parent)
        with writing(place):
            if path.is_symlink():  # its target may be relative to its folder
                place.symlink_to(real_path(path))
                path.unlink()
            else:
                _move_file(path, place)
    return len(places)


def _move_file(path: Path, place: Path) -> None:
    """Move a file whole or not at all, to another disk too."""
    try:
        path.rename(place)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        with atomic_path(place) as temporary:
            shutil.copy2(path, temporary)
        path.unlink()


def _images(folder: Path) -> list[Path]:
    images = list_images(folder, recursive=True)
    if not images:
        raise DataError(f"{folder}: there are no images in this folder")
    return images


def _look_at(path: Path) -> tuple[Hash | None, int, list[Finding]]:
    """Return the hash of an image, None if it cannot be read, its pixels, and its own defects."""
    try:
        image = read_image(path)
    except ImageError as error:
        return None, 0, [Finding("unreadable", path, str(error))]
    found = []
    if not (clean := cleanliness(image)).is_clean:
        found.append(Finding("damaged", path, ", ".join(clean.damage)))
    sharp = sharpness(image)
    if sharp.defect == "flat":
        found.append(Finding("flat", path, f"{1 - sharp.busy:.0%} of its blocks have no detail"))
    elif sharp.defect:
        detail = f"fine detail has {sharp.fine:.2%} of the power of coarse detail"
        found.append(Finding(sharp.defect, path, detail))
    return perceptual_hash(image), image.shape[0] * image.shape[1], found


def _near(
    kind: str,
    images: Sequence[Path],
    others: Sequence[Path],
    nearest_ones: Sequence[tuple[int, float] | None],
) -> list[Finding]:
    return [
        Finding(kind, path, f"{others[near[0]]}, distance {near[1]:.2f}", others[near[0]])
        for path, near in zip(images, nearest_ones, strict=True)
        if near
    ]

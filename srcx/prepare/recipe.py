"""Record of the sources and settings of a prepared folder, to resume it and to protect other folders."""

import json
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from srcx.atomic import atomic_path, real_path
from srcx.benchmarks.verdict import listed
from srcx.errors import DataError, OutputError
from srcx.imaging.io import list_images
from srcx.lock import hold_folder

__all__ = [
    "Recipe",
    "claim",
    "fits",
    "forget",
    "recipe",
    "refuse_inside",
    "shared_name",
    "sources",
    "write_record",
]

RECORD = ".srcx-prepared.json"


class Recipe(NamedTuple):
    """Settings, and the source images: size and modification time by name."""

    settings: dict[str, str | int]
    images: dict[str, str]


def shared_name(path: Path) -> str:
    """Return an image's name without suffix and scale, which both sides of a pair share.

    A name that is a scale alone stays: nothing would be left of it.

    Example:
        >>> shared_name(Path("0801x4.png")), shared_name(Path("x4.png"))
        ('0801', 'x4')
    """
    return re.sub(r"(?<!^)x[2348]\Z", "", path.stem)


def sources(folder: Path, name_of: Callable[[Path], str]) -> list[Path]:
    """Return the images to prepare.

    Raises:
        DataError: there are none, or two would get one name.
    """
    images = list_images(folder)
    if not images:
        raise DataError(f"{folder}: there are no images in this folder; check the path")
    seen: dict[str, Path] = {}
    for image in images:
        first = seen.setdefault(name_of(image), image)
        if first != image:
            raise DataError(
                f"{folder}: {first.name} and {image.name} would get the same name; rename one of them"
            )
    return images


def refuse_inside(source: Path, out: Path) -> None:
    """Raise OutputError if `out` is or lies in the folder `source`: the results would be read as sources."""
    place = real_path(out)
    if real_path(source) in (place, *place.parents):
        raise OutputError(f"{out}: lies in {source}, whose images are read; name a folder outside it")


def recipe(images: Sequence[Path], **settings: str | int) -> Recipe:
    """Return the recipe for these images and settings; a link without a file fails when it is read."""
    states = {path.name: path.stat() if path.exists() else path.lstat() for path in images}
    return Recipe(settings, {name: f"{state.st_size} {state.st_mtime_ns}" for name, state in states.items()})


@contextmanager
def claim(*claims: tuple[Path, Recipe], whole: bool = False) -> Iterator[None]:
    """Create each folder for its recipe, or resume one that was begun with the same settings.

    While the block runs, no other process can claim the folders.

    Args:
        claims: Folders and their recipes.
        whole: Refuse a folder that was begun with other images, too: it is not to be added to.

    Raises:
        OutputError: one holds something else, in which case none is changed; or another process writes to
            one, or one cannot be written.
    """
    _merged(claims, whole=whole)  # before a folder is made
    with ExitStack() as held:
        for folder, _ in claims:
            held.enter_context(hold_folder(folder))
        # Another process may have been at work between the first look and the lock.
        for folder, one in _merged(claims, whole=whole):
            write_record(folder, one)
        yield


def _merged(claims: Sequence[tuple[Path, Recipe]], *, whole: bool) -> list[tuple[Path, Recipe]]:
    """Return the folders with the recipes that their records will have."""
    merged = []
    for folder, wanted in claims:
        before = _before(folder, wanted)
        if whole and before and before != wanted.images:
            raise OutputError(
                f"{folder}: was prepared from other images; name another folder, or remove it first"
            )
        merged.append((folder, wanted._replace(images=before | wanted.images)))
    return merged


def _before(folder: Path, wanted: Recipe) -> dict[str, str]:
    """Return the images recorded in a folder that can take this recipe."""
    found = _read(folder)
    if found is None and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputError(f"{folder}: holds files that srcx did not prepare; name another folder")
    before = found.images if found else {}
    if found and found.settings != wanted.settings:
        raise OutputError(
            f"{folder}: was prepared with {_words(found)}; expected {_words(wanted)}; "
            "name another folder, or remove it first"
        )
    changed = [name for name, state in wanted.images.items() if before.get(name, state) != state]
    if changed:
        raise OutputError(
            f"{folder}: was prepared from other images with the names {listed(changed)}; "
            "name another folder, or remove it first"
        )
    return before


def forget(folder: Path, names: Collection[str]) -> None:
    """Remove failed images from the record, so that the next run tries a repaired one again."""
    found = _read(folder)
    assert found is not None
    write_record(
        folder, found._replace(images={name: s for name, s in found.images.items() if name not in names})
    )


def fits(folder: Path, wanted: Recipe) -> bool:
    """Return True if `folder` was made, or begun, by exactly this recipe."""
    return _read(folder) == wanted


def _read(folder: Path) -> Recipe | None:
    try:
        content = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        return Recipe(dict(content["settings"]), dict(content["images"]))
    except (OSError, ValueError, TypeError, LookupError, RecursionError):
        return None


def write_record(folder: Path, one: Recipe) -> None:
    """Record the recipe of a folder, which is there."""
    with atomic_path(folder / RECORD) as temporary:
        temporary.write_text(json.dumps(one._asdict(), indent=1), encoding="utf-8")


def _words(one: Recipe) -> str:
    return ", ".join(f"{name} {value}" for name, value in one.settings.items())

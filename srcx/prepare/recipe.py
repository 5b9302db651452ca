"""What a folder of prepared images was made of: so that work goes on, and nothing else is touched."""

import json
import re
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import NamedTuple

from srcx.atomic import atomic_path, make_folder
from srcx.benchmarks.verdict import listed
from srcx.errors import DataError, OutputError
from srcx.imaging.io import list_images

__all__ = ["Recipe", "claim", "fits", "forget", "recipe", "shared_name", "sources"]

RECORD = ".srcx-prepared.json"


class Recipe(NamedTuple):
    """What is made, how, and of which images: their size and time of change by name."""

    settings: dict[str, str | int]
    images: dict[str, str]


def shared_name(path: Path) -> str:
    """An image's name without suffix and scale: that of both sides of a pair.

    Example:
        >>> shared_name(Path("0801x4.png"))
        '0801'
    """
    return re.sub(r"x[2348]$", "", path.stem)


def sources(folder: Path, name_of: Callable[[Path], str]) -> list[Path]:
    """The images to prepare.

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
            raise DataError(f"{folder}: {first.name} and {image.name} would become one; rename one of them")
    return images


def recipe(images: Sequence[Path], **settings: str | int) -> Recipe:
    """The recipe of what is made of these images."""
    states = {path.name: path.stat() for path in images}
    return Recipe(settings, {name: f"{state.st_size} {state.st_mtime_ns}" for name, state in states.items()})


def claim(folder: Path, wanted: Recipe) -> None:
    """Make `folder` for this recipe, or go on in one that was begun by the same settings.

    Raises:
        OutputError: it holds something else, or cannot be written.
    """
    found = _read(folder)
    if found is None and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputError(f"{folder}: holds something that srcx did not prepare; name another place")
    before = found.images if found else {}
    if found and found.settings != wanted.settings:
        raise OutputError(
            f"{folder}: was prepared by {_words(found)}, and {_words(wanted)} is asked for; "
            "name another place, or remove it first"
        )
    changed = [name for name, state in wanted.images.items() if before.get(name, state) != state]
    if changed:
        raise OutputError(
            f"{folder}: was prepared of other images of the names {listed(changed)}; "
            "name another place, or remove it first"
        )
    make_folder(folder)
    _write(folder, Recipe(wanted.settings, before | wanted.images))


def forget(folder: Path, names: Collection[str]) -> None:
    """Take images that could not be prepared off the record, so that a mended one is taken next time."""
    found = _read(folder)
    assert found is not None
    _write(folder, found._replace(images={name: s for name, s in found.images.items() if name not in names}))


def fits(folder: Path, wanted: Recipe) -> bool:
    """Whether `folder` was made, or begun, by this recipe of these very images."""
    return _read(folder) == wanted


def _read(folder: Path) -> Recipe | None:
    try:
        content = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        return Recipe(dict(content["settings"]), dict(content["images"]))
    except (OSError, ValueError, TypeError, LookupError, RecursionError):
        return None


def _write(folder: Path, one: Recipe) -> None:
    with atomic_path(folder / RECORD) as temporary:
        temporary.write_text(json.dumps(one._asdict(), indent=1), encoding="utf-8")


def _words(one: Recipe) -> str:
    return ", ".join(f"{name} {value}" for name, value in one.settings.items())

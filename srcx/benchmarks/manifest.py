"""Manifests of the known sets, file by file, from `manifests/*.json` in the package."""

import hashlib
import json
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from srcx.errors import UsageError
from srcx.imaging.decode import ImageArray
from srcx.nearest import did_you_mean

__all__ = [
    "Archive",
    "KnownFile",
    "KnownImage",
    "KnownSet",
    "known_set",
    "known_sets",
    "pixel_sha256",
    "without_copies",
]

ORDER = ("Set5", "Set14", "BSD100", "Urban100", "DIV2K")
DATASETS = Path("datasets")


@dataclass(frozen=True)
class KnownFile:
    """A published image file; None stands for what is not published.

    Args:
        file: Its name at the source.
        bytes: Its size.
        sha256: Of the file.
        width: Of the image, in pixels.
        height: Of the image, in pixels.
        channels: 1 for grey, 3 for RGB.
        pixels: `pixel_sha256` of the image.
        pixels_mod12: The same, of the image cut to multiples of 12.
    """

    file: str
    bytes: int | None = None
    sha256: str | None = None
    width: int | None = None
    height: int | None = None
    channels: int | None = None
    pixels: str | None = None
    pixels_mod12: str | None = None


@dataclass(frozen=True)
class KnownImage:
    """A ground-truth image and its published x4 low-resolution image."""

    name: str
    hr: KnownFile
    lr: KnownFile


@dataclass(frozen=True)
class Archive:
    """A zip of the images NUMBER + `ending` + ".png" from `first` to `last`, which belong in `folder`."""

    file: str
    bytes: int
    sha256: str
    folder: str
    first: int
    last: int
    ending: str

    @property
    def image_names(self) -> list[str]:
        """The names of its images."""
        return [f"{number:04d}{self.ending}.png" for number in range(self.first, self.last + 1)]


@dataclass(frozen=True)
class KnownSet:
    """A published set; `images` or `archives` are files at `url`."""

    name: str
    folder: str
    about: str
    licence: str
    url: str
    images: tuple[KnownImage, ...] = ()
    archives: tuple[Archive, ...] = ()

    @property
    def count(self) -> int:
        """Number of ground-truth images."""
        whole = [one for one in self.archives if not one.ending]
        return len(self.images) or sum(len(one.image_names) for one in whole)

    def place(self, data: Path | None) -> Path:
        """Return its folder: in the folder of sets `data`, else under `datasets`."""
        return data / self.name if data else DATASETS / self.folder


@cache
def known_sets() -> dict[str, KnownSet]:
    """Return all known sets by name, in the order of the published tables."""
    folder = resources.files("srcx.benchmarks") / "manifests"
    return {name: _read(json.loads((folder / f"{name}.json").read_text("utf-8"))) for name in ORDER}


def known_set(name: str) -> KnownSet:
    """Return the set of this name, in upper or lower case.

    Raises:
        UsageError: no such set is known.
    """
    by_name = {one.lower(): known for one, known in known_sets().items()}
    if name.lower() not in by_name:
        raise UsageError(f"{name}: srcx knows no such set; {did_you_mean(name, ORDER)}")
    return by_name[name.lower()]


def pixel_sha256(image: ImageArray) -> str:
    """Return the SHA-256 of shape and pixels; grey images saved as grey or as RGB have the same digest.

    Example:
        >>> grey = np.array([[0, 255]], np.uint8)
        >>> pixel_sha256(grey) == pixel_sha256(np.stack([grey] * 3, axis=2))
        True
    """
    pixels = np.ascontiguousarray(without_copies(image))
    return hashlib.sha256(f"{pixels.shape} {pixels.dtype.name}\n".encode() + pixels.tobytes()).hexdigest()


def without_copies(image: ImageArray) -> ImageArray:
    """Return the image as (H, W) if its three channels are equal, otherwise unchanged."""
    if image.ndim == 3 and image.shape[2] == 3 and (image == image[..., :1]).all():
        return image[..., 0]
    return image


def _read(entry: dict[str, Any]) -> KnownSet:
    images = [
        KnownImage(one["name"], KnownFile(**one["hr"]), KnownFile(**one["lr"]))
        for one in entry.pop("images", [])
    ]
    archives = [Archive(**one) for one in entry.pop("archives", [])]
    return KnownSet(**entry, images=tuple(images), archives=tuple(archives))

"""Stored images of a data set: files in a folder, records of BasicSR's LMDB folders, members of shards."""

import io
import math
import os.path
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import BinaryIO, Literal, Protocol

import lmdb
import numpy as np
from numpy.typing import NDArray

from srcx.data.shards import Member, Side, find_members, open_member
from srcx.errors import DataError, ImageError
from srcx.imaging.color import to_rgb
from srcx.imaging.decode import decode_image, read_header
from srcx.imaging.io import image_size, list_images, read_image
from srcx.imaging.resize import imresize

__all__ = [
    "IoBackend",
    "Shrunk",
    "Stored",
    "StoredFile",
    "StoredMember",
    "StoredRecord",
    "lines_in",
    "list_stored",
]

IoBackend = Literal["disk", "lmdb", "webdataset", "remote"]
"""Image files, an LMDB folder, or shards: on a disk alone, or also at addresses."""
META_INFO = "meta_info.txt"
SIZE_OF_IMAGE = re.compile(r"\s+\(\d+,\s*\d+(,\s*\d+)?\)")
LONGEST_KEY_BYTES = 511
"""LMDB's limit."""


class Stored(Protocol):
    """An image that can be read."""

    @property
    def name(self) -> str:
        """Its name without suffix: what pairs are made by and results are called."""

    def size(self) -> tuple[int, int]:
        """Height and width, without decoding it; ImageError if it is no whole image."""

    def read(self) -> NDArray[np.uint8]:
        """The pixels as 8-bit RGB, (H, W, 3); ImageError if it cannot be read."""


@dataclass(frozen=True)
class StoredFile:
    """An image file."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    @property
    def name(self) -> str:
        return self.path.stem

    def size(self) -> tuple[int, int]:
        return image_size(self.path)

    def read(self) -> NDArray[np.uint8]:
        return to_rgb(read_image(self.path))


@dataclass(frozen=True)
class Shrunk:
    """A stored image, shrunk by MATLAB's bicubic when it is read."""

    image: Stored
    factor: float
    whole: tuple[int, int]
    """Height and width of `image`."""

    def __str__(self) -> str:
        return f"{self.image} at {self.factor:g}"

    @property
    def name(self) -> str:
        return self.image.name

    def size(self) -> tuple[int, int]:
        height, width = self.whole
        return math.ceil(self.factor * height), math.ceil(self.factor * width)  # as `imresize` rounds

    def read(self) -> NDArray[np.uint8]:
        return imresize(self.image.read(), scale=self.factor)


@dataclass(frozen=True)
class StoredRecord:
    """An image file inside an LMDB folder."""

    folder: Path
    name: str

    def __str__(self) -> str:
        return f"{self.folder}/{self.name}"

    def size(self) -> tuple[int, int]:
        header = read_header(io.BytesIO(self._bytes()), str(self))
        if not header.looks_whole:
            self.read()
        return header.height, header.width

    def read(self) -> NDArray[np.uint8]:
        return to_rgb(decode_image(self._bytes(), str(self)))

    def _bytes(self) -> bytes:
        try:
            with _environment(self.folder).begin() as transaction:
                data = transaction.get(self.name.encode())
        except lmdb.Error as error:
            raise ImageError(f"{self}: the LMDB is damaged ({error}); copy or make it anew") from error
        if data is None:
            raise ImageError(
                f"{self}: {META_INFO} names this image, but the LMDB has no such key; make it anew"
            )
        return bytes(data)


@dataclass(frozen=True)
class StoredMember:
    """An image file inside a shard."""

    member: Member

    def __str__(self) -> str:
        return f"{self.member.shard}/{self.member.key}"

    @property
    def name(self) -> str:
        return self.member.key

    def size(self) -> tuple[int, int]:
        if self.member.pixels:
            return self.member.pixels
        with self._opened() as file:
            header = read_header(file, str(self))
        if not header.looks_whole:
            self.read()
        return header.height, header.width

    def read(self) -> NDArray[np.uint8]:
        with self._opened() as file:
            return to_rgb(decode_image(file.read(), str(self)))

    @contextmanager
    def _opened(self) -> Iterator[BinaryIO]:
        try:
            with open_member(self.member) as file:
                yield file
        except OSError as error:
            raise ImageError(f"{self}: cannot be read: {error.strerror}") from error


def list_stored(
    root: Path | str,
    *,
    io_backend: IoBackend = "disk",
    side: Side = "gt",
    meta_info_file: Path | str | None = None,
    recursive: bool = False,
) -> list[Stored]:
    """Return the images of a data root.

    Args:
        root: A folder; for LMDB one whose name ends in `.lmdb`; for shards their folder or pattern.
        io_backend: How the images are stored.
        side: Which images of a shard that holds both of a pair.
        meta_info_file: A text file with one file name a line, relative to `root`; for shards none.
        recursive: Look into sub-folders too; for "disk" without `meta_info_file`.

    Returns:
        Files in natural order or that of `meta_info_file`, LMDB records sorted, shards as they are.

    Raises:
        DataError: the folder or file is missing, empty, or not what it should be.
    """
    stored: list[Stored]
    if io_backend in ("webdataset", "remote"):
        return _members(root, side, meta_info_file, remote=io_backend == "remote")
    root = Path(root)
    if io_backend == "lmdb":
        stored = list(_records(root))
    elif meta_info_file is not None:
        stored = [StoredFile(root / name) for name in names_in(Path(meta_info_file), root)]
    else:
        stored = [StoredFile(path) for path in list_images(root, recursive=recursive)]
    if not stored:
        where = "this list" if meta_info_file else "this folder or below" if recursive else "this folder"
        raise DataError(f"{meta_info_file or root}: there are no images in {where}; check the path")
    return stored


def names_in(meta_info_file: Path, root: Path) -> list[str]:
    """Return the file name of each line that is not blank; raises as `lines_in`.

    It is the whole line where that is a file in `root`, else what stands before the last ` (H,W,C)`, else the
    first word.
    """
    names = []
    for _, line in lines_in(meta_info_file):
        words = line.strip()
        # Not Path.is_file, which raises an error for a name that is too long.
        files = [name for name in dict.fromkeys([line, words]) if os.path.isfile(root / name)]  # noqa: PTH113
        sizes = [*SIZE_OF_IMAGE.finditer(words)]
        names.append((files or [words[: sizes[-1].start()] if sizes else words.split()[0]])[0])
    return names


def lines_in(meta_info_file: Path) -> list[tuple[int, str]]:
    """Return the lines that are not blank, each with its number.

    Raises:
        DataError: the file cannot be read.
    """
    try:
        text = meta_info_file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise DataError(
            f"{meta_info_file}: this list of images cannot be read: {reason}; check the path"
        ) from error
    return [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]


def _members(
    root: Path | str, side: Side, meta_info_file: Path | str | None, *, remote: bool
) -> list[Stored]:
    if meta_info_file is not None:
        raise DataError(f"{meta_info_file}: names files of a folder, and shards are read whole; remove it")
    stored: list[Stored] = [StoredMember(member) for member in find_members(root, side, remote=remote)]
    if not stored:
        raise DataError(f"{root}: these shards hold no images called KEY.png or KEY.{side}.png (jpg, ...)")
    return stored


def _records(root: Path) -> list[StoredRecord]:
    if root.suffix != ".lmdb":
        raise DataError(f"{root}: with io_backend lmdb a data root is a folder whose name ends in .lmdb")
    if not root.is_dir():
        raise DataError(f"{root}: this LMDB folder does not exist; check the path")
    keys = [name.split(".")[0] for name in names_in(root / META_INFO, root)]  # as BasicSR makes keys of names
    bad = [key for key in keys if not key or key.startswith("/") or len(key.encode()) > LONGEST_KEY_BYTES]
    if bad:
        raise DataError(
            f"{root / META_INFO}: expected keys of 1 to {LONGEST_KEY_BYTES} bytes that begin with no dot or "
            f"slash; got {bad[0]!r}: make the LMDB anew"
        )
    _environment(root)
    return [StoredRecord(root, key) for key in sorted(keys)]


@cache
def _environment(folder: Path) -> lmdb.Environment:
    """Open for as long as the process lives: LMDB wants each folder to be opened once."""
    try:
        environment = lmdb.open(str(folder), readonly=True, lock=False, readahead=False, meminit=False)
    except lmdb.Error as error:
        raise DataError(f"{folder}: this LMDB folder cannot be opened: {error}; make it anew") from error
    # Reading beyond the end of a mapped file would kill the process.
    needed = (environment.info()["last_pgno"] + 1) * environment.stat()["psize"]
    size = (folder / "data.mdb").stat().st_size
    if size < needed:
        environment.close()
        raise DataError(f"{folder}/data.mdb: is cut off: has {size} of {needed} bytes; copy or make it anew")
    return environment

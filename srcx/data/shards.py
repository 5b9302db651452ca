"""Images in shards: tar archives after WebDataset's conventions, read in place and in any order.

The library `webdataset` reads shards as streams: it shuffles within a buffer, cannot go to a place, has
decoders that unpickle, and runs `pipe:` addresses as commands. So srcx follows its conventions
without its reader: Python's tarfile finds the members once, and images are then read like files of a
folder; order, shuffling, workers and exact resume are those of every other data set.
"""

import io
import re
import tarfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path, PureWindowsPath
from typing import Literal, NamedTuple, get_args

from srcx.data.remote import RemoteShard, check_address, is_address
from srcx.errors import DataError, ImageError
from srcx.imaging.decode import read_header
from srcx.imaging.io import IMAGE_SUFFIXES
from srcx.imaging.parallel import in_parallel

__all__ = ["Member", "Side", "find_members", "open_member"]

Side = Literal["gt", "lq"]
"""Image of a sample: KEY.gt.png or KEY.lq.png, else its only image, KEY.png."""
SIDES: tuple[Side, ...] = get_args(Side)
AT_ONCE = 8
"""Shards that are looked into at once: those at addresses are fetched."""

MAX_IMAGE_BYTES = 256 << 20
MAX_HEADER_BYTES = 64 << 10
MAX_SHARDS = 1_000_000
# What tarfile raises on damaged archives, from several places.
DAMAGE = (tarfile.TarError, ValueError, OverflowError, RecursionError)


class Member(NamedTuple):
    """An image of a shard, and where its bytes are."""

    shard: Path | RemoteShard
    key: str
    start: int
    size: int
    pixels: tuple[int, int] | None = None
    """Height and width, where the index of a remote shard has them."""


def find_members(root: Path | str, side: Side, *, remote: bool = False) -> list[Member]:
    """Return the images of one side in the shards of a data root; only headers are read.

    A member's key is its path up to the first dot of its name, and what follows says what it is: png, or
    gt.png. Other members, such as json, cls or seg.png, are not looked at.

    Args:
        root: A folder, whose .tar files are taken; one .tar file; or several, as in train-{0000..0146}.tar.
        side: Which images.
        remote: Whether the shards may be at addresses, as in s3://bucket/train-{0000..0146}.tar; see
            remote.py.

    Returns:
        By shard, those of a folder by name, and in their order in each.

    Raises:
        DataError: the root is an address; a shard is missing, damaged or cut off; or it holds a path that
            leads out of it, a link, a device or an image of an absurd size, and is refused whole; or two
            images have one key.
    """
    members: dict[str, Member] = {}
    shards = _shards(root, remote=remote)
    found = in_parallel(partial(_images, side=side), shards, workers=AT_ONCE)
    for shard, of_shard in zip(shards, found, strict=True):
        for member in of_shard:
            first = members.setdefault(member.key, member)
            if first is not member:
                raise DataError(
                    f"{shard}: holds a second {side} image of the key {member.key!r}, and the first is in "
                    f"{first.shard}; a key is for one sample"
                )
    return list(members.values())


def open_member(member: Member) -> io.BufferedReader:
    """Return the image's bytes as a file."""
    if isinstance(member.shard, RemoteShard):
        return io.BufferedReader(io.BytesIO(member.shard.read(member.start, member.size)))
    return io.BufferedReader(_Part(member))


def _shards(root: Path | str, *, remote: bool) -> list[Path] | list[RemoteShard]:
    if is_address(root):
        if not remote:
            raise DataError(
                f"{root}: is an address; nothing is fetched, and no command of 'pipe:' is run: put the "
                "shards into a folder first, or write io_backend: {type: webdataset, remote: true}"
            )
        check_address(str(root))
        return [RemoteShard(address) for address in _expanded(str(root))]
    if Path(root).is_dir():
        shards = sorted(path for path in Path(root).glob("*.tar") if not path.name.startswith("."))
        if not shards:
            raise DataError(f"{root}: there are no shards (.tar) in this folder; check the path")
        return shards
    shards = [Path(path) for path in _expanded(str(root))]
    missing = [shard for shard in shards if not shard.is_file()]
    if missing:
        raise DataError(f"{missing[0]}: this shard does not exist; check the path")
    return shards


def _expanded(pattern: str) -> list[str]:
    """The paths that a pattern stands for.

    Example:
        >>> _expanded("a-{08..10}.tar")
        ['a-08.tar', 'a-09.tar', 'a-10.tar']
    """
    found = re.search(r"\{(\d+)\.\.(\d+)\}", pattern)
    if found is None:
        return [pattern]
    first, last = found.groups()
    if not 0 <= int(last) - int(first) < MAX_SHARDS:
        raise DataError(f"{pattern}: expected 1 to {MAX_SHARDS} shards, from the lower to the higher number")
    before, after = pattern[: found.start()], pattern[found.end() :]
    return [
        f"{before}{number:0{len(first)}}{rest}"
        for number in range(int(first), int(last) + 1)
        for rest in _expanded(after)
    ]


def _images(shard: Path | RemoteShard, side: Side) -> list[Member]:
    """Return the images of a shard; those of a remote one by its index, which has both sides."""
    if isinstance(shard, Path):
        return list(_members(shard, side))

    def make(copy: Path) -> dict[Side, list[tuple[str, int, int, tuple[int, int] | None]]]:
        try:
            return {one: [(*member[1:4], _pixels(member)) for member in _members(copy, one)] for one in SIDES}
        except DataError as error:
            raise DataError(str(error).replace(str(copy), str(shard))) from error

    return [
        Member(shard, key, start, size, (pixels[0], pixels[1]) if pixels else None)
        for key, start, size, pixels in shard.index(make)[side]
    ]


def _pixels(member: Member) -> tuple[int, int] | None:
    """Return height and width of an image; None for a damaged one, which is said when it is read."""
    try:
        with open_member(member) as file:
            header = read_header(file, member.key)
    except ImageError:
        return None
    return (header.height, header.width) if header.looks_whole else None


def _members(shard: Path, side: Side) -> Iterator[Member]:
    kinds = {f"{start}{suffix[1:]}" for start in ("", f"{side}.") for suffix in IMAGE_SUFFIXES}
    try:
        with _Headers(shard) as file, tarfile.open(fileobj=file, mode="r:") as archive:
            end, length = 0, shard.stat().st_size
            for entry in archive:
                key, kind = _parts(entry.name)
                is_image = not entry.isdir() and kind in kinds
                _check(shard, entry, is_image=is_image)
                end = entry.offset_data + -(-entry.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
                if end + tarfile.BLOCKSIZE > length:
                    raise tarfile.ReadError("its end is not there")
                if is_image:
                    yield Member(shard, key, entry.offset_data, entry.size)
            _check_end(file, end)
    except DAMAGE as error:
        raise DataError(f"{shard}: is no whole tar archive ({error}); get a whole copy of it") from error
    except OSError as error:
        raise DataError(f"{shard}: this shard cannot be read: {error.strerror}") from error


def _parts(name: str) -> tuple[str, str]:
    """Key and kind, as webdataset splits a member's name.

    Example:
        >>> _parts("./train/0001.GT.png")
        ('train/0001', 'gt.png')
    """
    found = re.fullmatch(r"(?:\./)?((?:.*/)?[^./]+)\.([^/]*)", name)
    return (found[1], found[2].lower()) if found else (name, "")


def _check(shard: Path, entry: tarfile.TarInfo, *, is_image: bool) -> None:
    name = PureWindowsPath(entry.name)  # it knows / and \\ and C:
    if name.anchor or ".." in name.parts:
        raise DataError(f"{shard}: holds the path {entry.name!r}, which leads out of it; it is refused")
    if not (entry.isreg() or entry.isdir()) or entry.issparse():
        raise DataError(
            f"{shard}: holds {entry.name!r}, which is a link, a device or a sparse file; it is refused"
        )
    if entry.size < 0 or (is_image and entry.size > MAX_IMAGE_BYTES):
        raise DataError(f"{shard}: {entry.name!r} says it is of {entry.size} bytes; it is refused")


def _check_end(file: io.FileIO, end: int) -> None:
    """See that the last member is followed by zeros alone, which tarfile does not ask for.

    Raises:
        tarfile.ReadError: there is something else.
    """
    file.seek(end)
    while block := file.read(MAX_HEADER_BYTES):
        if block.strip(b"\0"):
            raise tarfile.ReadError(f"there is something else behind byte {end}, where its last member ends")


class _Part(io.RawIOBase):
    """A part of a file, as a file."""

    def __init__(self, member: Member) -> None:
        assert isinstance(member.shard, Path)
        self.file, self.start, self.size = member.shard.open("rb"), member.start, member.size
        self.place = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self.place = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self.place, io.SEEK_END: self.size}[whence]
        return self.place

    def tell(self) -> int:
        return self.place

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        self.file.seek(self.start + self.place)
        count = self.file.readinto(memoryview(buffer)[: max(self.size - self.place, 0)])
        self.place += count
        return count

    def close(self) -> None:
        self.file.close()
        super().close()


class _Headers(io.FileIO):
    """A shard as tarfile reads it: headers alone, which are small; it would take any size at its word."""

    def read(self, size: int | None = -1) -> bytes:
        if size is None or not 0 <= size <= MAX_HEADER_BYTES:
            raise tarfile.ReadError(f"a header says it is of {size} bytes")
        return super().read(size)

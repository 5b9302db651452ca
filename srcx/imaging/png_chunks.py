"""Chunks of a PNG file beside its pixels: those about colours, and those too large for Pillow."""

import io
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from typing import BinaryIO, NamedTuple

__all__ = ["SIGNATURE", "Chunks", "ColourChunks", "read_chunks", "shows_as_srgb", "without_large_chunks"]

SIGNATURE = b"\x89PNG\r\n\x1a\n"
ColourChunks = tuple[tuple[bytes, bytes], ...]
"""Names and data."""

COLOUR_LENGTHS = {b"cICP": 4, b"sRGB": 1, b"gAMA": 4, b"cHRM": 32, b"mDCV": 24, b"cLLI": 8}
TEXTS = (b"tEXt", b"zTXt", b"iTXt")
LARGE_BYTES = 1 << 20
"""Pillow calls a file damaged where a profile or a text unpacks to more."""
LARGEST_PROFILE_BYTES = 1 << 24

SRGB_CICP = bytes([1, 13, 0, 1])
SRGB_GAMMA = 45455
SRGB_CHROMATICITIES = (31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)
CLOSE = 0.02
"""Relative difference up to which gamma and chromaticities are sRGB's."""


class Chunks(NamedTuple):
    """Metadata of a PNG file that Pillow does not return."""

    data: bytes
    """The file without the chunks that Pillow refuses."""
    icc: bytes
    """The colour profile, where it is one of those chunks."""
    colours: ColourChunks


def read_chunks(data: bytes) -> Chunks:
    """Return the colour chunks of a PNG file, and the file without the chunks that Pillow refuses.

    Args:
        data: The whole file.
    """
    icc, colours, large = b"", [], []
    text_bytes = 0
    for name, start, end in _chunks(io.BytesIO(data)):
        content = data[start + 8 : end - 4]
        if len(content) == COLOUR_LENGTHS.get(name):
            colours.append((name, content))
        elif name in TEXTS:
            text_bytes += min(_unpacked_bytes(name, content), LARGE_BYTES + 1)
            if text_bytes > LARGE_BYTES:
                large.append((start, end))
        elif name == b"iCCP" and _unpacked_bytes(name, content) > LARGE_BYTES:
            large.append((start, end))
            profile = _unpacked(_packed(name, content), LARGEST_PROFILE_BYTES + 1)
            icc = profile if len(profile) <= LARGEST_PROFILE_BYTES else b""
    for start, end in reversed(large):
        data = data[:start] + data[end:]
    return Chunks(data, icc, tuple(colours))


def without_large_chunks(file: BinaryIO) -> BinaryIO:
    """Return the PNG file, or a copy of it without the chunks before its pixels that Pillow refuses.

    The usual file is not read beyond its head.
    """
    may_be_large = False
    for name, _, _ in _chunks(file):
        if name == b"IDAT":
            break
        may_be_large |= name in (*TEXTS, b"iCCP")
    file.seek(0)
    return io.BytesIO(read_chunks(file.read()).data) if may_be_large else file


def shows_as_srgb(colours: ColourChunks) -> bool:
    """Return True if a program that ignores the colour chunks shows the same colours as one that obeys them.

    Example:
        >>> shows_as_srgb(((b"gAMA", struct.pack(">I", 45455)),))
        True
        >>> shows_as_srgb(((b"gAMA", struct.pack(">I", 100000)),))
        False
    """
    found = dict(colours)
    if b"cICP" in found:
        return found[b"cICP"] == SRGB_CICP
    if b"sRGB" in found:
        return True
    gamma = struct.unpack(">I", found.get(b"gAMA", struct.pack(">I", SRGB_GAMMA)))
    chromaticities = struct.unpack(">8I", found.get(b"cHRM", struct.pack(">8I", *SRGB_CHROMATICITIES)))
    pairs = zip(gamma + chromaticities, (SRGB_GAMMA, *SRGB_CHROMATICITIES), strict=True)
    return all(abs(value - of_srgb) <= CLOSE * of_srgb for value, of_srgb in pairs)


def _chunks(file: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """Name, start and end of each whole chunk."""
    length = file.seek(0, io.SEEK_END)
    start = len(SIGNATURE)
    while start + 12 <= length:
        file.seek(start)
        size, name = struct.unpack(">I4s", file.read(8))
        end = start + 12 + size
        if end > length:
            return
        yield name, start, end
        start = end


def _packed(name: bytes, content: bytes) -> bytes | None:
    """The zlib stream in a chunk; None where there is none."""
    with suppress(ValueError):
        after_key = content[content.index(b"\0") + 1 :]
        if name == b"tEXt":
            return None
        if name != b"iTXt":
            return after_key[1:]  # the method of compression stands before it
        if after_key[:1] != b"\1":
            return None
        return after_key[2:].split(b"\0", 2)[-1]  # language and translated key stand before it
    return None


def _unpacked_bytes(name: bytes, content: bytes) -> int:
    """Bytes of a text or profile, counted up to a little above `LARGE_BYTES`."""
    packed = _packed(name, content)
    return len(content) if packed is None else max(len(_unpacked(packed, LARGE_BYTES + 1)), 1)


def _unpacked(packed: bytes | None, most: int) -> bytes:
    """The content of a zlib stream; as far as it is whole and up to `most` bytes."""
    with suppress(zlib.error):
        return zlib.decompressobj().decompress(packed or b"", most)
    return b""

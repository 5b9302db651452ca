"""A PNG writer that goes through the image in strips, so that it holds no second copy of it."""

import struct
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from srcx.imaging.decode import ImageArray
from srcx.imaging.extras import NO_EXTRAS, Extras

__all__ = ["write_png"]

STRIP_BYTES = 1 << 22
COLOR_TYPES = {1: 0, 3: 2, 4: 6}  # channels to PNG's numbers for grey, RGB and RGBA
METRES_PER_INCH = 0.0254
AVERAGE = 3
"""PNG's filter that leaves of each value what it is above the mean of its left and upper neighbours.

With runs alone searched for, photographs become smaller than OpenCV's PNG files, and sooner."""


def write_png(path: Path, image: ImageArray, extras: Extras = NO_EXTRAS) -> None:
    """Write a PNG.

    Args:
        path: The file.
        image: uint8 or uint16, (H, W), (H, W, 3) or (H, W, 4).
        extras: What to say beside the pixels.
    """
    channels = 1 if image.ndim == 2 else image.shape[2]
    height, width, bits = image.shape[0], image.shape[1], 8 * image.dtype.itemsize
    packer = zlib.compressobj(1, strategy=zlib.Z_RLE)
    with path.open("wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        _chunk(file, b"IHDR", struct.pack(">IIBBBBB", width, height, bits, COLOR_TYPES[channels], 0, 0, 0))
        for name, data in extras.colours:
            _chunk(file, name, data)
        if extras.icc:
            _chunk(file, b"iCCP", b"ICC profile\0\0" + zlib.compress(extras.icc))
        if extras.dpi:
            per_metre = (round(dots / METRES_PER_INCH) for dots in extras.dpi)
            _chunk(file, b"pHYs", struct.pack(">IIB", *per_metre, 1))
        if extras.exif:
            _chunk(file, b"eXIf", extras.exif)
        rows = max(STRIP_BYTES // image[:1].nbytes, 1)
        above: NDArray[np.uint8] = np.zeros(image[:1].nbytes, np.uint8)
        for start in range(0, height, rows):
            strip = _bytes_of(image[start : start + rows])
            _chunk(file, b"IDAT", packer.compress(_filtered(strip, above, channels * bits // 8).data))
            above = strip[-1]
        _chunk(file, b"IDAT", packer.flush())
        _chunk(file, b"IEND", b"")


def _bytes_of(strip: ImageArray) -> NDArray[np.uint8]:
    """Rows as PNG has them: the high byte of 16 bits first; (rows, bytes)."""
    big_endian = np.ascontiguousarray(strip, strip.dtype.newbyteorder(">"))
    return big_endian.view(np.uint8).reshape(len(strip), -1)


def _filtered(rows: NDArray[np.uint8], above: NDArray[np.uint8], pixel_bytes: int) -> NDArray[np.uint8]:
    """Rows less the rounded-down mean of left and upper neighbour, with the filter's number before each."""
    upper = np.concatenate([above[None], rows[:-1]])
    left = np.zeros_like(rows)
    left[:, pixel_bytes:] = rows[:, :-pixel_bytes]
    result = np.empty((len(rows), rows.shape[1] + 1), np.uint8)
    result[:, 0] = AVERAGE
    result[:, 1:] = rows - ((upper >> 1) + (left >> 1) + (upper & left & 1))
    return result


def _chunk(file: BinaryIO, name: bytes, data: bytes) -> None:
    if data or name == b"IEND":
        file.write(
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(name)))
        )

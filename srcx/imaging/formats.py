"""Formats of image files: those that srcx reads, and those that it names in a message."""

from collections.abc import Callable
from typing import BinaryIO, cast

from PIL import ImageFile, features
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from srcx.errors import ImageError
from srcx.imaging.png_chunks import SIGNATURE, without_large_chunks

__all__ = ["open_image"]

READABLE = "srcx reads PNG, JPEG, WebP, AVIF, TIFF and BMP"
# The first bytes of what is read, and of what people try; the name of a file counts for nothing.
READERS: tuple[tuple[int, bytes, Callable[[BinaryIO], ImageFile.ImageFile]], ...] = (
    (0, SIGNATURE, PngImageFile),
    (0, b"\xff\xd8\xff", JpegImageFile),
    (8, b"WEBP", WebPImageFile),
    (0, b"II*\0", TiffImageFile),
    (0, b"MM\0*", TiffImageFile),
    (0, b"II+\0", TiffImageFile),
    (0, b"MM\0+", TiffImageFile),
    (0, b"BM", BmpImageFile),
)
HEAD_BYTES = 128
AVIF_BRANDS = (b"avif", b"avis")
HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
OTHER_FORMATS = (
    (0, b"GIF8", "GIF"),
    (4, b"jP  ", "JPEG 2000"),
    (0, b"\xff\x0a", "JPEG XL"),
    (4, b"JXL ", "JPEG XL"),
    (0, b"\0\0\1\0", "ICO"),
    (0, b"P5", "PGM"),
    (0, b"P6", "PPM"),
    (0, b"8BPS", "Photoshop"),
    (0, b"%PDF", "PDF"),
    (0, b"<svg", "SVG"),
    (0, b"\x76\x2f\x31\x01", "OpenEXR"),
    (0, b"version https://git-lfs", "Git LFS pointer"),
)


def open_image(file: BinaryIO, name: str) -> ImageFile.ImageFile:
    """Return the image with its header read; the content decides on the format, not the name of the file.

    Not by `Image.open`, whose limit of size is fixed.

    Args:
        file: The open file.
        name: What messages call it.

    Raises:
        ImageError: the file is empty, no image, or of a format that is not read.
    """
    start = file.read(HEAD_BYTES)
    file.seek(0)
    if not start:
        raise ImageError(f"{name}: is empty (0 bytes); get a whole copy of the file")
    for offset, magic, reader in READERS:
        if start[offset:].startswith(magic):
            return reader(without_large_chunks(file) if reader is PngImageFile else file)
    brands = _brands(start)
    if brands.intersection(AVIF_BRANDS):
        if not features.check("avif"):
            raise ImageError(f"{name}: is an AVIF file, which this Pillow was built without; convert it")
        return AvifImageFile(file)
    if brands.intersection(HEIC_BRANDS):
        return _open_heic(file, name)
    other = next((kind for offset, magic, kind in OTHER_FORMATS if start[offset:].startswith(magic)), None)
    if other is not None:
        article = "an" if other[0] in "IO" else "a"
        raise ImageError(f"{name}: is {article} {other} file, which is not read; {READABLE}: convert it")
    raise ImageError(f"{name}: is not an image, by its content; {READABLE}")


def _open_heic(file: BinaryIO, name: str) -> ImageFile.ImageFile:
    """Open HEIC by the package that the extra `heic` installs; it turns the image upright, in 8 bits."""
    try:
        from pillow_heif import HeifImageFile
    except ImportError:
        raise ImageError(
            f"{name}: is a HEIC file, which is not read without pillow-heif; "
            "pip install 'srcx[heic]' installs it, or convert the file"
        ) from None
    reader = cast(Callable[[BinaryIO], ImageFile.ImageFile], HeifImageFile)  # it has no types
    return reader(file)


def _brands(start: bytes) -> set[bytes]:
    """Return the brands of an ISO media file, as AVIF and HEIC are; the first one may be mif1 in both."""
    if start[4:8] != b"ftyp":
        return set()
    box = start[: int.from_bytes(start[:4], "big")]
    return {box[8:12], *(box[at : at + 4] for at in range(16, len(box), 4))}

"""From the bytes of a picture file to pixels: whole and upright, or a sentence that says why not.

Pillow reads every file first, since it tells a cut-off file from a whole one, which OpenCV does not; where
samples have 16 bits, which Pillow cuts to 8, OpenCV reads the pixels. The two are equally fast.
"""

import io
import os
import re
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile, features
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from srcx.errors import ImageError
from srcx.imaging.extras import Extras, cmyk_to_rgb, extras_of
from srcx.imaging.png_chunks import SIGNATURE, Chunks, read_chunks, without_large_chunks

__all__ = [
    "MAX_PIXELS",
    "Picture",
    "PictureHeader",
    "decode",
    "decode_picture",
    "quiet_opencv",
    "read_header",
    "swap_red_and_blue",
]

Picture = NDArray[np.uint8 | np.uint16]

MAX_PIXELS = 256_000_000
LIMIT_VARIABLE = "SRCX_MAX_MEGAPIXELS"

READABLE = "srcx reads PNG, JPEG, WebP, AVIF, TIFF and BMP"
# The first bytes of what is read, and of what people try; the name of a file counts for nothing.
READERS: tuple[tuple[int, bytes, Callable[[BinaryIO], ImageFile.ImageFile]], ...] = (
    (0, SIGNATURE, PngImageFile),
    (0, b"\xff\xd8\xff", JpegImageFile),
    (8, b"WEBP", WebPImageFile),
    (4, b"ftypavif", AvifImageFile),
    (4, b"ftypavis", AvifImageFile),
    (0, b"II*\0", TiffImageFile),
    (0, b"MM\0*", TiffImageFile),
    (0, b"II+\0", TiffImageFile),
    (0, b"MM\0+", TiffImageFile),
    (0, b"BM", BmpImageFile),
)
STRANGERS = (
    (0, b"GIF8", "GIF"),
    (4, b"ftyphei", "HEIC"),
    (4, b"jP  ", "JPEG 2000"),
    (0, b"\xff\x0a", "JPEG XL"),
    (0, b"8BPS", "Photoshop"),
    (0, b"%PDF", "PDF"),
    (0, b"<svg", "SVG"),
    (0, b"\x76\x2f\x31\x01", "OpenEXR"),
    (0, b"version https://git-lfs", "Git LFS pointer"),
)

STRANGE_SAMPLES = (
    "samples of a rare kind (floating, signed or of uneven bits); whole numbers of 8 or 16 bits are read: "
    "convert it"
)

TAIL_BYTES = 64
PNG_END, JPEG_END = b"IEND\xaeB`\x82", b"\xff\xd9"

# What Pillow raises on damaged files, from many places; RuntimeError is its AVIF decoder's.
DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    LookupError,
    TypeError,
    ArithmeticError,
    RuntimeError,
    struct.error,
    zlib.error,
)

# Tags of TIFF, and what they say.
SUBFILE_TYPE, BITS_PER_SAMPLE, PHOTOMETRIC, SAMPLE_FORMAT = 254, 258, 262, 339
SMALL_COPY, WHITE_IS_ZERO, UNSIGNED = 1, 0, 1

GREY_LEVELS = {"L;2": 85, "L;4": 17}
"""By what Pillow multiplies grey samples of PNG files, though not the transparent one."""

PILLOW_FILTER = ("ignore", None, UserWarning, re.compile(r"PIL\."), 0)  # as Python keeps it


class PictureHeader(NamedTuple):
    """What the head of a picture file says."""

    height: int
    width: int
    looks_whole: bool
    """False: the end that this kind of file should have is not there; it may be cut off."""


def read_header(file: BinaryIO, name: str) -> PictureHeader:
    """What the head of a picture file says, and whether its end looks whole, without decoding it.

    Args:
        file: The open file.
        name: What messages call it.

    Raises:
        ImageError: this is no picture that is read, or its head is damaged.
    """
    with _said_for(name), _open(file, name) as picture:
        _check_still(picture, name)
        _bits(picture, name)
        width, height = picture.size
        if not isinstance(picture, TiffImageFile) and _orientation(picture) >= 5:  # Pillow did it for TIFF
            width, height = height, width
        return PictureHeader(height, width, _looks_whole(picture, file))


def _looks_whole(picture: ImageFile.ImageFile, file: BinaryIO) -> bool:
    length = file.seek(0, os.SEEK_END)
    file.seek(max(0, length - TAIL_BYTES))
    tail = file.read()
    if isinstance(picture, (PngImageFile, JpegImageFile)):
        return (PNG_END if isinstance(picture, PngImageFile) else JPEG_END) in tail
    if isinstance(picture, AvifImageFile):
        return False  # its parts lie in any order: only decoding tells
    return all(tile[2] < length for tile in picture.tile)


def decode_picture(data: bytes, name: str, *, max_pixels: int | None = None) -> Picture:
    """The pixels that `decode` gives."""
    return decode(data, name, max_pixels=max_pixels)[0]


def decode(data: bytes, name: str, *, max_pixels: int | None = None) -> tuple[Picture, Extras]:
    """Pixels of a picture file, turned upright as its EXIF data says, and what else it says.

    Args:
        data: The whole file: PNG, JPEG, WebP, AVIF, TIFF or BMP.
        name: What messages call it.
        max_pixels: A larger picture is refused before it is decoded; by default $SRCX_MAX_MEGAPIXELS
            millions, or 256.

    Returns:
        uint8, or uint16 where the file has 16 bits a sample: (H, W) grey, (H, W, 3) RGB, (H, W, 4) RGBA;
        and the profile and EXIF data to keep with them.

    Raises:
        ImageError: the file is damaged, cut off, animated, too large, or of a kind that is not read.
    """
    chunks = read_chunks(data) if data.startswith(SIGNATURE) else Chunks(data, b"", ())
    data = chunks.data
    with _said_for(name), _open(io.BytesIO(data), name) as picture:
        _check_size(picture, name, _limit() if max_pixels is None else max_pixels)
        _check_still(picture, name)
        bits = _bits(picture, name)
        if isinstance(picture, PngImageFile):
            PngImageFile(io.BytesIO(data)).verify()  # checksums, and that the end is there
        extras = extras_of(picture)  # loading closes a TIFF
        extras = extras._replace(icc=extras.icc or chunks.icc, colours=chunks.colours)
        white_is_zero = (
            isinstance(picture, TiffImageFile) and picture.tag_v2.get(PHOTOMETRIC) == WHITE_IS_ZERO
        )
        if isinstance(picture, PngImageFile) and isinstance(picture.info.get("transparency"), int):
            picture.info["transparency"] *= GREY_LEVELS.get(_rawmode(picture), 1)
        picture.load()
        if picture.mode.startswith("I"):  # grey of 12 or 16 bits
            pixels = _deep_grey(picture, bits, white_is_zero=white_is_zero)
        elif picture.mode == "CMYK":
            pixels = np.asarray(cmyk_to_rgb(picture, name))
        else:
            pixels = np.asarray(picture.convert(_mode(picture, name)))
            if bits == 16:
                pixels = _sixteen_bits(data, name, pixels)
        # Pillow and OpenCV turn TIFF files upright, and Pillow takes the tag away.
        pixels = _turned(pixels, _orientation(picture))
        return pixels, extras.fitting(1 if pixels.ndim == 2 else pixels.shape[2])


def _deep_grey(picture: ImageFile.ImageFile, bits: int, *, white_is_zero: bool) -> Picture:
    """Return grey of 12 or 16 bits as 16 bits, RGBA where one shade is transparent."""
    samples = np.asarray(picture).astype(np.uint16)
    if bits == 12:
        samples = (samples << np.uint16(4)) | (samples >> np.uint16(8))  # 4095 becomes 65535
    if white_is_zero:
        samples = ~samples
    if "transparency" not in picture.info:
        return samples
    alpha = np.where(samples == picture.info["transparency"], 0, 65535).astype(np.uint16)
    return np.stack([samples, samples, samples, alpha], axis=2)


@contextmanager
def quiet_opencv() -> Iterator[None]:
    """Keep OpenCV's log from the user's terminal; what matters is said in an error of ours."""
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(0)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(level)


@contextmanager
def _said_for(name: str) -> Iterator[None]:
    """Turn what Pillow raises into one sentence, and keep its warnings from the user."""
    _hush_pillow()
    try:
        yield
    except DAMAGE as error:
        if "unknown pixel mode" in str(error):
            raise ImageError(f"{name}: holds {STRANGE_SAMPLES}") from error
        raise ImageError(f"{name}: is damaged or cut off; get a whole copy of the file") from error
    except Image.DecompressionBombError as error:
        raise ImageError(f"{name}: part of the file unpacks to an absurd size; it is refused") from error


def _hush_pillow() -> None:
    """Ignore Pillow's warnings, which name no file.

    The filter stays: `warnings.catch_warnings` around each picture is not safe between threads, and makes
    Python forget which warnings of others it has shown already.
    """
    if PILLOW_FILTER not in warnings.filters:
        warnings.filterwarnings("ignore", category=UserWarning, module=PILLOW_FILTER[3].pattern)


def _open(file: BinaryIO, name: str) -> ImageFile.ImageFile:
    """Read the head of the file, without `Image.open`, whose limit of size is fixed."""
    start = file.read(32)
    file.seek(0)
    if not start:
        raise ImageError(f"{name}: is empty (0 bytes); get a whole copy of the file")
    for offset, magic, reader in READERS:
        if start[offset:].startswith(magic):
            if reader is AvifImageFile and not features.check("avif"):
                raise ImageError(f"{name}: is an AVIF file, which this Pillow was built without; convert it")
            return reader(without_large_chunks(file) if reader is PngImageFile else file)
    for offset, magic, kind in STRANGERS:
        if start[offset:].startswith(magic):
            raise ImageError(f"{name}: is a {kind} file, which is not read; {READABLE}: convert it")
    raise ImageError(f"{name}: is not a picture, by its content; {READABLE}")


def _limit() -> int:
    value = os.environ.get(LIMIT_VARIABLE)
    if value is None:
        return MAX_PIXELS
    try:
        return int(float(value) * 1e6)
    except (ValueError, OverflowError):
        raise ImageError(f"{LIMIT_VARIABLE}: expected a number of megapixels; got {value!r}") from None


def _check_size(picture: ImageFile.ImageFile, name: str, max_pixels: int) -> None:
    pixels = picture.width * picture.height
    if pixels > max_pixels:
        raise ImageError(
            f"{name}: has {picture.width} x {picture.height} pixels, {pixels / 1e6:.6g} megapixels, "
            f"and at most {max_pixels / 1e6:g} are read; "
            f"set {LIMIT_VARIABLE}={pixels // 1_000_000 + 1} to read it all the same"
        )


def _check_still(picture: ImageFile.ImageFile, name: str) -> None:
    frames = getattr(picture, "n_frames", 1)
    if isinstance(picture, TiffImageFile) and frames > 1:
        frames -= _small_copies(picture, frames)
    if frames > 1:
        pages = "pages" if isinstance(picture, TiffImageFile) else "frames of an animation"
        raise ImageError(
            f"{name}: holds {frames} {pages}, and one still picture is read; save one of them alone"
        )


def _small_copies(picture: TiffImageFile, pages: int) -> int:
    """Return how many pages behind the first say that they are smaller copies of another."""
    count = 0
    for page in range(1, pages):
        picture.seek(page)
        count += bool(picture.tag_v2.get(SUBFILE_TYPE, 0) & SMALL_COPY)
    picture.seek(0)
    return count


def _bits(picture: ImageFile.ImageFile, name: str) -> int:
    """Bits a sample, 8, 12 or 16; a palette or fewer bits count as 8."""
    if isinstance(picture, TiffImageFile):
        bits = {*picture.tag_v2.get(BITS_PER_SAMPLE, (1,))}
        kinds = {*picture.tag_v2.get(SAMPLE_FORMAT, (UNSIGNED,))}
        if kinds != {UNSIGNED} or len(bits) > 1 or max(bits) > 16:
            raise ImageError(f"{name}: holds {STRANGE_SAMPLES}")
        return max(bits) if bits in ({12}, {16}) else 8
    return 16 if "16" in _rawmode(picture) else 8


def _rawmode(picture: ImageFile.ImageFile) -> str:
    """Pillow's name for the layout of samples in the file; empty where its reader has none."""
    rawmode = picture.tile[0][3] if picture.tile else None
    return rawmode if isinstance(rawmode, str) else ""


def _mode(picture: Image.Image, name: str) -> str:
    """Pillow's mode among L, RGB and RGBA that loses nothing."""
    mode = picture.mode
    if mode in ("LA", "La", "PA", "RGBA", "RGBa") or (
        mode in ("1", "L", "P", "RGB") and _see_through(picture)
    ):
        return "RGBA"
    if mode in ("1", "L"):
        return "L"
    if mode in ("P", "RGB", "RGBX", "YCbCr"):
        return "RGB"
    raise ImageError(
        f"{name}: has pixels of the kind {mode}, which is not read; save it as RGB, grey or RGBA"
    )


def _see_through(picture: Image.Image) -> bool:
    return "transparency" in picture.info or (picture.palette is not None and picture.palette.mode == "RGBA")


def _sixteen_bits(data: bytes, name: str, high_bytes: Picture) -> Picture:
    """All 16 bits of a colour picture, by OpenCV; `high_bytes` is what Pillow made of it."""
    read = None
    with quiet_opencv(), suppress(cv2.error):
        read = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if read is not None and read.dtype == np.uint16 and read.ndim == 3:
        pixels = swap_red_and_blue(read.astype(np.uint16, copy=False))
        # OpenCV misreads some layouts of TIFF without a word, so both must have seen the same picture.
        if np.array_equal(pixels[..., :3] >> 8, high_bytes[..., :3]):
            return pixels
    raise ImageError(f"{name}: holds 16-bit samples in a layout that is not read; save it as PNG")


def swap_red_and_blue(pixels: Picture) -> Picture:
    """RGB(A) to OpenCV's order and back; grey stays."""
    if pixels.ndim == 2:
        return pixels
    return np.ascontiguousarray(pixels[..., [2, 1, 0, 3][: pixels.shape[2]]])


def _orientation(picture: ImageFile.ImageFile) -> int:
    # Not the PNG reader's own getexif: that decodes the whole picture first.
    orientation = Image.Image.getexif(picture).get(ExifTags.Base.Orientation)
    return orientation if isinstance(orientation, int) else 1


def _turned(pixels: Picture, orientation: int) -> Picture:
    """Pixels turned upright from one of the eight orientations of EXIF."""
    turns, mirror = {2: (0, 1), 3: (2, 0), 4: (2, 1), 5: (3, 1), 6: (3, 0), 7: (1, 1), 8: (1, 0)}.get(
        orientation, (0, 0)
    )
    if not turns and not mirror:
        return pixels
    turned = np.rot90(pixels, turns)
    return np.ascontiguousarray(turned[:, ::-1] if mirror else turned)

"""From the bytes of an image file to pixels: whole and upright, or a sentence that says why not.

Pillow reads every file first, since it detects cut-off files, which OpenCV does not; where
samples have 16 bits, which Pillow cuts to 8, OpenCV reads the pixels. The two are equally fast.
"""

import io
import math
import os
import re
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from srcx.errors import ImageError
from srcx.imaging.extras import Extras, cmyk_to_rgb, extras_of
from srcx.imaging.formats import open_image
from srcx.imaging.png_chunks import SIGNATURE, Chunks, read_chunks

__all__ = [
    "MAX_PIXELS",
    "Image",
    "ImageHeader",
    "check_pixels",
    "decode",
    "decode_image",
    "quiet_opencv",
    "read_header",
    "swap_red_and_blue",
    "upright_pixels",
]

ImageArray = NDArray[np.uint8 | np.uint16]

MAX_PIXELS = 256_000_000
LIMIT_VARIABLE = "SRCX_MAX_MEGAPIXELS"

STRANGE_SAMPLES = (
    "samples of a rare kind (floating, signed, of uneven bits, 16-bit grey with alpha, or with a channel of "
    "no known meaning); whole numbers of 8 or 16 bits are read as grey, RGB or RGBA: convert it"
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
STRIP_OFFSETS, STRIP_BYTES, TILE_OFFSETS, TILE_BYTES = 273, 279, 324, 325
SMALL_COPY, WHITE_IS_ZERO, UNSIGNED = 1, 0, 1

GREY_LEVELS = {"L;2": 85, "L;4": 17}
"""By what Pillow multiplies grey samples of PNG files, though not the transparent one."""

PILLOW_FILTER = ("ignore", None, Warning, re.compile(r"PIL\."), 0)  # as Python keeps it


class ImageHeader(NamedTuple):
    """Facts from the header of an image file."""

    height: int
    width: int
    looks_whole: bool
    """False: the end that this kind of file should have is not there; it may be cut off."""


def read_header(file: BinaryIO, name: str) -> ImageHeader:
    """Return the facts of an image file's header, and whether its end looks complete, without decoding.

    Args:
        file: The open file.
        name: What messages call it.

    Raises:
        ImageError: this is no image that is read, or its head is damaged.
    """
    with _said_for(name), open_image(file, name) as image:
        _check_still(image, name)
        _bits(image, name)
        width, height = image.size
        if not isinstance(image, TiffImageFile) and _orientation(image) >= 5:  # Pillow did it for TIFF
            width, height = height, width
        return ImageHeader(height, width, _looks_whole(image, file))


def _looks_whole(image: ImageFile.ImageFile, file: BinaryIO) -> bool:
    length = file.seek(0, os.SEEK_END)
    file.seek(max(0, length - TAIL_BYTES))
    tail = file.read()
    if isinstance(image, (PngImageFile, JpegImageFile)):
        return (PNG_END if isinstance(image, PngImageFile) else JPEG_END) in tail
    if isinstance(image, TiffImageFile):
        tags = image.tag_v2
        starts = tags.get(STRIP_OFFSETS) or tags.get(TILE_OFFSETS, ())
        sizes = tags.get(STRIP_BYTES) or tags.get(TILE_BYTES, ())
        if not starts or len(starts) != len(sizes) or 0 in sizes:
            return False  # some writers leave the sizes out
        return all(start + size <= length for start, size in zip(starts, sizes, strict=True))
    if isinstance(image, BmpImageFile) and image.tile[0][0] == "raw":
        _, _, start, args = image.tile[0]
        assert isinstance(args, tuple)  # layout, bytes of a row, direction
        return bool(start + args[1] * image.height <= length)
    # Opening reads a WebP whole. AVIF and HEIC have their parts in any order: only decoding shows it.
    return isinstance(image, WebPImageFile)


def decode_image(data: bytes, name: str, *, max_pixels: int | None = None) -> ImageArray:
    """The pixels that `decode` gives."""
    return decode(data, name, max_pixels=max_pixels)[0]


def decode(data: bytes, name: str, *, max_pixels: int | None = None) -> tuple[ImageArray, Extras]:
    """Pixels of an image file, turned upright as its EXIF data says, and what else it says.

    Args:
        data: The whole file: PNG, JPEG, WebP, AVIF, TIFF or BMP, or HEIC with the extra `heic`.
        name: What messages call it.
        max_pixels: A larger image is refused before it is decoded; by default $SRCX_MAX_MEGAPIXELS
            millions, or 256.

    Returns:
        uint8, or uint16 where the file has 16 bits a sample: (H, W) grey, (H, W, 3) RGB, (H, W, 4) RGBA;
        and the profile and EXIF data to keep with them.

    Raises:
        ImageError: the file is damaged, cut off, animated, too large, or of a kind that is not read.
    """
    chunks = read_chunks(data) if data.startswith(SIGNATURE) else Chunks(data, b"", ())
    data = chunks.data
    with _said_for(name), open_image(io.BytesIO(data), name) as image:
        check_pixels(image.size, name, max_pixels)
        _check_still(image, name)
        bits = _bits(image, name)
        if isinstance(image, PngImageFile):
            PngImageFile(io.BytesIO(data)).verify()  # checksums, and that the end is there
        extras = extras_of(image)  # loading closes a TIFF
        extras = extras._replace(icc=extras.icc or chunks.icc, colours=chunks.colours)
        if isinstance(image, PngImageFile) and isinstance(image.info.get("transparency"), int):
            image.info["transparency"] *= GREY_LEVELS.get(_rawmode(image), 1)
        pixels = _pixels_of(image, name, bits=bits)
        if bits == 16 and pixels.dtype == np.uint8 and image.mode != "CMYK":
            pixels = _sixteen_bits(data, name, pixels)
        # Pillow and OpenCV turn TIFF files upright, and Pillow takes the tag away.
        pixels = _turned(pixels, _orientation(image))
        return pixels, extras.fitting(1 if pixels.ndim == 2 else pixels.shape[2])


def upright_pixels(image: Image.Image, name: str) -> ImageArray:
    """Return the pixels that Pillow has of an image, turned upright as its EXIF data says.

    Args:
        image: Of any mode. Of colours of 16 bits a sample Pillow has the high bytes alone.
        name: What messages call it.

    Returns:
        uint8, or uint16 of grey of more than 8 bits, with shapes as for `decode`.

    Raises:
        ImageError: a mode that is not read.
    """
    pixels = _pixels_of(image, name, bits=_bits(image, name) if isinstance(image, TiffImageFile) else 8)
    return _turned(pixels, _orientation(image))


def _pixels_of(image: Image.Image, name: str, *, bits: int) -> ImageArray:
    """Return the pixels of a Pillow image as they lie in it; `bits` are those of a sample of its file."""
    image.load()
    if image.mode.startswith("I;16") or (image.mode == "I" and bits > 8):  # "I": by older Pillow
        return _deep_grey(image, bits)
    if image.mode == "CMYK":
        return np.asarray(cmyk_to_rgb(image, name, bits=bits))
    mode = _mode(image, name)
    if image.mode == "La":
        image = image.convert("LA")  # the only mode that Pillow converts it to
    return np.asarray(image if image.mode == mode else image.convert(mode))  # convert always copies


def _deep_grey(image: Image.Image, bits: int) -> ImageArray:
    """Return grey of 12 or 16 bits as 16 bits, RGBA where one shade is transparent."""
    samples = np.asarray(image).astype(np.uint16)
    if bits == 12:
        samples = (samples << np.uint16(4)) | (samples >> np.uint16(8))  # 4095 becomes 65535
    if isinstance(image, TiffImageFile) and image.tag_v2.get(PHOTOMETRIC) == WHITE_IS_ZERO:
        samples = ~samples
    if "transparency" not in image.info:
        return samples
    alpha = np.where(samples == image.info["transparency"], 0, 65535).astype(np.uint16)
    return np.stack([samples, samples, samples, alpha], axis=2)


@contextmanager
def quiet_opencv() -> Iterator[None]:
    """Keep OpenCV's log from the user's terminal; what matters is said in an error of ours."""
    opencv_log = cv2 if hasattr(cv2, "setLogLevel") else cv2.utils.logging  # of OpenCV 4, or of 5
    level = opencv_log.getLogLevel()
    opencv_log.setLogLevel(0)
    try:
        yield
    finally:
        opencv_log.setLogLevel(level)


@contextmanager
def _said_for(name: str) -> Iterator[None]:
    """Turn what Pillow raises into one sentence, and keep its warnings from the user."""
    _hush_pillow()
    try:
        yield
    except DAMAGE as error:
        if "unknown pixel mode" in str(error):
            raise ImageError(f"{name}: holds {STRANGE_SAMPLES}") from error
        if deep_jpeg := re.search(r"(?i)cannot handle (\d+)-bit layers", str(error)):
            bits = deep_jpeg[1]
            raise ImageError(
                f"{name}: is a JPEG of {bits} bits a sample, and 8 are read; convert it"
            ) from error
        raise ImageError(f"{name}: is damaged or cut off; get a whole copy of the file") from error
    except Image.DecompressionBombError as error:
        raise ImageError(f"{name}: part of the file unpacks to an absurd size; it is refused") from error


def _hush_pillow() -> None:
    """Ignore Pillow's warnings, which name no file.

    The filter stays: `warnings.catch_warnings` around each image is not safe between threads, and makes
    Python forget which warnings of others it has shown already. It has to be the first filter: the first
    that fits decides, and a program may have added "error" since.
    """
    if warnings.filters[:1] != [PILLOW_FILTER]:
        warnings.filterwarnings("ignore", category=PILLOW_FILTER[2], module=PILLOW_FILTER[3].pattern)


def _limit() -> int:
    value = os.environ.get(LIMIT_VARIABLE)
    if value is None:
        return MAX_PIXELS
    try:
        return int(float(value) * 1e6)
    except (ValueError, OverflowError):
        raise ImageError(f"{LIMIT_VARIABLE}: expected a number of megapixels; got {value!r}") from None


def check_pixels(size: tuple[int, int], name: str, max_pixels: int | None = None) -> None:
    """Refuse an image that is too large, before its pixels take memory.

    Args:
        size: Width and height.
        name: What messages call it.
        max_pixels: As for `decode`.

    Raises:
        ImageError: it is too large.
    """
    pixels, most = math.prod(size), _limit() if max_pixels is None else max_pixels
    if pixels > most:
        raise ImageError(
            f"{name}: has {size[0]} x {size[1]} pixels, {pixels / 1e6:.6g} megapixels, "
            f"and at most {most / 1e6:g} are read; "
            f"set {LIMIT_VARIABLE}={pixels // 1_000_000 + 1} to read it all the same"
        )


def _check_still(image: ImageFile.ImageFile, name: str) -> None:
    if image.format == "HEIF":
        return  # it names the one to show; the others are of a burst, or the depth
    frames = getattr(image, "n_frames", 1)
    if isinstance(image, TiffImageFile) and frames > 1:
        frames -= _small_copies(image, frames)
    if frames > 1:
        pages = "pages" if isinstance(image, TiffImageFile) else "frames of an animation"
        raise ImageError(
            f"{name}: holds {frames} {pages}, and one still image is read; save one of them alone"
        )


def _small_copies(image: TiffImageFile, pages: int) -> int:
    """Return how many pages behind the first say that they are smaller copies of another."""
    count = 0
    for page in range(1, pages):
        image.seek(page)
        count += bool(image.tag_v2.get(SUBFILE_TYPE, 0) & SMALL_COPY)
    image.seek(0)
    return count


def _bits(image: ImageFile.ImageFile, name: str) -> int:
    """Bits a sample, 8, 12 or 16; a palette or fewer bits count as 8."""
    if isinstance(image, TiffImageFile):
        bits = {*image.tag_v2.get(BITS_PER_SAMPLE, (1,))}
        kinds = {*image.tag_v2.get(SAMPLE_FORMAT, (UNSIGNED,))}
        if kinds != {UNSIGNED} or len(bits) > 1 or max(bits) > 16:
            raise ImageError(f"{name}: holds {STRANGE_SAMPLES}")
        return max(bits) if bits in ({12}, {16}) else 8
    return 16 if "16" in _rawmode(image) else 8


def _rawmode(image: ImageFile.ImageFile) -> str:
    """Pillow's name for the layout of samples in the file; empty where its reader has none."""
    rawmode = image.tile[0][3] if image.tile else None
    return rawmode if isinstance(rawmode, str) else ""


def _mode(image: Image.Image, name: str) -> str:
    """Pillow's mode among L, RGB and RGBA that loses nothing."""
    mode = image.mode
    if mode in ("LA", "La", "PA", "RGBA", "RGBa") or (mode in ("1", "L", "P", "RGB") and _see_through(image)):
        return "RGBA"
    if mode in ("1", "L"):
        return "L"
    if mode in ("P", "RGB", "RGBX", "YCbCr"):
        return "RGB"
    raise ImageError(
        f"{name}: has pixels of the kind {mode}, which is not read; save it as RGB, grey or RGBA"
    )


def _see_through(image: Image.Image) -> bool:
    return "transparency" in image.info or (image.palette is not None and image.palette.mode == "RGBA")


def _sixteen_bits(data: bytes, name: str, high_bytes: ImageArray) -> ImageArray:
    """All 16 bits of a colour image, by OpenCV; `high_bytes` is what Pillow made of it."""
    read = None
    with quiet_opencv(), suppress(cv2.error):
        read = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if read is not None and read.dtype == np.uint16 and read.ndim == 3:
        # OpenCV takes any fourth channel for alpha; Pillow looks at what the file says it is.
        pixels = swap_red_and_blue(read[..., : high_bytes.shape[2]].astype(np.uint16, copy=False))
        # OpenCV misreads some layouts of TIFF without a word, so both must have seen the same image.
        if np.array_equal(pixels[..., :3] >> 8, high_bytes[..., :3]):
            return pixels
    raise ImageError(f"{name}: holds 16-bit samples in a layout that is not read; save it as PNG")


def swap_red_and_blue(pixels: ImageArray) -> ImageArray:
    """RGB(A) to OpenCV's order and back; grey stays."""
    if pixels.ndim == 2:
        return pixels
    return np.ascontiguousarray(pixels[..., [2, 1, 0, 3][: pixels.shape[2]]])


def _orientation(image: Image.Image) -> int:
    # Not the PNG reader's own getexif: that decodes the whole image first.
    orientation = Image.Image.getexif(image).get(ExifTags.Base.Orientation)
    return orientation if isinstance(orientation, int) else 1


def _turned(pixels: ImageArray, orientation: int) -> ImageArray:
    """Pixels turned upright from one of the eight orientations of EXIF."""
    turns, mirror = {2: (0, 1), 3: (2, 0), 4: (2, 1), 5: (3, 1), 6: (3, 0), 7: (1, 1), 8: (1, 0)}.get(
        orientation, (0, 0)
    )
    if not turns and not mirror:
        return pixels
    turned = np.rot90(pixels, turns)
    return np.ascontiguousarray(turned[:, ::-1] if mirror else turned)

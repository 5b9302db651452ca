"""Images from and to files."""

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, features

from srcx.atomic import atomic_path
from srcx.errors import DataError, ImageError
from srcx.imaging.decode import ImageArray, decode, quiet_opencv, read_header, swap_red_and_blue
from srcx.imaging.extras import NO_EXTRAS, Extras, warn_once
from srcx.imaging.png import write_png
from srcx.imaging.png_chunks import shows_as_srgb

__all__ = [
    "HEIC_SUFFIXES",
    "IMAGE_SUFFIXES",
    "JPEG_SUFFIXES",
    "LONGEST_SIDE",
    "UNREAD_SUFFIXES",
    "image_size",
    "list_images",
    "read_image",
    "read_with_extras",
    "write_image",
]

log = logging.getLogger(__name__)

JPEG_SUFFIXES = (".jfif", ".jpe", ".jpeg", ".jpg")
IMAGE_SUFFIXES = (".avif", ".bmp", *JPEG_SUFFIXES, ".png", ".tif", ".tiff", ".webp")
HEIC_SUFFIXES = (".heic", ".heif", ".hif")
"""Suffixes of images that are read if pillow-heif is installed, and never written."""
UNREAD_SUFFIXES = (
    *(".arw", ".cr2", ".cr3", ".dng", ".nef", ".orf", ".raf", ".rw2"),  # cameras' raw files
    *(".exr", ".gif", ".ico", ".jp2", ".jxl", ".pbm", ".pdf", ".pgm", ".ppm", ".psd", ".svg", ".tga"),
)
"""Suffixes of images in formats that srcx does not read."""

SUFFIXES_OF_16_BITS = (".png", ".tif", ".tiff")
LOSSY_SUFFIXES = (".avif", *JPEG_SUFFIXES, ".webp")
"""Suffixes of the formats that have a quality."""
SUFFIXES_OF_ALPHA = (".avif", ".png", ".tif", ".tiff", ".webp")
LONGEST_SIDE = {".avif": 32_768, **dict.fromkeys(JPEG_SUFFIXES, 65_500), ".webp": 16_383}
"""Pixels that a format holds in a row or column, where that is less than an image may have."""
JPEG_EXIF_BYTES = 65_533 - len(b"Exif\0\0")
LARGE_BYTES = 1 << 28
SHOWN = 5
"""Names that a message lists."""
LOSSLESS_WEBP = 101  # OpenCV's word for it: a quality above 100


def read_image(path: Path | str, *, max_pixels: int | None = None) -> ImageArray:
    """Read an image, turned upright as its EXIF data says; the content decides, not the suffix.

    Args:
        path: A PNG, JPEG, WebP, AVIF, TIFF or BMP file, or HEIC with the extra `heic`. AVIF and HEIC are read
            in 8 bits a sample.
        max_pixels: A larger image is refused before it is decoded; by default $SRCX_MAX_MEGAPIXELS
            millions, or 256.

    Returns:
        uint8, or uint16 where the file has 16 bits a sample: (H, W) grey, (H, W, 3) RGB, (H, W, 4) RGBA.
        Grey with alpha becomes RGBA; palettes and CMYK become RGB (or RGBA).

    Raises:
        ImageError: the file is missing, damaged, cut off, animated, too large, or of a kind that is not read.
    """
    return read_with_extras(path, max_pixels=max_pixels)[0]


def read_with_extras(path: Path | str, *, max_pixels: int | None = None) -> tuple[ImageArray, Extras]:
    """`read_image`, and the colour profile and EXIF data to keep with the image."""
    try:
        path = _a_file(path)
        data = path.read_bytes()
    except OSError as error:
        raise ImageError(f"{path}: cannot be read: {error.strerror}") from error
    return decode(data, str(path), max_pixels=max_pixels)


def image_size(path: Path | str) -> tuple[int, int]:
    """Height and width of an image, upright, mostly from the head of its file.

    A file without the end it should have is decoded, so that a cut-off one is found here.

    Raises:
        ImageError: the file is missing, damaged, cut off, animated, or of a kind that is not read.
    """
    try:
        path = _a_file(path)
        with path.open("rb") as file:
            header = read_header(file, str(path))
    except OSError as error:
        raise ImageError(f"{path}: cannot be read: {error.strerror}") from error
    if not header.looks_whole:
        read_image(path)
    return header.height, header.width


def write_image(
    path: Path | str, image: ImageArray, *, quality: int | None = None, extras: Extras = NO_EXTRAS
) -> None:
    """Write an image whole or not at all, in the format that the suffix names.

    Args:
        path: With one of `IMAGE_SUFFIXES`.
        image: uint8 or uint16: (H, W) grey, (H, W, 3) RGB or (H, W, 4) RGBA. PNG and TIFF hold 16 bits;
            they, WebP and AVIF hold alpha. AVIF holds grey as RGB.
        quality: 1 (small) to 100 (good) for JPEG, WebP and AVIF. By default 95 for JPEG and 90 for AVIF,
            while WebP loses nothing.
        extras: Colour profile, EXIF data and resolution. BMP holds the resolution alone, TIFF of 16-bit
            colours no EXIF data, JPEG none of more than 64 KiB; PNG alone holds PNG's colour chunks. A
            warning names what changes the look or is lost to its size.

    Raises:
        ImageError: the format cannot hold this image.
        OutputError: the file cannot be written.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    _check_writable(path, suffix, image, quality)
    if suffix != ".png":
        extras = _holdable(extras, path, suffix)
    with atomic_path(path) as temporary:
        if suffix == ".png":
            write_png(temporary, image, extras)
        elif suffix == ".avif" or any(extras):
            _write_with(extras, temporary, suffix, image, quality)
        else:
            temporary.write_bytes(_encoded(path, suffix, image, quality).data)


def _encoded(path: Path, suffix: str, image: ImageArray, quality: int | None) -> NDArray[np.uint8]:
    try:
        with quiet_opencv(), _blue_first(image) as bgr:
            kind = ".jpg" if suffix in JPEG_SUFFIXES else suffix
            done, encoded = cv2.imencode(kind, bgr, _settings(suffix, quality))
    except cv2.error as error:
        raise ImageError(f"{path}: {suffix} cannot hold this image: {error.err}; choose .png") from error
    if not done:
        raise ImageError(f"{path}: {suffix} cannot hold an image of shape {image.shape}; choose .png")
    return np.asarray(encoded, np.uint8)


@contextmanager
def _blue_first(image: ImageArray) -> Iterator[ImageArray]:
    """OpenCV's order of colours; a large image is turned in its place and back, as a copy may not fit."""
    if (
        image.nbytes < LARGE_BYTES
        or image.ndim == 2
        or not (image.flags.writeable and image.flags.c_contiguous)
    ):
        yield swap_red_and_blue(image)
        return
    red, blue = image[..., 0], image[..., 2]
    try:
        _exchange(red, blue)
        yield image
    finally:
        _exchange(red, blue)


def _exchange(one: ImageArray, other: ImageArray) -> None:
    for row, other_row in zip(one, other, strict=True):
        row[:], other_row[:] = other_row.copy(), row.copy()


def _write_with(extras: Extras, path: Path, suffix: str, image: ImageArray, quality: int | None) -> None:
    """Write AVIF, and other formats with extras: by Pillow; by tifffile where colours have 16 bits."""
    if image.dtype == np.uint16 and image.ndim == 3:
        import tifffile  # scikit-image brings it

        alpha = ["unassalpha"] if image.shape[2] == 4 else None
        resolution: dict[str, Any] = {"resolution": extras.dpi, "resolutionunit": 2} if extras.dpi else {}
        tifffile.imwrite(
            path, image, photometric="rgb", extrasamples=alpha, iccprofile=extras.icc or None, **resolution
        )
        return
    if suffix in (".avif", ".webp"):  # grey becomes RGB, and EXIF data is the one place for a resolution
        extras = extras.fitting(3)._replace(exif=extras.exif_with_dpi(), dpi=None)
    by_suffix: dict[str, dict[str, Any]] = {
        ".avif": {"quality": quality or 90, "subsampling": "4:4:4"},
        ".webp": {"lossless": quality is None, "quality": quality or 80, "exact": True},
        ".jpg": {"quality": quality or 95, "subsampling": 0, "format": "JPEG"},
    }
    # TIFF stays uncompressed: libtiff cannot write EXIF data.
    settings = by_suffix.get(".jpg" if suffix in JPEG_SUFFIXES else suffix, {})
    settings |= {"icc_profile": extras.icc} if extras.icc else {}
    settings |= {"exif": b"Exif\0\0" + extras.exif} if extras.exif else {}
    settings |= {"dpi": extras.dpi} if extras.dpi else {}
    Image.fromarray(image).save(path, **settings)


def _holdable(extras: Extras, path: Path, suffix: str) -> Extras:
    """Leave out what another format than PNG cannot hold; say so where the image will look different."""
    if not extras.icc and not shows_as_srgb(extras.colours):
        names = ", ".join(name.decode() for name, _ in extras.colours)
        log.warning(
            "%s: %s cannot hold the colours of the PNG (%s); choose .png to keep them", path, suffix, names
        )
    if suffix in JPEG_SUFFIXES and len(extras.exif) > JPEG_EXIF_BYTES:
        kib = len(extras.exif) / 1024
        log.warning("%s: %s holds 64 KiB of EXIF data and there are %.0f; it is left out", path, suffix, kib)
        extras = extras._replace(exif=b"")
    if suffix == ".bmp":
        extras = extras._replace(icc=b"", exif=b"")
    return extras._replace(colours=())


def list_images(folder: Path | str, *, recursive: bool = False) -> list[Path]:
    """Images in a folder by their suffix, in natural order (2 before 10); hidden ones are left out.

    A warning names images of formats that srcx does not read, once for each folder.

    Args:
        folder: Where to look.
        recursive: Look into the folders in it too, but follow no links to folders.

    Raises:
        DataError: the folder is missing, is no folder, or cannot be read.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> for name in ("10.png", "2.JPG", ".hidden.png", "notes.txt"):
        ...     (folder / name).touch()
        >>> [path.name for path in list_images(folder)]
        ['2.JPG', '10.png']
    """
    folder = Path(folder)
    if not folder.exists():
        raise DataError(f"{folder}: this folder does not exist; check the path")
    if not folder.is_dir():
        what = "file" if folder.is_file() else "device or pipe"
        raise DataError(f"{folder}: is a {what}, and a folder is expected; check the path")
    heic_is_read = find_spec("pillow_heif") is not None
    readable = (*IMAGE_SUFFIXES, *HEIC_SUFFIXES) if heic_is_read else IMAGE_SUFFIXES
    found, unread = [], []
    for here, folders, names in os.walk(folder, onerror=_unreadable):
        folders[:] = [name for name in folders if recursive and not name.startswith(".")]
        shown = [name for name in names if not name.startswith(".")]
        found += [Path(here, name) for name in shown if name.lower().endswith(readable)]
        unread += [
            name
            for name in shown
            if name.lower().endswith((*UNREAD_SUFFIXES, *HEIC_SUFFIXES))
            and not name.lower().endswith(readable)
        ]
    if unread:
        some = ", ".join(sorted(unread)[:SHOWN]) + (", ..." if len(unread) > SHOWN else "")
        has_heic = any(name.lower().endswith(HEIC_SUFFIXES) for name in unread)
        hint = "; pip install 'srcx[heic]' installs what reads HEIC" if has_heic else ""
        warn_once(
            f"{folder}: {len(unread)} files are left out, srcx does not read their format: {some}{hint}"
        )
    return sorted(found, key=lambda path: _natural(str(path.relative_to(folder))))


def _a_file(path: Path | str) -> Path:
    path = Path(path)
    if path.is_dir():
        raise ImageError(f"{path}: is a folder, and an image is expected")
    if not path.exists():
        raise ImageError(f"{path}: this file does not exist; check the path")
    if not path.is_file():
        raise ImageError(f"{path}: is a device or pipe, and an image file is expected")
    return path


def _check_writable(path: Path, suffix: str, image: ImageArray, quality: int | None) -> None:
    if suffix not in IMAGE_SUFFIXES:
        raise ImageError(
            f"{path}: images are written as {', '.join(IMAGE_SUFFIXES)}; got {suffix or 'no suffix'}"
        )
    fits = image.ndim == 2 or (image.ndim == 3 and image.shape[2] in (3, 4))
    if image.dtype not in (np.uint8, np.uint16) or not fits or 0 in image.shape:
        raise ImageError(
            f"{path}: an image is uint8 or uint16, (H, W), (H, W, 3) or (H, W, 4); "
            f"got {image.dtype} {image.shape}"
        )
    if image.dtype == np.uint16 and suffix not in SUFFIXES_OF_16_BITS:
        raise ImageError(f"{path}: {suffix} holds 8 bits a sample and the image has 16; choose .png or .tiff")
    if image.ndim == 3 and image.shape[2] == 4 and suffix not in SUFFIXES_OF_ALPHA:
        raise ImageError(
            f"{path}: {suffix} holds no transparency (alpha); choose .png, .tiff, .avif or .webp"
        )
    if suffix == ".avif" and not features.check("avif"):
        raise ImageError(f"{path}: this Pillow was built without AVIF; choose .png or .webp")
    longest = LONGEST_SIDE.get(suffix, max(image.shape))
    if max(image.shape) > longest:
        raise ImageError(f"{path}: {suffix} holds at most {longest} pixels a side; choose .png or .tiff")
    if quality is not None and not 1 <= quality <= 100:
        raise ImageError(f"{path}: quality must be from 1 to 100; got {quality}")


def _settings(suffix: str, quality: int | None) -> list[int]:
    if suffix in JPEG_SUFFIXES:
        full_colour = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
        return [cv2.IMWRITE_JPEG_QUALITY, quality or 95, *full_colour]
    if suffix == ".webp":
        return [cv2.IMWRITE_WEBP_QUALITY, quality or LOSSLESS_WEBP]
    return []


def _natural(name: str) -> tuple[list[str | int], str]:
    # Splitting by digits gives text and numbers in turn, so that like is compared with like.
    return [int(part) if part.isdecimal() else part.lower() for part in re.split(r"(\d+)", name)], name


def _unreadable(error: OSError) -> None:
    raise DataError(f"{error.filename}: this folder cannot be read: {error.strerror}; fix its permissions")

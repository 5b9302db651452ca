"""Metadata of an image file, and the part of it that stays true for an upscaled image."""

import io
import logging
import struct
from contextlib import suppress
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageCms

from srcx.imaging.png_chunks import ColourChunks

__all__ = ["NO_EXTRAS", "Extras", "cmyk_to_rgb", "extras_of", "in_profile", "warn_once"]

log = logging.getLogger(__name__)

COPIED_TAGS = (
    ExifTags.Base.ImageDescription,
    ExifTags.Base.Make,
    ExifTags.Base.Model,
    ExifTags.Base.Software,
    ExifTags.Base.DateTime,
    ExifTags.Base.Artist,
    ExifTags.Base.Copyright,
)
"""Others, such as orientation, size and places in the file, belong to the file that was read."""
COPIED_PARTS = (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo)
OLD_SIZE = (ExifTags.Base.ExifImageWidth, ExifTags.Base.ExifImageHeight)

# What Pillow raises on damaged profiles and EXIF data.
DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    LookupError,
    TypeError,
    ArithmeticError,
    AttributeError,
    struct.error,
)
PER_CM = 3
"""EXIF's word for a resolution in dots per centimetre."""
CM_PER_INCH = 2.54
LARGEST_DPI = 65_535
"""Largest resolution that JPEG stores, in dots per inch."""


class Extras(NamedTuple):
    """Bytes as formats hold them; empty where there are none."""

    icc: bytes = b""
    """Colour profile, of grey or RGB as the pixels are."""
    exif: bytes = b""
    """Exif data: a TIFF structure, without the word Exif before it."""
    colours: ColourChunks = ()
    """PNG's chunks that say what the colours mean: gAMA, cHRM, cICP and the like."""
    dpi: tuple[float, float] | None = None
    """Dots per inch across and down for print; the result keeps them and is printed larger."""

    def exif_with_dpi(self) -> bytes:
        """Return the EXIF data with the resolution in it, for formats that have no other place for it."""
        if not self.dpi:
            return self.exif
        copied = Image.Exif()
        copied.load(b"Exif\0\0" + self.exif if self.exif else b"")
        for part in COPIED_PARTS:
            if words := copied.get_ifd(part):
                copied[part] = words
        copied[ExifTags.Base.XResolution], copied[ExifTags.Base.YResolution] = self.dpi
        copied[ExifTags.Base.ResolutionUnit] = 2
        return copied.tobytes().removeprefix(b"Exif\0\0")

    def fitting(self, channels: int) -> "Extras":
        """Without a profile of other colours than those of pixels with 1, 3 or 4 channels."""
        fits = self.icc[16:20] == (b"GRAY" if channels == 1 else b"RGB ")
        return self if fits else self._replace(icc=b"")


NO_EXTRAS = Extras()


def extras_of(image: Image.Image) -> Extras:
    """Return the profile, EXIF data and resolution of an image not loaded yet; damaged ones are left out."""
    exif, dpi = b"", None
    with suppress(*DAMAGE):
        exif = _copied_exif(image)
    with suppress(*DAMAGE):
        dpi = _dpi(image)
    return Extras(image.info.get("icc_profile") or b"", exif, dpi=dpi)


def _copied_exif(image: Image.Image) -> bytes:
    # Not the PNG reader's own getexif: that decodes the whole image first.
    source, copied = Image.Image.getexif(image), Image.Exif()
    for tag in COPIED_TAGS:
        if tag in source and _can_be_written({tag: source[tag]}):
            copied[tag] = source[tag]
    for part in COPIED_PARTS:
        words = {
            tag: value
            for tag, value in source.get_ifd(part).items()
            if tag not in OLD_SIZE and _can_be_written({tag: value}, part)
        }
        if words:
            copied.get_ifd(part).update(words)
            copied[part] = copied.get_ifd(part)
    return copied.tobytes().removeprefix(b"Exif\0\0") if len(copied) else b""


def _can_be_written(words: dict[int, Any], part: int | None = None) -> bool:
    """Return True if Pillow can write an entry that it read; it reads some signed fractions as unsigned."""
    probe = Image.Exif()
    with suppress(*DAMAGE):
        if part is None:
            probe.update(words)
        else:
            probe.get_ifd(part).update(words)
            probe[part] = probe.get_ifd(part)
        probe.tobytes()
        return True
    return False


def _dpi(image: Image.Image) -> tuple[float, float] | None:
    """Dots per inch across and down; None where the file does not say them."""
    dpi = image.info.get("dpi")
    if image.format == "JPEG" and not image.info.get("jfif_unit"):
        dpi = None  # Pillow says 72 where it finds nothing
    if dpi is None:
        exif = Image.Image.getexif(image)
        per_inch = CM_PER_INCH if exif.get(ExifTags.Base.ResolutionUnit) == PER_CM else 1
        dpi = [exif[tag] * per_inch for tag in (ExifTags.Base.XResolution, ExifTags.Base.YResolution)]
    across, down = (float(dots) for dots in dpi)
    return (across, down) if 1 <= min(across, down) <= max(across, down) <= LARGEST_DPI else None


def cmyk_to_rgb(image: Image.Image, name: str, *, bits: int = 8) -> Image.Image:
    """Ink to light: by the image's own profile into sRGB if it has one, else by the plain formula."""
    how = "it has no colour profile, so a simple formula is used and colours may be off"
    result = None
    with suppress(ImageCms.PyCMSError, *DAMAGE):
        profile = ImageCms.ImageCmsProfile(io.BytesIO(image.info["icc_profile"]))
        result = ImageCms.profileToProfile(image, profile, ImageCms.createProfile("sRGB"), outputMode="RGB")
        how = "by its own colour profile"
    lost = f"; its {bits} bits per sample are reduced to 8" if bits > 8 else ""
    warn_once(f"{name}: CMYK is converted to sRGB: {how}{lost}")
    return result or image.convert("RGB")


@lru_cache(maxsize=10_000)
def warn_once(message: str) -> None:
    """Log a warning, unless this process has logged it: reports and later epochs read an image again."""
    log.warning("%s", message)


def in_profile(image: NDArray[np.uint8], source: bytes, target: bytes) -> NDArray[np.uint8]:
    """Return the same colours as pixels of another profile.

    Args:
        image: RGB, (H, W, 3).
        source: The image's RGB profile; empty for sRGB.
        target: The RGB profile of the result; empty for sRGB.

    Returns:
        (H, W, 3); `image` itself where the profiles are equal or one is damaged.
    """
    if source == target:
        return image
    with suppress(ImageCms.PyCMSError, *DAMAGE):
        of_image, of_result = (
            ImageCms.ImageCmsProfile(io.BytesIO(icc)) if icc else ImageCms.createProfile("sRGB")
            for icc in (source, target)
        )
        result = ImageCms.profileToProfile(Image.fromarray(image), of_image, of_result, outputMode="RGB")
        return np.asarray(result)
    return image

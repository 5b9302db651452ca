"""What a picture file says beside its pixels, and what of it is still true of a larger picture."""

import io
import logging
from contextlib import suppress
from typing import NamedTuple

from PIL import ExifTags, Image, ImageCms

__all__ = ["NO_EXTRAS", "Extras", "cmyk_to_rgb", "extras_of"]

log = logging.getLogger(__name__)

TOLD_TAGS = (
    ExifTags.Base.ImageDescription,
    ExifTags.Base.Make,
    ExifTags.Base.Model,
    ExifTags.Base.Software,
    ExifTags.Base.DateTime,
    ExifTags.Base.Artist,
    ExifTags.Base.Copyright,
)
"""Others, such as orientation, size and places in the file, belong to the file that was read."""
TOLD_PARTS = (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo)
OLD_SIZE = (ExifTags.Base.ExifImageWidth, ExifTags.Base.ExifImageHeight)

# What Pillow raises on damaged profiles and EXIF data.
DAMAGE = (OSError, SyntaxError, ValueError, LookupError, TypeError, ArithmeticError, AttributeError)


class Extras(NamedTuple):
    """Bytes as formats hold them; empty where there are none."""

    icc: bytes = b""
    """Colour profile, of grey or RGB as the pixels are."""
    exif: bytes = b""
    """Who took the picture when, where and how: a TIFF structure, without the word Exif before it."""

    def fitting(self, channels: int) -> "Extras":
        """Without a profile of other colours than those of pixels with 1, 3 or 4 channels."""
        fits = self.icc[16:20] == (b"GRAY" if channels == 1 else b"RGB ")
        return self if fits else self._replace(icc=b"")


NO_EXTRAS = Extras()


def extras_of(picture: Image.Image) -> Extras:
    """The profile and the EXIF data to keep of a picture not loaded yet; damaged ones are left out."""
    exif = b""
    with suppress(*DAMAGE):
        exif = _told(picture)
    return Extras(picture.info.get("icc_profile") or b"", exif)


def _told(picture: Image.Image) -> bytes:
    # Not the PNG reader's own getexif: that decodes the whole picture first.
    source, kept = Image.Image.getexif(picture), Image.Exif()
    for tag in TOLD_TAGS:
        if tag in source:
            kept[tag] = source[tag]
    for part in TOLD_PARTS:
        words = {tag: value for tag, value in source.get_ifd(part).items() if tag not in OLD_SIZE}
        if words:
            kept.get_ifd(part).update(words)
            kept[part] = kept.get_ifd(part)
    return kept.tobytes().removeprefix(b"Exif\0\0") if len(kept) else b""


def cmyk_to_rgb(picture: Image.Image, name: str) -> Image.Image:
    """Ink to light: by the picture's own profile into sRGB if it has one, else by the plain formula."""
    how = "without a colour profile, so by the plain formula"
    result = None
    with suppress(ImageCms.PyCMSError, *DAMAGE):
        profile = ImageCms.ImageCmsProfile(io.BytesIO(picture.info["icc_profile"]))
        result = ImageCms.profileToProfile(picture, profile, ImageCms.createProfile("sRGB"), outputMode="RGB")
        how = "by its own colour profile, into sRGB"
    log.warning("%s: CMYK is made RGB %s", name, how)
    return result or picture.convert("RGB")

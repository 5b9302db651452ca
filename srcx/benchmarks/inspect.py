"""Recognise one published image, and the method that made its low-resolution images."""

import hashlib
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Literal, NamedTuple

from srcx.benchmarks.manifest import KnownFile, KnownImage, known_sets, pixel_sha256
from srcx.benchmarks.shrinking import Likeness, compare
from srcx.errors import ImageError
from srcx.imaging.decode import ImageArray
from srcx.imaging.io import read_image
from srcx.imaging.resize import crop_to_multiple

__all__ = ["Finding", "Kind", "LqFinding", "Match", "inspect", "inspect_lq"]

Kind = Literal["published", "saved anew", "cut to multiples of 12", "not cut", "not published", "damaged"]
MULTIPLE = 4  # the published ground truth is cut to multiples of this


class Match(NamedTuple):
    """A published image and its set."""

    set: str
    image: KnownImage


class LqFinding(NamedTuple):
    """A low-resolution image: the published one, or its likeness to known methods, or a problem."""

    path: Path
    published: str | None = None
    like: Likeness | None = None
    problem: str | None = None


@dataclass(frozen=True)
class Finding:
    """Facts about a ground-truth image and, by scale, its low-resolution images."""

    path: Path
    kind: Kind
    match: Match | None = None
    problem: str | None = None
    lqs: dict[int, LqFinding] = field(default_factory=dict)


def inspect(gt: Path, lqs: dict[int, Path]) -> Finding:
    """Return the facts about a ground-truth image and its low-resolution images.

    Args:
        gt: Image file.
        lqs: Image file of each scale.
    """
    try:
        content = gt.read_bytes()
        image = read_image(gt)
    except OSError as error:
        return Finding(gt, "damaged", problem=f"{gt}: cannot be read: {error.strerror}")
    except ImageError as error:
        return Finding(gt, "damaged", problem=str(error))
    kind, match = _recognise(content, image)
    problem = None
    if match and match.image.hr.channels == 1 and image.ndim == 3:
        problem = f"{gt}: is a grey image saved as RGB: its PSNR on Y is higher than in the published tables"
    published = match.image.lr if match and kind in ("published", "saved anew") else None
    found = {scale: inspect_lq(lq, image, scale, published) for scale, lq in lqs.items()}
    return Finding(gt, kind, match, problem, found)


def inspect_lq(path: Path, gt: ImageArray, scale: int, published: KnownFile | None) -> LqFinding:
    """Compare a low-resolution image with the published one, otherwise with its ground truth."""
    try:
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        lq = read_image(path)
    except OSError as error:
        return LqFinding(path, problem=f"{path}: cannot be read: {error.strerror}")
    except ImageError as error:
        return LqFinding(path, problem=str(error))
    if published and sha256 == published.sha256:
        return LqFinding(path, "the published files")
    if published and pixel_sha256(lq) == published.pixels:
        return LqFinding(path, "the published images, saved anew (equal pixels)")
    try:
        return LqFinding(path, like=compare(lq, gt, scale))
    except ImageError as error:
        return LqFinding(path, problem=f"{path}: {error}")


def _recognise(content: bytes, image: ImageArray) -> tuple[Kind, Match | None]:
    known = _published()
    sha256, pixels = hashlib.sha256(content).hexdigest(), pixel_sha256(image)
    if sha256 in known.files:
        return "published", known.files[sha256]
    if pixels in known.pixels:
        return "saved anew", known.pixels[pixels]
    if pixels in known.pixels_mod12:
        return "cut to multiples of 12", known.pixels_mod12[pixels]
    match = known.pixels.get(pixel_sha256(crop_to_multiple(image, MULTIPLE)))
    return ("not cut", match) if match else ("not published", None)


class _Published(NamedTuple):
    files: dict[str, Match]
    pixels: dict[str, Match]
    pixels_mod12: dict[str, Match]


@cache
def _published() -> _Published:
    """Published images by the digests of their files, of their pixels, and of their pixels cut further."""
    matches = [Match(name, one) for name, known in known_sets().items() for one in known.images]
    return _Published(
        {match.image.hr.sha256: match for match in matches if match.image.hr.sha256},
        {match.image.hr.pixels: match for match in matches if match.image.hr.pixels},
        {match.image.hr.pixels_mod12: match for match in matches if match.image.hr.pixels_mod12},
    )

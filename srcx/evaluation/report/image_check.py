"""The report of `srcx data check`: one file with a thumbnail of each image that has a defect."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import cv2

from srcx.atomic import atomic_path
from srcx.errors import ImageError
from srcx.evaluation.report.crops import data_uri
from srcx.evaluation.report.page import template
from srcx.imaging.color import on_white
from srcx.imaging.io import read_image
from srcx.prepare.check_images import KINDS, Finding

__all__ = ["write_check"]

THUMBNAIL_PX = 192
MOST_SHOWN = 200
"""Findings of a kind that get a thumbnail; the others are listed by name."""


class _Shown(NamedTuple):
    name: str
    detail: str
    thumbnails: list[str]


class _Kind(NamedTuple):
    name: str
    meaning: str
    shown: list[_Shown]
    more: list[Finding]


def write_check(path: Path, folder: Path, images: int, found: Sequence[Finding]) -> None:
    """Write the page.

    Args:
        path: The page.
        folder: Folder that was checked.
        images: Number of images in it.
        found: Findings of `check_images`; their images are read again.

    Raises:
        OutputError: the place cannot be written.
    """
    kinds = []
    thumbnail = cache(_thumbnail)  # an image may have several defects
    for kind, meaning in KINDS.items():
        of_kind = [one for one in found if one.kind == kind]
        shown = [
            _Shown(
                str(one.path.relative_to(folder)),
                one.detail,
                [uri for image in (one.path, one.like) if image and (uri := thumbnail(image))],
            )
            for one in of_kind[:MOST_SHOWN]
        ]
        kinds.append(_Kind(kind, meaning, shown, of_kind[MOST_SHOWN:]))
    page = template("image_check.html").render(
        folder=folder, images=images, kinds=kinds, thumbnail_px=THUMBNAIL_PX
    )
    with atomic_path(path) as temporary:
        temporary.write_text(page, "utf-8", "backslashreplace")


def _thumbnail(path: Path) -> str:
    """Return the image within a square as a data: URI; nothing if it cannot be read."""
    try:
        image = on_white(read_image(path))
    except ImageError:
        return ""
    shrink = max(1.0, max(image.shape[:2]) / THUMBNAIL_PX)
    size = [max(1, round(side / shrink)) for side in image.shape[1::-1]]
    return data_uri(cv2.resize(image, size, interpolation=cv2.INTER_AREA))

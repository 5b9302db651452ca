"""Pieces of pictures to compare by eye: the busiest square of each, from every model."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from srcx.imaging.io import read_picture
from srcx.report.results import PictureResult

__all__ = ["CROP_PX", "Crop", "CropRow", "busiest_square", "crop_rows"]

Array: TypeAlias = NDArray[Any]

CROP_PX = 128
ROWS_PER_SET = 10


@dataclass(frozen=True)
class Crop:
    """One square as an image that stands in the page itself."""

    label: str
    note: str
    data_uri: str


@dataclass(frozen=True)
class CropRow:
    """The same square from the ground truth, the input and every model."""

    set: str
    picture: str
    crops: tuple[Crop, ...]


def crop_rows(root: Path, pictures: Sequence[PictureResult], metric: str) -> list[CropRow]:
    """Crops of the pictures of each set on which the models differ most.

    Args:
        root: Folder of the results.
        pictures: Every model's pictures.
        metric: The metric that tells how much they differ, and that is noted under each crop.
    """
    by_picture: dict[tuple[str, int, str], list[PictureResult]] = {}
    for one in pictures:
        by_picture.setdefault((one.set, one.scale, one.picture), []).append(one)
    rows = []
    for name, scale in dict.fromkeys((one.set, one.scale) for one in pictures):
        of_set = [group for key, group in by_picture.items() if key[:2] == (name, scale)]
        chosen = sorted(of_set, key=lambda group: -_spread(group, metric))[:ROWS_PER_SET]
        rows += [_row(root, group, metric) for group in of_set if group in chosen]
    return rows


def _spread(group: Sequence[PictureResult], metric: str) -> float:
    values = [value for one in group if (value := one.metrics[metric]) is not None]
    return max(values) - min(values) if values else 0.0


def _row(root: Path, group: Sequence[PictureResult], metric: str) -> CropRow:
    first = group[0]
    gt, lq = read_picture(Path(first.gt)), read_picture(Path(first.lq))
    top, left = busiest_square(gt)
    square = np.s_[top : top + CROP_PX, left : left + CROP_PX]
    pixels = lq.repeat(first.scale, axis=0).repeat(first.scale, axis=1)
    crops = [
        Crop("ground truth", "", data_uri(gt[square])),
        Crop("input", "as pixels", data_uri(pixels[square])),
    ]
    for one in group:
        value = one.metrics[metric]
        note = f"{metric} {value:.3f}" if value is not None else ""
        crops.append(Crop(one.model, note, data_uri(read_picture(root / one.sr)[square])))
    return CropRow(f"{first.set} x{first.scale}", first.picture, tuple(crops))


def busiest_square(picture: Array, side_px: int = CROP_PX) -> tuple[int, int]:
    """Top and left of the square with the most change from pixel to pixel.

    Example:
        >>> picture = np.zeros((300, 300), np.uint8)
        >>> picture[200:250:2, 100:150] = 255
        >>> busiest_square(picture, 100)
        (149, 50)
    """
    grey = picture[..., :3].mean(axis=2) if picture.ndim == 3 else picture.astype(np.float64)
    change = np.abs(np.diff(grey, axis=0, append=grey[-1:])) + np.abs(
        np.diff(grey, axis=1, append=grey[:, -1:])
    )
    rows, columns = (min(side_px, side) for side in grey.shape)
    total = np.pad(change.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    amount = (
        total[rows:, columns:] - total[:-rows, columns:] - total[rows:, :-columns] + total[:-rows, :-columns]
    )
    top, left = np.unravel_index(int(amount.argmax()), amount.shape)
    return int(top), int(left)


def data_uri(picture: Array) -> str:
    """A picture as a data: address, lossless; 16 bits are shown as 8."""
    if picture.dtype == np.uint16:
        picture = (picture >> 8).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture)).save(buffer, "WEBP", lossless=True)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"

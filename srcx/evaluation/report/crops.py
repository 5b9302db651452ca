"""Pieces of images to compare by eye: the busiest square of each, from every model."""

import base64
import io
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from srcx.errors import ImageError
from srcx.evaluation.report.results import ImageResult
from srcx.imaging.color import on_white
from srcx.imaging.io import read_image
from srcx.imaging.resize import imresize

__all__ = ["CROP_PX", "WIDE_CROP_PX", "Crop", "CropRow", "busiest_square", "crop_rows", "crops_of_inputs"]

Array: TypeAlias = NDArray[Any]

CROP_PX = 128
WIDE_CROP_PX = 224
"""Where there is no ground truth, blocks and noise need more of their surroundings."""
MARGIN_PX = 4
"""Pixels around a piece that bicubic reads to enlarge it as the whole image would be."""
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
    image: str
    crops: tuple[Crop, ...]
    place: str = ""
    """What kind of square it is, where there are several of an image."""


def crop_rows(root: Path, images: Sequence[ImageResult], metric: str) -> list[CropRow]:
    """Crops of the images of each set on which the models differ most.

    Args:
        root: Folder of the results.
        images: Every model's images.
        metric: The metric that tells how much they differ, and that is noted under each crop.
    """
    by_image = _by_image(images)
    rows = []
    for label in dict.fromkeys(one.label for one in images):
        of_set = [group for key, group in by_image.items() if key[0] == label]
        chosen = sorted(of_set, key=lambda group: -_spread(group, metric))[:ROWS_PER_SET]
        for group in (group for group in of_set if group in chosen):
            with suppress(ImageError):  # an image that cannot be read has its reason in the table
                rows.append(_row(root, group, metric))
    return rows


def _by_image(images: Sequence[ImageResult]) -> dict[tuple[str, str], list[ImageResult]]:
    groups: dict[tuple[str, str], list[ImageResult]] = {}
    for one in images:
        groups.setdefault((one.label, one.image), []).append(one)
    return groups


def crops_of_inputs(root: Path, images: Sequence[ImageResult], metric: str) -> list[CropRow]:
    """Return two rows for each image without ground truth: its square of most detail, and a flat one.

    The squares are chosen on the input, which is the first crop, enlarged by bicubic; where bicubic is among
    the models, its crop is enough.

    Args:
        root: Folder of the results.
        images: Every model's images.
        metric: The metric, of the whole image, that is noted under the first crop.
    """
    rows = []
    for group in _by_image(images).values():
        first = group[0]
        lq = read_image(Path(first.lq))
        outputs = [(one, _note(one, metric), read_image(root / one.sr)) for one in group]
        side = WIDE_CROP_PX // first.scale
        seen = on_white(lq)  # what alpha hides decides nothing
        for place, corner in (("most detail", busiest_square(seen, side)), ("flat", flat_square(seen, side))):
            if corner is None:
                continue
            crops = [
                Crop(
                    one.model,
                    note if place == "most detail" else "",
                    data_uri(_cut(output, corner, one.scale)),
                )
                for one, note, output in outputs
            ]
            if all(one.model != "bicubic" for one in group):
                enlarged = _enlarged(lq, corner, side, first.scale)
                crops.insert(0, Crop("input", "by bicubic", data_uri(enlarged)))
            rows.append(CropRow(first.label, first.image, tuple(crops), place))
    return rows


def _cut(output: Array, corner: tuple[int, int], scale: int) -> Array:
    top, left = (scale * at for at in corner)
    return output[top : top + WIDE_CROP_PX, left : left + WIDE_CROP_PX]


def _enlarged(lq: Array, corner: tuple[int, int], side_px: int, scale: int) -> Array:
    """Return a square of the image as bicubic enlarges it, without enlarging all of the image."""
    starts = [max(0, at - MARGIN_PX) for at in corner]
    ends = [at + side_px + MARGIN_PX for at in corner]
    piece = lq[starts[0] : ends[0], starts[1] : ends[1]]
    return _cut(imresize(piece, scale=scale), (corner[0] - starts[0], corner[1] - starts[1]), scale)


def _note(one: ImageResult, metric: str) -> str:
    value = one.metrics[metric]
    return f"{metric} {value:.3f}" if value is not None else ""


def _spread(group: Sequence[ImageResult], metric: str) -> float:
    values = [value for one in group if (value := one.metrics[metric]) is not None]
    return max(values) - min(values) if values else 0.0


def _row(root: Path, group: Sequence[ImageResult], metric: str) -> CropRow:
    first = group[0]
    assert first.gt is not None
    gt, lq = read_image(Path(first.gt)), read_image(Path(first.lq))
    top, left = busiest_square(gt)
    square = np.s_[top : top + CROP_PX, left : left + CROP_PX]
    pixels = lq.repeat(first.scale, axis=0).repeat(first.scale, axis=1)
    crops = [
        Crop("ground truth", "", data_uri(gt[square])),
        Crop("input", "as pixels", data_uri(pixels[square])),
    ]
    for one in group:
        crops.append(Crop(one.model, _note(one, metric), data_uri(read_image(root / one.sr)[square])))
    return CropRow(first.label, first.image, tuple(crops))


def busiest_square(image: Array, side_px: int = CROP_PX) -> tuple[int, int]:
    """Top and left of the square with the most change from pixel to pixel.

    Example:
        >>> image = np.zeros((300, 300), np.uint8)
        >>> image[200:250:2, 100:150] = 255
        >>> busiest_square(image, 100)
        (149, 50)
    """
    amount = _change_of_squares(image, side_px)
    top, left = np.unravel_index(int(amount.argmax()), amount.shape)
    return int(top), int(left)


def flat_square(image: Array, side_px: int) -> tuple[int, int] | None:
    """Return top and left of a square with little change, clear of the busiest; None where there is no room.

    Of the squares that are not of one colour, nine tenths change more: in them noise and blocks are seen.

    Example:
        >>> image = np.random.default_rng(0).integers(100, 104, (300, 300), np.uint8)
        >>> image[:, 150:] *= 2
        >>> flat_square(image, 100)[1] < 50
        True
    """
    amount = _change_of_squares(image, side_px)
    busy = busiest_square(image, side_px)
    free = np.ones(amount.shape, bool)
    rows, columns = (slice(max(0, at - side_px + 1), at + side_px) for at in busy)
    free[rows, columns] = False
    if not free.any():
        return None
    seen = free & (amount > side_px**2 / 100)
    wanted = np.quantile(amount[seen if seen.any() else free], 0.1)
    away = np.where(seen if seen.any() else free, np.abs(amount - wanted), np.inf)
    top, left = np.unravel_index(int(away.argmin()), amount.shape)
    return int(top), int(left)


def _change_of_squares(image: Array, side_px: int) -> Array:
    """Return the change from pixel to pixel, summed over the square at each top and left."""
    levels = image / 257 if image.dtype == np.uint16 else image
    grey = levels[..., :3].mean(axis=2) if image.ndim == 3 else levels.astype(np.float64)
    change = np.abs(np.diff(grey, axis=0, append=grey[-1:])) + np.abs(
        np.diff(grey, axis=1, append=grey[:, -1:])
    )
    rows, columns = (min(side_px, side) for side in grey.shape)
    total = np.pad(change.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    return (
        total[rows:, columns:] - total[:-rows, columns:] - total[rows:, :-columns] + total[:-rows, :-columns]
    )


def data_uri(image: Array) -> str:
    """An image as a data: address, lossless; 16 bits are shown as 8."""
    if image.dtype == np.uint16:
        image = (image >> 8).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(buffer, "WEBP", lossless=True)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"

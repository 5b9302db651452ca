"""Crops of images to compare by eye: the square of most detail of each image, from every model."""

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

CROP_PX = 192
WIDE_CROP_PX = 224
"""For images without ground truth: blocks and noise are compared with more of their surroundings."""
MARGIN_PX = 4
"""Pixels around a crop that bicubic needs to upscale the crop exactly as the whole image."""
ROWS_PER_SET = 10


@dataclass(frozen=True)
class Crop:
    """One square, as an image inside the page."""

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
    """Kind of square, where there are several of an image."""


def crop_rows(root: Path, images: Sequence[ImageResult], metric: str) -> list[CropRow]:
    """Return crops of the images of each set on which the models differ most.

    Args:
        root: Folder of the results.
        images: Every model's images.
        metric: The metric that measures the difference, and whose value is under each crop.
    """
    by_image = _by_image(images)

    def spread(group: Sequence[ImageResult]) -> float:
        values = [value for one in group if (value := one.metrics[metric]) is not None]
        return max(values) - min(values) if values else 0.0

    rows = []
    for label in dict.fromkeys(one.label for one in images):
        of_set = [group for key, group in by_image.items() if key[0] == label]
        chosen = sorted(of_set, key=spread, reverse=True)[:ROWS_PER_SET]
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

    The squares are chosen on the input. The input, upscaled by bicubic, is the first crop, unless bicubic is
    one of the models.

    Args:
        root: Folder of the results.
        images: Every model's images.
        metric: The metric of the whole image whose value is under the first crop.
    """
    rows = []
    for group in _by_image(images).values():
        first = group[0]
        try:
            lq = read_image(Path(first.lq))
            outputs = [(one, _note(one, metric), read_image(root / one.sr)) for one in group]
        except ImageError:  # it has its reason in results.json
            continue
        side = WIDE_CROP_PX // first.scale
        visible = on_white(lq)  # pixels that alpha hides do not count
        for place, corner in (
            ("most detail", busiest_square(visible, side)),
            ("flat", flat_square(visible, side)),
        ):
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
                upscaled = _upscaled(lq, corner, side, first.scale)
                crops.insert(0, Crop("input", "by bicubic", data_uri(upscaled)))
            rows.append(CropRow(first.label, first.image, tuple(crops), place))
    return rows


def _cut(output: Array, corner: tuple[int, int], scale: int) -> Array:
    top, left = (scale * at for at in corner)
    return output[top : top + WIDE_CROP_PX, left : left + WIDE_CROP_PX]


def _upscaled(lq: Array, corner: tuple[int, int], side_px: int, scale: int) -> Array:
    """Return a square of the image upscaled by bicubic, without upscaling the whole image."""
    starts = [max(0, at - MARGIN_PX) for at in corner]
    ends = [at + side_px + MARGIN_PX for at in corner]
    piece = lq[starts[0] : ends[0], starts[1] : ends[1]]
    return _cut(imresize(piece, scale=scale), (corner[0] - starts[0], corner[1] - starts[1]), scale)


def _note(one: ImageResult, metric: str) -> str:
    value = one.metrics[metric]
    return f"{metric} {value:.3f}" if value is not None else ""


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
    """Return top and left of the square with the most change from pixel to pixel.

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
    """Return top and left of a flat square that does not overlap the busiest one; None if there is none.

    Of the squares that are not of one colour, nine tenths change more from pixel to pixel. Noise and blocks
    are visible in it.

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
    textured = free & (amount > side_px**2 / 100)
    allowed = textured if textured.any() else free
    wanted = np.quantile(amount[allowed], 0.1)
    away = np.where(allowed, np.abs(amount - wanted), np.inf)
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
    """Return an image as a data: URI, lossless; 16 bits become 8."""
    if image.dtype == np.uint16:
        image = (image >> 8).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(buffer, "WEBP", lossless=True)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"

"""Pairs that do not line up, for nonaligned.py: where they come from, how gt is moved, and crops of them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from _page import Bytes
from numpy.random import Generator, default_rng
from numpy.typing import NDArray
from skimage import data as scikit
from torch import Tensor

from srcx.errors import DataError
from srcx.imaging import imresize, list_images, read_image, rgb_to_grey, to_rgb, to_tensor
from srcx.imaging.color import rgb_to_y
from srcx.prepare.shifts import Floats, block_shifts

GT_PX, BATCH = 96, 2
MARGIN_PX = 24
"""Kept free around a crop of gt, so that no target shows what is outside of the image."""
SHOWN_PX = 128
IMAGES, IMAGE_PX = 40, 512
"""Photographs to train on, and the side of the square that is read of each."""
LARGEST_ANGLE, LARGEST_ZOOM = 3.0, 0.04
"""In degrees; as a share of the size."""
NOISE_SIGMA = 25.0
"""Of 255."""
BLOCK_PX = 48
"""Side of the blocks whose shifts `srcx data align` measures, in pixels of lq."""

Pair = tuple[Bytes, Bytes]
"""lq and gt."""
Motion = Callable[[Generator], Floats]
"""Draws how far right and down gt's content lies, (GT_PX, GT_PX, 2), in gt pixels."""


class Data(NamedTuple):
    """Images to train on and aligned crops to evaluate on; gt is `scale` times as large as lq."""

    scale: int
    train: Sequence[Pair]
    held_out: Sequence[Pair]


@dataclass(frozen=True)
class Folders:
    """Where images are read."""

    photographs: Path
    held_out: Path
    real: Path
    """Holds lq and gt of real pairs, as `srcx data align --write` makes them."""
    real_held_out: Path


@dataclass(frozen=True)
class Case:
    """Pairs with one kind of motion."""

    words: str
    data: Callable[[Folders], Data]
    motion: Callable[[Folders], Motion]


@cache
def photographs(folders: Folders) -> Data:
    """Return squares of photographs, and of each held-out image the crop with the most detail."""
    paths = list_images(folders.photographs, recursive=True)
    some = paths[:: max(len(paths) // IMAGES, 1)][:IMAGES]
    train = [_shrunk(_middle(_read(path))) for path in some]
    others = list_images(folders.held_out)[::2][:8]
    return Data(4, train, [crop for path in others for crop in _busiest(_shrunk(_read(path)), 1, 4)])


@cache
def real_pairs(folders: Folders) -> Data:
    """Return aligned real pairs of one size."""
    train, held_out = (
        [(_read(folder / "lq" / gt.name), _read(gt)) for gt in list_images(folder / "gt")]
        for folder in (folders.real, folders.real_held_out)
    )
    return Data(1, train, [crop for pair in held_out for crop in _busiest(pair, 4, 1)])


def noisy_image(_: Folders) -> Data:
    """Return one image and itself with noise: the experiment of Figure 6 of arXiv:1803.02077."""
    pair = noisy_pair()
    return Data(1, [pair], _busiest(pair, 8, 1))


def picture(name: str) -> Bytes:
    """Return an image of scikit-image."""
    return np.asarray(getattr(scikit, name)(), np.uint8)


@cache
def noisy_pair() -> Pair:
    """Return scikit-image's astronaut with noise, and without."""
    clean = picture("astronaut")
    noise = default_rng(0).normal(0, NOISE_SIGMA, clean.shape)
    return np.clip(np.round(clean + noise), 0, 255).astype(np.uint8), clean


def offset(rng: Generator, *, most: int) -> Floats:
    """Whole pixels, right and down alike, every offset up to `most` being as likely as any other."""
    return np.full((GT_PX, GT_PX, 2), rng.integers(-most, most + 1, 2), np.float32)


def rotation(rng: Generator) -> Floats:
    """A turn about the middle of the crop."""
    angle = np.radians(rng.uniform(-LARGEST_ANGLE, LARGEST_ANGLE))
    return _linear(np.array([[np.cos(angle) - 1, -np.sin(angle)], [np.sin(angle), np.cos(angle) - 1]]))


def zoom(rng: Generator) -> Floats:
    """Another size, about the middle of the crop."""
    return _linear(rng.uniform(-LARGEST_ZOOM, LARGEST_ZOOM) * np.eye(2))


def warp(rng: Generator, *, fields: Sequence[Floats], scale: int) -> Floats:
    """A piece of a field that real pairs have, which shifts in lq pixels were measured for."""
    field = fields[int(rng.integers(len(fields)))]
    side = GT_PX // scale
    top, left = (rng.integers(length - side + 1) for length in field.shape[:2])
    piece = cv2.resize(field[top : top + side, left : left + side], (GT_PX, GT_PX))
    return np.asarray(piece * scale, np.float32)


@cache
def measured_fields(folders: Folders) -> list[Floats]:
    """Return the shifts that the alignment of the real pairs left, dense, in pixels of lq.

    Blocks are measured as `srcx data align` does. A block that cannot be measured gets the mean of its image.
    """
    fields = []
    for lq, gt in real_pairs(folders).train:
        _, shifts = block_shifts(*(rgb_to_grey(image).astype(np.float32) for image in (lq, gt)))
        rows, columns = (side // BLOCK_PX for side in lq.shape[:2])
        known = np.where(np.isfinite(shifts), shifts, np.nanmean(shifts, axis=0))
        grid = known.reshape(rows, columns, 2)
        dense = cv2.resize(grid, (columns * BLOCK_PX, rows * BLOCK_PX), interpolation=cv2.INTER_CUBIC)
        fields.append(np.asarray(dense, np.float32))
    return fields


def _offsets(_: Folders, *, most: int) -> Motion:
    return partial(offset, most=most)


CASES = {
    **{
        f"offset {most}": Case(
            f"gt moved by whole pixels, up to {most} right and down" if most else "aligned pairs",
            photographs,
            partial(_offsets, most=most),
        )
        for most in (0, 2, 4, 8)
    },
    "rotation": Case(
        f"gt turned by up to {LARGEST_ANGLE:g} degrees about the middle of the crop",
        photographs,
        lambda _: rotation,
    ),
    "scale": Case(
        f"gt larger or smaller by up to {100 * LARGEST_ZOOM:g} %, about the middle of the crop",
        photographs,
        lambda _: zoom,
    ),
    "warp": Case(
        "gt warped by pieces of the fields of shifts that `srcx data align` measures on the real pairs, "
        "times 4",
        photographs,
        lambda folders: partial(warp, fields=measured_fields(folders), scale=4),
    ),
    "real": Case(
        "real pairs of a short and a long focal length, of one size, as `srcx data align` leaves them",
        real_pairs,
        partial(_offsets, most=0),
    ),
    "denoise": Case(
        f"one image with noise (sigma {NOISE_SIGMA:g} of 255), its clean crops moved by up to 4 pixels: "
        "Figure 6 of arXiv:1803.02077, evaluated on that image; the start is trained on it without offsets, "
        "so the question is which loss keeps it clean and sharp",
        noisy_image,
        partial(_offsets, most=4),
    ),
}


def batches(data: Data, motion: Motion, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Draw batches of lq and moved gt without end, the same for the same seed."""
    rng = default_rng(seed)
    while True:
        crops = [moved_crop(data, motion, rng) for _ in range(BATCH)]
        lq, gt = (torch.cat([to_tensor(one) for one in side]) for side in zip(*crops, strict=True))
        yield lq, gt


def moved_crop(data: Data, motion: Motion, rng: Generator) -> Pair:
    """Draw a crop of lq and of moved gt, both flipped alike.

    Raises:
        DataError: an image is too small.
    """
    lq, gt = data.train[int(rng.integers(len(data.train)))]
    side, margin = GT_PX // data.scale, MARGIN_PX // data.scale
    if min(lq.shape[:2]) < side + 2 * margin:
        raise DataError(f"expected images of at least {GT_PX + 2 * MARGIN_PX} gt pixels; got {gt.shape}")
    top, left = (int(rng.integers(margin, length - side - margin + 1)) for length in lq.shape[:2])
    rows, columns = np.mgrid[:GT_PX, :GT_PX]
    right, down = np.moveaxis(motion(rng), 2, 0)
    target = cv2.remap(
        gt,
        (columns + left * data.scale + right).astype(np.float32),
        (rows + top * data.scale + down).astype(np.float32),
        cv2.INTER_CUBIC,
    )
    turns, mirrored = int(rng.integers(4)), int(rng.integers(2))
    crop, moved = (
        np.rot90(one[:, ::-1] if mirrored else one, turns)
        for one in (lq[top : top + side, left : left + side], np.asarray(target, np.uint8))
    )
    return crop, moved


def gradient_energy(image: Bytes) -> float:
    """Return the mean squared difference of neighbours in Y."""
    y = rgb_to_y(image).astype(np.float64)
    return float((np.diff(y, axis=0) ** 2).mean() + (np.diff(y, axis=1) ** 2).mean())


def _linear(matrix: NDArray[np.float64]) -> Floats:
    from_middle = np.arange(GT_PX) - (GT_PX - 1) / 2
    places = np.stack(np.meshgrid(from_middle, from_middle), axis=2)
    return np.asarray(places @ matrix.T, np.float32)


def _read(path: Path) -> Bytes:
    return to_rgb(read_image(path))


def _middle(image: Bytes) -> Bytes:
    top, left = ((side - min(side, IMAGE_PX)) // 2 for side in image.shape[:2])
    return image[top : top + IMAGE_PX, left : left + IMAGE_PX]


def _shrunk(image: Bytes) -> Pair:
    """Return lq by MATLAB's bicubic, and the image cut to multiples of 4."""
    height, width = (side // 4 * 4 for side in image.shape[:2])
    gt = np.ascontiguousarray(image[:height, :width])
    return np.asarray(imresize(gt, scale=0.25), np.uint8), gt


def _busiest(pair: Pair, count: int, scale: int) -> list[Pair]:
    """Return the crops of a pair whose gt has the most gradient energy."""
    lq, gt = pair
    height, width = gt.shape[:2]
    crops = [
        (
            lq[top // scale : (top + SHOWN_PX) // scale, left // scale : (left + SHOWN_PX) // scale],
            gt[top : top + SHOWN_PX, left : left + SHOWN_PX],
        )
        for top in range(0, height - SHOWN_PX + 1, SHOWN_PX)
        for left in range(0, width - SHOWN_PX + 1, SHOWN_PX)
    ]
    return sorted(crops, key=lambda crop: -gradient_energy(crop[1]))[:count]

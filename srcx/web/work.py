"""What the page does with the pictures it is given; knows nothing of browsers."""

import tempfile
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import count
from pathlib import Path
from typing import NamedTuple

import numpy as np

from srcx.errors import SrcxError, UsageError
from srcx.imaging import Picture, imresize, picture_size, read_with_extras, write_picture
from srcx.inference import Upscaler, load_model

__all__ = ["MOST_MEGAPIXELS", "MOST_PICTURES", "Shown", "enlarge"]

MOST_PICTURES = 10
MOST_MEGAPIXELS = 8
"""Of a picture that is uploaded: on a processor one such takes minutes."""
PREVIEW_PX = 1600

Tell = Callable[[int, int, str], None]
"""Told how many steps are done, of how many, and what comes next."""


class Shown(NamedTuple):
    """A picture upscaled twice."""

    name: str
    before: Picture
    """By the other model: uint8 RGB, at most `PREVIEW_PX` a side."""
    after: Picture
    """By the model, likewise."""
    file: Path
    """The whole result of the model."""
    size: tuple[int, int]
    """Its width and height."""


def enlarge(
    paths: Sequence[Path], model: str, other: str, folder: Path, tell: Tell = lambda *_: None
) -> list[Shown]:
    """Upscale pictures by a model, and to the same size by another to compare with.

    Args:
        paths: At most `MOST_PICTURES` files of at most `MOST_MEGAPIXELS`.
        model: What `load_model` takes.
        other: Likewise; its results are resampled where its factor is another.
        folder: Where the results go, each in a folder of its own.
        tell: Called before each step.

    Returns:
        One for each picture.

    Raises:
        UsageError: there are too many pictures, or none, or one is too large.
        SrcxError: one cannot be read or upscaled; files are called by their names alone.
    """
    if not 0 < len(paths) <= MOST_PICTURES:
        raise UsageError(f"from 1 to {MOST_PICTURES} pictures at a time; got {len(paths)}")
    try:
        for path in paths:
            _check_size(path)
        ours = _upscaler(model)
        theirs = _upscaler(other, ours.scale)
        steps, shown = count(), []
        for path in paths:
            file = Path(tempfile.mkdtemp(dir=folder)) / f"{path.stem}-{ours.model.name}.png"
            shown.append(
                _shown(path, file, ours, theirs, lambda what: tell(next(steps), 2 * len(paths), what))
            )
        return shown
    except SrcxError as error:
        text = str(error)
        for path in paths:
            text = text.replace(str(path), path.name)
        raise UsageError(text) from error


def _shown(path: Path, file: Path, ours: Upscaler, theirs: Upscaler, tell: Callable[[str], None]) -> Shown:
    picture, extras = read_with_extras(path)
    tell(f"{path.name}: {theirs.model.name}")
    before = theirs(picture)
    tell(f"{path.name}: {ours.model.name}")
    after = ours(picture)
    write_picture(file, after, extras=extras)
    return Shown(path.name, _preview(before), _preview(after), file, (after.shape[1], after.shape[0]))


@lru_cache(maxsize=8)
def _upscaler(model: str, scale: float | None = None) -> Upscaler:
    return load_model(model, scale=scale)


def _check_size(path: Path) -> None:
    height, width = picture_size(path)
    if height * width > MOST_MEGAPIXELS * 1_000_000:
        raise UsageError(
            f"{path.name}: has {width} x {height} pixels, and this page takes {MOST_MEGAPIXELS} megapixels; "
            "'srcx upscale' takes more"
        )


def _preview(picture: Picture) -> Picture:
    """8 bits, RGB on white, not too large to be sent."""
    shrink = min(PREVIEW_PX / max(picture.shape[:2]), 1.0)
    size = (max(round(shrink * picture.shape[0]), 1), max(round(shrink * picture.shape[1]), 1))
    small = picture if shrink == 1.0 else imresize(picture, size=size)
    small = small if small.dtype == np.uint8 else (small >> 8).astype(np.uint8)
    if small.ndim == 2:
        return np.dstack([small] * 3)
    if small.shape[2] == 3:
        return small
    alpha = small[..., 3:] / np.float32(255)
    return np.asarray(small[..., :3] * alpha + 255 * (1 - alpha) + 0.5, np.uint8)

"""What the page does with the pictures it is given; knows nothing of browsers."""

import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import count
from pathlib import Path
from typing import NamedTuple

import numpy as np

from srcx.errors import SrcxError, UsageError
from srcx.imaging import Picture, imresize, picture_size, read_with_extras, write_picture
from srcx.inference import Upscaler, load_model

__all__ = ["MOST_MEGAPIXELS", "MOST_PICTURES", "Shown", "enlarge", "forget_older"]

MOST_PICTURES = 10
MOST_MEGAPIXELS = 8
"""Of a picture that is uploaded: on a processor one such takes minutes."""
MOST_S = 1800
"""For all pictures of one visitor, who keeps the others waiting; looked at before each is upscaled."""
PREVIEW_PX = 1600

Tell = Callable[[int, int, str], None]
"""Told how many steps are done, of how many, and what comes next."""


class Shown(NamedTuple):
    """A picture upscaled twice; the page keeps one for each visitor, so that all pixels are in files."""

    name: str
    before: Path
    """By the other model: a PNG, 8 bits, RGB, at most `PREVIEW_PX` a side."""
    after: Path
    """By the model, likewise."""
    file: Path
    """The whole result of the model."""
    size: tuple[int, int]
    """Its width and height."""
    model: str
    """Name of the model."""
    reason: str
    """Why the automatic choice took it, in a short phrase; empty where the visitor named it."""


def enlarge(
    paths: Sequence[Path],
    model: str,
    other: str,
    folder: Path,
    tell: Tell = lambda *_: None,
    *,
    fidelity: float = 0.0,
) -> list[Shown]:
    """Upscale pictures by a model, and to the same size by another to compare with.

    Args:
        paths: At most `MOST_PICTURES` files of at most `MOST_MEGAPIXELS`.
        model: What `load_model` takes.
        other: Likewise; its results are resampled where its factor is another.
        folder: Where the results go, each in a folder of its own.
        tell: Called before each step.
        fidelity: Of `model`, as `load_model` takes it.

    Returns:
        One for each picture.

    Raises:
        UsageError: there are too many pictures, or none, or one is too large, or they take too long.
        SrcxError: one cannot be read or upscaled; files are called by their names alone.
    """
    if not 0 < len(paths) <= MOST_PICTURES:
        raise UsageError(f"from 1 to {MOST_PICTURES} pictures at a time; got {len(paths)}")
    try:
        for path in paths:
            _check_size(path)
        ours = _upscaler(model, fidelity=fidelity)
        theirs = _upscaler(other, ours.scale)
        steps, end_s = count(), time.monotonic() + MOST_S
        shown: list[Shown] = []

        def begin(what: str) -> None:
            if time.monotonic() > end_s:
                raise UsageError(
                    f"{len(shown)} of {len(paths)} pictures were done in {MOST_S / 60:g} minutes, and this "
                    "page gives no more; take fewer or smaller ones, or 'srcx upscale'"
                )
            tell(next(steps), 2 * len(paths), what)

        for path in paths:
            shown.append(_shown(path, Path(tempfile.mkdtemp(dir=folder)), ours, theirs, begin))
        return shown
    except SrcxError as error:
        text = str(error)
        for path in paths:
            text = text.replace(str(path), path.name)
        raise UsageError(text) from error


def _shown(path: Path, folder: Path, ours: Upscaler, theirs: Upscaler, begin: Callable[[str], None]) -> Shown:
    picture, extras = read_with_extras(path)
    (chosen, reason), other = ours.choose(picture, path), theirs.choose(picture, path).upscaler
    before, after = folder / "before.png", folder / "after.png"
    begin(f"{path.name}: {other.model.name}")
    write_picture(before, _preview(other(picture)))
    begin(f"{path.name}: {chosen.model.name}")
    result = chosen(picture)
    write_picture(after, _preview(result))
    file = folder / f"{path.stem}-{chosen.model.name}.png"
    write_picture(file, result, extras=extras)
    size = (result.shape[1], result.shape[0])
    return Shown(path.name, before, after, file, size, chosen.model.name, reason)


def forget_older(folder: Path, than_s: float) -> None:
    """Remove results that `enlarge` put into `folder` more than so many seconds ago."""
    for results in folder.iterdir():
        if time.time() - results.stat().st_mtime > than_s:
            shutil.rmtree(results)


@lru_cache(maxsize=8)
def _upscaler(model: str, scale: float | None = None, fidelity: float = 0.0) -> Upscaler:
    return load_model(model, scale=scale, fidelity=fidelity)


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

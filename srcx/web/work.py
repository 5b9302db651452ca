"""What the page does with the images it is given; knows nothing of browsers."""

import glob
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import count
from pathlib import Path
from typing import NamedTuple

import numpy as np

from srcx.atomic import make_folder
from srcx.errors import SrcxError, UsageError
from srcx.imaging import ImageArray, image_size, imresize, read_with_extras, write_image
from srcx.inference import Upscaler, load_model

__all__ = ["MOST_IMAGES", "MOST_MEGAPIXELS", "Shown", "enlarge", "forget_older"]

MOST_IMAGES = 10
MOST_MEGAPIXELS = 8
"""Of an image that is uploaded: on a processor one such takes minutes."""
MOST_S = 1800
"""For all images of one visitor, who keeps the others waiting; looked at before each is upscaled."""
PREVIEW_PX = 1600

Tell = Callable[[int, int, str], None]
"""Told how many steps are done, of how many, and what comes next."""


class Shown(NamedTuple):
    """An image upscaled twice; the page keeps one for each visitor, so that all pixels are in files."""

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
    other: str
    """Name of the model it is compared with."""
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
    """Upscale images by a model, and to the same size by another to compare with.

    Args:
        paths: At most `MOST_IMAGES` files of at most `MOST_MEGAPIXELS`.
        model: What `load_model` takes.
        other: Likewise; its results are resampled where its factor is another.
        folder: Where the results go, each in a folder of its own.
        tell: Called before each step.
        fidelity: Of `model`, as `load_model` takes it.

    Returns:
        One for each image.

    Raises:
        UsageError: there are too many images, or none, or one is too large, or they take too long.
        SrcxError: one cannot be read or upscaled; files are called by their names alone.
    """
    if not paths:
        raise UsageError("choose an image first")
    if len(paths) > MOST_IMAGES:
        raise UsageError(f"from 1 to {MOST_IMAGES} images at a time; got {len(paths)}")
    try:
        for path in paths:
            _check_size(path)
        make_folder(folder)  # a cleaner of temporary folders may have removed it
        ours = _upscaler(model, _files_of(model), fidelity=fidelity)
        theirs = _upscaler(other, _files_of(other), ours.scale)
        steps, end_s = count(), time.monotonic() + MOST_S
        shown: list[Shown] = []

        def begin(what: str) -> None:
            if time.monotonic() > end_s:
                raise UsageError(
                    f"{len(shown)} of {len(paths)} images were done in {MOST_S / 60:g} minutes, and this "
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
    image, extras = read_with_extras(path)
    (chosen, reason), other = ours.choose(image, path), theirs.choose(image, path).upscaler
    before, after = folder / "before.png", folder / "after.png"
    begin(f"{path.name}: {other.model.name}")
    write_image(before, _preview(other(image)))
    begin(f"{path.name}: {chosen.model.name}")
    result = chosen(image)
    write_image(after, _preview(result))
    file = folder / f"{path.stem}-{chosen.model.name}.png"
    write_image(file, result, extras=extras)
    size = (result.shape[1], result.shape[0])
    return Shown(path.name, before, after, file, size, chosen.model.name, other.model.name, reason)


def forget_older(folder: Path, than_s: float) -> None:
    """Remove results that `enlarge` put into `folder` more than so many seconds ago."""
    for results in folder.iterdir() if folder.is_dir() else ():
        if time.time() - results.stat().st_mtime > than_s:
            shutil.rmtree(results)


FilesOf = tuple[tuple[str, int, int], ...]


@lru_cache(maxsize=8)
def _upscaler(model: str, files: FilesOf, scale: float | None = None, fidelity: float = 0.0) -> Upscaler:
    """Load a model, or return the one that was loaded of the same files."""
    return load_model(model, scale=scale, fidelity=fidelity)


def _files_of(model: str) -> FilesOf:
    """Return name, time and size of a checkpoint and of what lies beside it, which a training may replace."""
    path = Path(model)
    beside = sorted(path.parent.glob(f"{glob.escape(path.stem)}.*")) if path.is_file() else []
    return tuple((one.name, (stat := one.stat()).st_mtime_ns, stat.st_size) for one in beside)


def _check_size(path: Path) -> None:
    height, width = image_size(path)
    if height * width > MOST_MEGAPIXELS * 1_000_000:
        raise UsageError(
            f"{path.name}: has {width} x {height} pixels, and this page takes {MOST_MEGAPIXELS} megapixels; "
            "'srcx upscale' takes more"
        )


def _preview(image: ImageArray) -> ImageArray:
    """8 bits, RGB on white, not too large to be sent."""
    shrink = min(PREVIEW_PX / max(image.shape[:2]), 1.0)
    size = (max(round(shrink * image.shape[0]), 1), max(round(shrink * image.shape[1]), 1))
    small = image if shrink == 1.0 else imresize(image, size=size)
    small = small if small.dtype == np.uint8 else (small >> 8).astype(np.uint8)
    if small.ndim == 2:
        return np.dstack([small] * 3)
    if small.shape[2] == 3:
        return small
    alpha = small[..., 3:] / np.float32(255)
    return np.asarray(small[..., :3] * alpha + 255 * (1 - alpha) + 0.5, np.uint8)

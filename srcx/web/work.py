"""The work behind the page: images upscaled by two models. No gradio here."""

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
from srcx.progress import OnProgress

__all__ = ["MAX_IMAGES", "MAX_MEGAPIXELS", "Comparison", "compare", "remove_older"]

MAX_IMAGES = 10
MAX_MEGAPIXELS = 8
"""Of one upload, which takes minutes on a CPU."""
MAX_S = 1800
"""For all images of one visitor, since the others wait; checked before each image is upscaled."""
PREVIEW_PX = 1600


class Comparison(NamedTuple):
    """An image upscaled by two models. The page holds one per visitor, so all pixels are in files."""

    name: str
    before: Path
    """The result of the other model: a PNG, 8 bits, RGB, at most `PREVIEW_PX` a side."""
    after: Path
    """The result of the model, likewise."""
    file: Path
    """The result of the model in full size, with its bits and alpha."""
    size: tuple[int, int]
    """Its width and height."""
    model: str
    """Name of the model."""
    other: str
    """Name of the model it is compared with."""
    reason: str
    """Why "auto" chose this model, in a short phrase; empty where the visitor named it."""


def compare(
    paths: Sequence[Path],
    model: str,
    other: str,
    folder: Path,
    on_progress: OnProgress = lambda *_: None,
    *,
    fidelity: float = 0.0,
) -> list[Comparison]:
    """Upscale images by a model, and to the same size by another model to compare with.

    Args:
        paths: At most `MAX_IMAGES` files of at most `MAX_MEGAPIXELS`.
        model: As for `load_model`.
        other: Likewise; its results are resampled where its scale is another.
        folder: Folder of the results, each in a folder of its own.
        on_progress: Called before each step.
        fidelity: Of `model`, as `load_model` takes it.

    Returns:
        One for each image.

    Raises:
        UsageError: there are too many images or none, or they take too long, or one is too large or cannot
            be read or upscaled; the message has the names of files without their folders.
    """
    if not paths:
        raise UsageError("choose an image first")
    if len(paths) > MAX_IMAGES:
        raise UsageError(f"from 1 to {MAX_IMAGES} images at a time; got {len(paths)}")
    try:
        for path in paths:
            _check_size(path)
        make_folder(folder)  # a cleaner of temporary folders may have removed it
        ours = _upscaler(model, _files_of(model), fidelity=fidelity)
        theirs = _upscaler(other, _files_of(other), ours.scale)
        steps, end_s = count(), time.monotonic() + MAX_S
        results: list[Comparison] = []

        def begin(what: str) -> None:
            if time.monotonic() > end_s:
                raise UsageError(
                    f"{len(results)} of {len(paths)} images were done in {MAX_S / 60:g} minutes, the limit "
                    "of this page; take fewer or smaller ones, or 'srcx upscale'"
                )
            on_progress(what, next(steps), 2 * len(paths))

        for path in paths:
            results.append(_compare_one(path, Path(tempfile.mkdtemp(dir=folder)), ours, theirs, begin))
        return results
    except SrcxError as error:
        text = str(error)
        for path in paths:
            text = text.replace(str(path), path.name)
        raise UsageError(text) from error


def _compare_one(
    path: Path, folder: Path, ours: Upscaler, theirs: Upscaler, begin: Callable[[str], None]
) -> Comparison:
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
    return Comparison(path.name, before, after, file, size, chosen.model.name, other.model.name, reason)


def remove_older(folder: Path, than_s: float) -> None:
    """Delete results that `compare` wrote into `folder` more than `than_s` seconds ago."""
    for results in folder.iterdir() if folder.is_dir() else ():
        if time.time() - results.stat().st_mtime > than_s:
            shutil.rmtree(results)


FilesOf = tuple[tuple[str, int, int], ...]


@lru_cache(maxsize=8)
def _upscaler(model: str, files: FilesOf, scale: float | None = None, fidelity: float = 0.0) -> Upscaler:
    """Load a model; `files` is part of the cache key, so that a replaced checkpoint is loaded again."""
    return load_model(model, scale=scale, fidelity=fidelity)


def _files_of(model: str) -> FilesOf:
    """Return name, time and size of a checkpoint and of the files beside it, which a training may replace."""
    path = Path(model)
    beside = sorted(path.parent.glob(f"{glob.escape(path.stem)}.*")) if path.is_file() else []
    return tuple((one.name, (stat := one.stat()).st_mtime_ns, stat.st_size) for one in beside)


def _check_size(path: Path) -> None:
    height, width = image_size(path)
    if height * width > MAX_MEGAPIXELS * 1_000_000:
        raise UsageError(
            f"{path.name}: has {width} x {height} pixels, and this page takes {MAX_MEGAPIXELS} megapixels; "
            "'srcx upscale' takes more"
        )


def _preview(image: ImageArray) -> ImageArray:
    """Return the image in 8 bits, RGB on white, at most `PREVIEW_PX` a side."""
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

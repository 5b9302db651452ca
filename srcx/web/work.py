"""The work behind the page: images upscaled by two models. No gradio here."""

import glob
import shutil
import tempfile
import time
import zipfile
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from srcx.atomic import make_folder, writing
from srcx.errors import ImageError, SrcxError, UsageError
from srcx.imaging import ImageArray, image_size, imresize, read_with_extras, write_image
from srcx.inference import Upscaler, load_model
from srcx.progress import OnProgress, no_progress

__all__ = ["MAX_IMAGES", "MAX_MEGAPIXELS", "Comparison", "compare", "remove_older", "zip_of"]

MAX_IMAGES = 10
MAX_MEGAPIXELS = 200
"""Of one result: a photograph of 12 megapixels at x4, for which two results take 1.2 GB of memory."""
MAX_S = 3 * 3600
"""For all images of one visitor, since the others wait."""
PREVIEW_PX = 1600


class Comparison(NamedTuple):
    """An image upscaled by two models. The page holds one per visitor, so all pixels are in files."""

    name: str
    before: Path
    """The result of the other model: a PNG, 8 bits, RGB, at most `PREVIEW_PX` a side."""
    after: Path
    """The result of the model, likewise."""
    before_file: Path
    """The result of the other model in full size, with its bits and alpha."""
    file: Path
    """The result of the model, likewise."""
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
    on_progress: OnProgress = no_progress,
    *,
    scale: float | None = None,
    fidelity: float = 0.0,
) -> Iterator[Comparison]:
    """Upscale images by a model, and to the same size by another model to compare with.

    Args:
        paths: At most `MAX_IMAGES` files, whose results have at most `MAX_MEGAPIXELS`.
        model: As for `load_model`.
        other: Likewise; its results are resampled where its scale is another.
        folder: Folder of the results, each in a folder of its own.
        on_progress: Called when a model starts on an image, with 0 of 1, and after each tile, with the tiles
            of this image by this model. An error that it raises ends the work.
        scale: Factor of the results; None is that of `model`.
        fidelity: Of `model`, as `load_model` takes it.

    Yields:
        One for each image, as soon as it is done.

    Raises:
        UsageError: there are too many images or none, or they take too long. Or images are too large or
            cannot be read; then this comes after all others are done. The message has the names of files
            without their folders.
    """
    if not paths:
        raise UsageError("choose an image first")
    if len(paths) > MAX_IMAGES:
        raise UsageError(f"from 1 to {MAX_IMAGES} images at a time; got {len(paths)}")
    end_s = time.monotonic() + MAX_S

    def within_time(what: str, done: int, total: int) -> None:
        if time.monotonic() > end_s:
            raise UsageError(
                f"the limit of this page, {MAX_S / 60:g} minutes, is reached; take fewer or smaller images, "
                "or 'srcx upscale'"
            )
        on_progress(what, done, total)

    bad = []
    try:
        make_folder(folder)  # a cleaner of temporary folders may have removed it
        ours = _upscaler(model, _files_of(model), scale, fidelity)
        theirs = _upscaler(other, _files_of(other), ours.scale)
        for number, path in enumerate(paths, start=1):
            label = path.name if len(paths) == 1 else f"{number} of {len(paths)}: {path.name}"
            try:
                _check_size(path, image_size(path), ours.scale)
                made = _compare_one(path, _own_folder(folder), ours, theirs, label, within_time)
            except ImageError as error:
                bad.append(str(error))
            else:
                yield made
        if bad:
            raise UsageError("; ".join(bad))
    except SrcxError as error:
        text = str(error)
        for path in paths:
            text = text.replace(str(path), path.name)
        raise UsageError(text) from error


def _compare_one(
    path: Path, folder: Path, ours: Upscaler, theirs: Upscaler, label: str, on_progress: OnProgress
) -> Comparison:
    image, extras = read_with_extras(path)
    (chosen, reason), other = ours.choose(image, path), theirs.choose(image, path).upscaler

    def upscaled(by: Upscaler, preview: Path, file: Path) -> tuple[int, int]:
        what = f"{label} by {by.model.name}"
        on_progress(what, 0, 1)
        result = by(image, on_progress=lambda _tile, done, total: on_progress(what, done, total))
        write_image(preview, small := _preview(result), extras=extras.fitting(small.shape[2]))
        write_image(file, result, extras=extras)
        return result.shape[1], result.shape[0]

    before, after = folder / "before.png", folder / "after.png"
    before_file = folder / f"before-{path.stem}-{other.model.name}.png"
    file = folder / f"{path.stem}-{chosen.model.name}.png"
    upscaled(other, before, before_file)
    size = upscaled(chosen, after, file)
    return Comparison(
        path.name, before, after, before_file, file, size, chosen.model.name, other.model.name, reason
    )


def _own_folder(folder: Path) -> Path:
    with writing(folder):
        return Path(tempfile.mkdtemp(dir=folder))


def zip_of(results: Sequence[Comparison], folder: Path) -> Path:
    """Write the results into one zip file; those of one name get a number.

    Args:
        results: From `compare`.
        folder: Folder of the zip file, which is in a folder of its own.

    Raises:
        OutputError: it cannot be written.
    """
    path = _own_folder(folder) / f"srcx-{len(results)}-images.zip"
    taken: set[str] = set()
    with writing(path), zipfile.ZipFile(path, "w") as archive:  # not compressed: PNG is already
        for number, one in enumerate(results, start=1):
            name = f"{number}-{one.file.name}" if one.file.name in taken else one.file.name
            taken.add(name)
            archive.write(one.file, name)
    return path


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
    """Return name, time and size of a model's files, which a training may replace.

    They are a checkpoint with the files beside it, or the checkpoints of a run folder.
    """
    path = Path(model)
    beside = sorted(path.parent.glob(f"{glob.escape(path.stem)}.*")) if path.is_file() else []
    beside += sorted(path.glob("models/net_g_*.pth")) if path.is_dir() else []
    return tuple((one.name, (stat := one.stat()).st_mtime_ns, stat.st_size) for one in beside)


def _check_size(path: Path, size: tuple[int, int], scale: float) -> None:
    height, width = size
    megapixels = height * width * scale**2 / 1e6
    if megapixels > MAX_MEGAPIXELS:
        raise ImageError(
            f"{path.name}: {width} x {height} pixels at x{scale:g} are {megapixels:.0f} megapixels, and this "
            f"page makes at most {MAX_MEGAPIXELS}; choose a smaller scale, or take 'srcx upscale'"
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

"""Files and folders: the result file of each image, and upscaling image after image despite errors."""

import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG
from typing import Literal, NamedTuple

from srcx.atomic import check_folder, make_folder, real_path, writing
from srcx.errors import DataError, ImageError, OutputError, SrcxError, UsageError
from srcx.imaging import Extras, ImageArray, list_images, opaque, read_with_extras, write_image
from srcx.imaging.io import (
    HEIC_SUFFIXES,
    IMAGE_SUFFIXES,
    SUFFIXES_OF_16_BITS,
    SUFFIXES_OF_ALPHA,
    UNREAD_SUFFIXES,
)
from srcx.inference.upscaler import Upscaler

__all__ = ["Format", "Job", "OnTile", "Outcome", "Read", "plan", "read_for", "run"]

Format = Literal["same", "png", "jpg", "jpeg", "webp", "avif", "tiff", "tif"]

LARGE_BYTES = 1 << 28
"""While a larger result is written, the next image waits: two of them may not fit into the memory."""
ALIASES = {".jpe": ".jpg", ".jpeg": ".jpg", ".jfif": ".jpg", ".tif": ".tiff"}


@dataclass(frozen=True)
class Job:
    """One image to upscale."""

    source: Path
    target: Path


OnTile = Callable[[Job, int, int], None]
"""Called with the image, the number of its tiles done, and the number of all its tiles."""


@dataclass(frozen=True)
class Outcome:
    """The end of a job: done, with `size` and `time_s`; failed, with `problem`; or skipped, with neither."""

    job: Job
    size: tuple[int, int] | None = None
    """Width and height of the result."""
    time_s: float = 0.0
    """Time of upscaling, without reading and writing."""
    problem: str | None = None
    model: str = ""
    """Name of the model that upscaled it."""
    reason: str = ""
    """Why this model, in a short phrase; empty where the user named it."""


class Read(NamedTuple):
    """An image and the metadata of its file."""

    image: ImageArray
    extras: Extras


def plan(inputs: Sequence[Path], out: Path, *, recursive: bool = False, format: Format = "same") -> list[Job]:
    """Return the result file of each image; the folders of the results need not be there.

    Args:
        inputs: Images, and folders of images.
        out: The result itself if there is one input, a file, and this has the suffix of an image; else a
            folder, in which the results have the same subfolders as their images.
        recursive: Whether to take the images in subfolders too.
        format: Suffix of the results, jpg for jpeg and tiff for tif; "same" is that of each image, and jpg
            for HEIC, which is not written.

    Raises:
        DataError: a folder holds no images.
        UsageError: an input is missing or a device, two inputs would become one file, a result would replace
            an input, `out` is an input folder, or it has the suffix of a format that srcx does not write.
        OutputError: the output's folder cannot be written.
    """
    missing = [str(path) for path in inputs if not path.exists()]
    if missing:
        raise UsageError(f"{', '.join(missing)}: no such file or folder; check the path")
    strange = [str(path) for path in inputs if not path.is_file() and not path.is_dir()]
    if strange:
        raise UsageError(f"{', '.join(strange)}: a device or pipe, and image files or folders are expected")
    _check_out(inputs, out)
    if _is_image_name(out) and not out.is_dir():
        if len(inputs) != 1 or not inputs[0].is_file():
            what = "the input is a folder" if len(inputs) == 1 else f"there are {len(inputs)} inputs"
            raise UsageError(f"{out}: is the name of one image, but {what}; name a folder")
        suffix = out.suffix.lower()
        if format != "same" and _suffix(out, format) != ALIASES.get(suffix, suffix):
            raise UsageError(f"{out}: has another suffix than --format {format}; leave out one of them")
        jobs = [Job(inputs[0], out)]
    else:
        jobs = [job for path in inputs for job in _jobs_of(path, out, recursive=recursive, format=format)]
    # A file named twice is one job; a link is a job of its own, since it has another name.
    jobs = list({real_path(job.source.parent) / job.source.name: job for job in jobs}.values())
    _check_targets(jobs)
    for folder in {job.target.parent for job in jobs}:
        check_folder(folder)
    return jobs


def run(
    jobs: Sequence[Job],
    upscaler: Upscaler,
    *,
    overwrite: bool = False,
    quality: int | None = None,
    on_tile: OnTile = lambda job, done, total: None,
) -> Iterator[Outcome]:
    """Upscale image after image; an image that fails does not stop the others.

    While one image is upscaled, the next is read and the one before is written.

    Args:
        jobs: From `plan`.
        upscaler: Upscales them.
        overwrite: Whether to replace existing results; otherwise their images are skipped.
        quality: As for `write_image`.
        on_tile: Called after each tile of an image.

    Yields:
        The outcome of each job, in their order.
    """
    with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as writer:
        reads = (reader.submit(_read, job, overwrite) for job in jobs)
        upcoming, last = next(reads, None), None
        try:
            for job in jobs:
                read, upcoming = upcoming, next(reads, None)
                assert read is not None
                this = _upscaled(job, read, upscaler, writer, quality, on_tile)
                if last:
                    yield last()
                last = this
        except KeyboardInterrupt:
            if last:
                yield last()
            raise
        if last:
            yield last()


def _upscaled(
    job: Job,
    read: Future[Read | None],
    upscaler: Upscaler,
    writer: ThreadPoolExecutor,
    quality: int | None,
    on_tile: OnTile,
) -> Callable[[], Outcome]:
    """Upscale an image that was read and start to write it; return a function that waits for the outcome."""
    try:
        found = read.result()
        if found is None:
            return lambda: Outcome(job)
        chosen, reason = upscaler.choose(found.image, job.source)
        chosen.prepare(found.image)
        start_s = time.perf_counter()
        result = chosen(found.image, on_progress=lambda _what, done, total: on_tile(job, done, total))
    except Exception as error:  # noqa: BLE001 - whatever the error, the other images are still to be done
        outcome = Outcome(job, problem=_problem(job, error))
        return lambda: outcome
    size, time_s = (result.shape[1], result.shape[0]), time.perf_counter() - start_s
    writing = writer.submit(write_image, job.target, result, quality=quality, extras=found.extras)
    if result.nbytes > LARGE_BYTES:
        wait([writing])

    def finished() -> Outcome:
        error = writing.exception()
        if error:
            return Outcome(job, problem=_problem(job, error))
        return Outcome(job, size, time_s, model=chosen.model.name, reason=reason)

    return finished


def _read(job: Job, overwrite: bool) -> Read | None:
    """Read an image; return None if its result exists, and raise if the result cannot be written."""
    suffix = job.target.suffix.lower()
    if suffix not in IMAGE_SUFFIXES:
        raise ImageError(
            f"{job.source}: results are written as {', '.join(IMAGE_SUFFIXES)}, and this name has "
            f"{suffix or 'no suffix'}; choose a --format"
        )
    mode = _mode(job.target)
    if mode is not None and not S_ISREG(mode):
        raise OutputError(f"{job.target}: is no file, so the result cannot be written; choose another -o")
    if mode is not None and not overwrite:
        return None
    image, extras = read_for(job.source, suffix, fix="choose --format png")
    make_folder(job.target.parent)  # now: where no image can be read, none is made
    _mode(job.target)  # a file system tells of a name that it does not take once the folder is there
    return Read(image, extras)


def read_for(source: Path, suffix: str, *, fix: str) -> Read:
    """Read an image whose result is to have this suffix, without alpha that hides nothing and is not stored.

    Raises:
        ImageError: it cannot be read, or has 16 bits or transparent pixels, which this format does not store;
            the message ends with `fix`.
    """
    image, extras = read_with_extras(source)
    if suffix not in SUFFIXES_OF_ALPHA:
        image = opaque(image)
    if image.dtype.itemsize == 2 and suffix not in SUFFIXES_OF_16_BITS:
        raise ImageError(f"{source}: has 16 bits a sample, and {suffix} stores 8; {fix}")
    if image.ndim == 3 and image.shape[2] == 4 and suffix not in SUFFIXES_OF_ALPHA:
        raise ImageError(f"{source}: is transparent in places, which {suffix} cannot store; {fix}")
    return Read(image, extras)


def _mode(target: Path) -> int | None:
    """Return the file mode of a result, None where there is none; raise if it cannot have this name."""
    with writing(target):
        try:
            return target.stat().st_mode
        except FileNotFoundError:
            return None


def _problem(job: Job, error: BaseException) -> str:
    if isinstance(error, SrcxError):
        return str(error).replace("\n", "\\n")  # a line break comes from a file name
    return f"{job.source}: unexpected {type(error).__name__}: {' '.join(str(error).split())}"


def _is_image_name(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES


def _check_out(inputs: Sequence[Path], out: Path) -> None:
    """Refuse a folder whose name looks like that of an image."""
    suffix = out.suffix.lower()
    if _is_image_name(out) or out.is_dir():
        return
    one_file = len(inputs) == 1 and inputs[0].is_file()
    if suffix in (*UNREAD_SUFFIXES, *HEIC_SUFFIXES) or (
        one_file and re.fullmatch(r"\.[a-z][a-z0-9]{1,4}", suffix)
    ):
        raise UsageError(
            f"{out}: images are written as {', '.join(IMAGE_SUFFIXES)}; got {suffix}: choose one of these, "
            "or make the folder first if you want a folder of this name"
        )


def _jobs_of(path: Path, out: Path, *, recursive: bool, format: Format) -> list[Job]:
    if path.is_file():
        return [Job(path, out / f"{path.stem}{_suffix(path, format)}")]
    results = real_path(out)
    if results == real_path(path):
        raise UsageError(
            f"{out}: is an input, and its results would be inputs of the next run; name another -o"
        )
    within = real_path(path) in results.parents  # then the results of an earlier run are not inputs
    sources = [
        one
        for one in list_images(path, recursive=recursive)
        if not (within and results in real_path(one).parents)
    ]
    if not sources:
        has_subfolders = any(one.is_dir() for one in path.iterdir())
        hint = "; --recursive takes its subfolders too" if has_subfolders and not recursive else ""
        raise DataError(f"{path}: there are no images in this folder{hint}")
    return [
        Job(one, out / one.relative_to(path).parent / f"{one.stem}{_suffix(one, format)}") for one in sources
    ]


def _suffix(path: Path, format: Format) -> str:
    if format != "same":
        return ALIASES.get(f".{format}", f".{format}")
    return ".jpg" if path.suffix.lower() in HEIC_SUFFIXES else path.suffix


def _check_targets(jobs: Sequence[Job]) -> None:
    sources = {real_path(job.source) for job in jobs}
    by_target: dict[Path, list[str]] = defaultdict(list)
    for job in jobs:
        target = real_path(job.target)
        by_target[target].append(str(job.source))
        if target in sources:
            raise UsageError(f"{job.target}: is an input and would be replaced by a result; name another -o")
    doubles = [
        f"{' and '.join(names)} would both become {target.name}"
        for target, names in by_target.items()
        if len(names) > 1
    ]
    if doubles:
        raise UsageError(f"{'; '.join(doubles)}: upscale them into different folders")

"""Many images: which file becomes which, and upscaling one after the other whatever one of them holds."""

import os
import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from srcx.atomic import make_folder, writing
from srcx.errors import DataError, ImageError, OutputError, SrcxError, UsageError
from srcx.imaging import Extras, ImageArray, list_images, opaque, read_with_extras, write_image
from srcx.imaging.io import IMAGE_SUFFIXES, SUFFIXES_OF_16_BITS, SUFFIXES_OF_ALPHA, UNREAD_SUFFIXES
from srcx.inference.upscaler import Upscaler

__all__ = ["Format", "Job", "Outcome", "plan", "run"]

Format = Literal["same", "png", "jpg", "jpeg", "webp", "avif", "tiff", "tif"]

LARGE_BYTES = 1 << 28
"""While a larger result is written, no other is made: two of them may not fit into the memory."""
ALIASES = {".jpe": ".jpg", ".jpeg": ".jpg", ".jfif": ".jpg", ".tif": ".tiff"}


@dataclass(frozen=True)
class Job:
    """One image to upscale."""

    source: Path
    target: Path


@dataclass(frozen=True)
class Outcome:
    """What became of a job: done, with `size` and `time_s`; failed, with `problem`; or skipped."""

    job: Job
    size: tuple[int, int] | None = None
    """Width and height of the result."""
    time_s: float = 0.0
    """Seconds it was upscaled, without reading and writing."""
    problem: str | None = None
    model: str = ""
    """Name of the model that upscaled it."""
    reason: str = ""
    """Why this model, in a short phrase; empty where the user named it."""


class Read(NamedTuple):
    """An image and what its file says beside it."""

    image: ImageArray
    extras: Extras


def plan(inputs: Sequence[Path], out: Path, *, recursive: bool = False, format: Format = "same") -> list[Job]:
    """Decide which image becomes which file; nothing is written but the output's folder.

    Args:
        inputs: Images, and folders of images.
        out: The result itself if there is one input, a file, and this has the suffix of an image; else a
            folder, in which the folders inside an input folder are kept.
        recursive: Whether to take the folders inside folders too.
        format: Suffix of the results, jpg for jpeg and tiff for tif; "same" keeps each image's own.

    Raises:
        DataError: a folder holds no images.
        UsageError: an input is missing, two inputs would become one file, a result would replace an input, or
            `out` has the suffix of a format that is not written.
        OutputError: the output's folder cannot be written.
    """
    missing = [str(path) for path in inputs if not path.exists()]
    if missing:
        raise UsageError(f"{', '.join(missing)}: no such file or folder; check the path")
    _check_out(inputs, out)
    if _is_image_name(out) and not out.is_dir():
        jobs = [Job(_only_file(inputs, out), _named_file(out, format))]
    else:
        jobs = [job for path in inputs for job in _jobs_of(path, out, recursive=recursive, format=format)]
    # A file named twice is one job; a link to a file is a job of its own, since its name is another.
    jobs = list({job.source.parent.resolve() / job.source.name: job for job in jobs}.values())
    _check_targets(jobs)
    for folder in {job.target.parent for job in jobs}:
        _check_writable(make_folder(folder))
    return jobs


def run(
    jobs: Sequence[Job], upscaler: Upscaler, *, overwrite: bool = False, quality: int | None = None
) -> Iterator[Outcome]:
    """Upscale image after image; what cannot be done is told and the rest goes on.

    While one image is upscaled, the next is read and the one before is written.

    Args:
        jobs: What `plan` gives.
        upscaler: What to do it with.
        overwrite: Whether to make results again that are there already; without it they are skipped.
        quality: As for `write_image`.

    Yields:
        What became of each job, in their order.
    """
    with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as writer:
        reads = (reader.submit(_read, job, overwrite) for job in jobs)
        upcoming, last = next(reads, None), None
        try:
            for job in jobs:
                read, upcoming = upcoming, next(reads, None)
                assert read is not None
                this = _begun(job, read, upscaler, writer, quality)
                if last:
                    yield last()
                last = this
        except KeyboardInterrupt:
            if last:
                yield last()
            raise
        if last:
            yield last()


def _begun(
    job: Job,
    read: Future[Read | None],
    upscaler: Upscaler,
    writer: ThreadPoolExecutor,
    quality: int | None,
) -> Callable[[], Outcome]:
    """Upscale what was read and let it be written; the outcome is there when that is done."""
    try:
        found = read.result()
        if found is None:
            return lambda: Outcome(job)
        chosen, reason = upscaler.choose(found.image, job.source)
        chosen.prepare(found.image)
        began_s = time.perf_counter()
        result = chosen(found.image)
    except Exception as error:  # noqa: BLE001 - whatever one image meets, the others are still to be done
        outcome = Outcome(job, problem=_problem(job, error))
        return lambda: outcome
    size, time_s = (result.shape[1], result.shape[0]), time.perf_counter() - began_s
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
    """The image, if its result is wanted and can be written."""
    if _exists(job.target) and not overwrite:
        return None
    image, extras = read_with_extras(job.source)
    if job.target.suffix.lower() not in SUFFIXES_OF_ALPHA:
        image = opaque(image)
    _check_format(image, job)
    return Read(image, extras)


def _exists(target: Path) -> bool:
    """Whether the file is there; raise OutputError where the file system takes no such name."""
    with writing(target):
        try:
            target.stat()
        except FileNotFoundError:
            return False
    return True


def _problem(job: Job, error: BaseException) -> str:
    if isinstance(error, SrcxError):
        return str(error).replace("\n", "\\n")  # a line break comes from a name of a file
    return f"{job.source}: unexpected {type(error).__name__}: {' '.join(str(error).split())}"


def _check_format(image: ImageArray, job: Job) -> None:
    """Refuse before the work what the format of the result cannot hold."""
    suffix = job.target.suffix.lower()
    if image.dtype.itemsize == 2 and suffix not in SUFFIXES_OF_16_BITS:
        raise ImageError(f"{job.source}: has 16 bits a sample, and {suffix} holds 8; choose --format png")
    if image.ndim == 3 and image.shape[2] == 4 and suffix not in SUFFIXES_OF_ALPHA:
        raise ImageError(
            f"{job.source}: is transparent in places, which {suffix} cannot be; choose --format png"
        )


def _is_image_name(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES


def _check_out(inputs: Sequence[Path], out: Path) -> None:
    """Refuse a name that looks like an image's and would become a folder's."""
    suffix = out.suffix.lower()
    if _is_image_name(out) or out.is_dir():
        return
    one_file = len(inputs) == 1 and inputs[0].is_file()
    if suffix in UNREAD_SUFFIXES or (one_file and re.fullmatch(r"\.[a-z][a-z0-9]{1,4}", suffix)):
        raise UsageError(
            f"{out}: images are written as {', '.join(IMAGE_SUFFIXES)}; got {suffix}: choose one of these, "
            "or make the folder first if you want a folder of this name"
        )


def _only_file(inputs: Sequence[Path], out: Path) -> Path:
    if len(inputs) == 1 and inputs[0].is_file():
        return inputs[0]
    what = "the input is a folder" if len(inputs) == 1 else f"there are {len(inputs)} inputs"
    raise UsageError(f"{out}: the name of one image, but {what}; name a folder")


def _named_file(out: Path, format: Format) -> Path:
    suffix = out.suffix.lower()
    if format != "same" and _suffix(out, format) != ALIASES.get(suffix, suffix):
        raise UsageError(
            f"{out}: has another suffix than the format asked for, {format}; leave out one of them"
        )
    return out


def _jobs_of(path: Path, out: Path, *, recursive: bool, format: Format) -> list[Job]:
    if path.is_file():
        return [Job(path, out / f"{path.stem}{_suffix(path, format)}")]
    results = out.resolve()
    within = path.resolve() in results.parents  # then results of an earlier run are not inputs
    sources = [
        one
        for one in list_images(path, recursive=recursive)
        if not (within and results in one.resolve().parents)
    ]
    if not sources:
        hint = "" if recursive else "; --recursive looks into its folders too"
        raise DataError(f"{path}: there are no images in this folder{hint}")
    return [
        Job(one, out / one.relative_to(path).parent / f"{one.stem}{_suffix(one, format)}") for one in sources
    ]


def _suffix(path: Path, format: Format) -> str:
    return path.suffix if format == "same" else ALIASES.get(f".{format}", f".{format}")


def _check_targets(jobs: Sequence[Job]) -> None:
    sources = {job.source.resolve() for job in jobs}
    by_target: dict[Path, list[str]] = defaultdict(list)
    for job in jobs:
        by_target[job.target.resolve()].append(str(job.source))
        if job.target.resolve() in sources:
            raise UsageError(f"{job.target}: is an input and would be replaced by a result; name another -o")
    doubles = [
        f"{' and '.join(names)} would both become {target.name}"
        for target, names in by_target.items()
        if len(names) > 1
    ]
    if doubles:
        raise UsageError(f"{'; '.join(doubles)}: upscale them into different folders")


def _check_writable(folder: Path) -> None:
    if not os.access(folder, os.W_OK):
        raise OutputError(f"{folder}: cannot be written: permission denied; choose another place or mend it")

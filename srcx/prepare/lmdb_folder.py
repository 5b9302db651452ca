"""Convert a folder of images to an LMDB folder of BasicSR: data.mdb, lock.mdb, meta_info.txt."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import lmdb

from srcx.atomic import writing
from srcx.benchmarks.verdict import listed
from srcx.errors import DataError, OutputError, SrcxError, UsageError
from srcx.imaging.decode import swap_red_and_blue
from srcx.imaging.io import read_image
from srcx.imaging.parallel import in_parallel
from srcx.lock import hold_folder
from srcx.prepare.images import Outcome
from srcx.prepare.recipe import Recipe, fits, recipe, shared_name, sources, write_record
from srcx.progress import OnProgress

__all__ = ["make_lmdb"]

META_INFO = "meta_info.txt"
COMPRESSION = 1  # PNG's, as BasicSR's: quick to read
BATCH = 64  # images to a transaction
MIB = 1 << 20


def make_lmdb(source: Path, out: Path, on_progress: OnProgress) -> Outcome:
    """Put the images of a folder into an LMDB folder as PNG, by their names without suffix and scale.

    Until it is complete, it is a hidden folder beside `out`; the next call resumes there.

    Args:
        source: Folder of images.
        out: Folder to be, whose name ends in .lmdb.
        on_progress: Called after each image.

    Raises:
        UsageError: the name does not end in .lmdb.
        DataError: the source holds no images, or one whose name BasicSR cannot read as a key.
        OutputError: `out` is there and holds something else, another process writes to it, or it cannot be
            written.
    """
    if out.suffix != ".lmdb":
        raise UsageError(f"{out}: the name of an LMDB folder ends in .lmdb, by which BasicSR knows it")
    images = sources(source, shared_name)
    bad = [path.name for path in images if set(path.stem) & {".", " "} or not path.stem.isprintable()]
    if bad:
        raise DataError(
            f"{source}: names with a dot, a space, control characters or bytes that are not UTF-8 cannot be "
            f"keys: {listed(bad)}; rename them"
        )
    wanted, part = recipe(images, kind="lmdb"), out.with_name(f".{out.name}.part")
    if not out.exists():
        with hold_folder(part):
            if not out.exists():  # another process may have finished it before this one had the lock
                return _make(part, out, images, wanted, on_progress)
    if fits(out, wanted):
        return Outcome(skipped=len(images))
    raise OutputError(f"{out}: exists already, made from other images; name another folder, or remove it")


def _make(part: Path, out: Path, images: Sequence[Path], wanted: Recipe, on_progress: OnProgress) -> Outcome:
    """Fill `part` or resume it, and rename it to `out` once it is complete."""
    if not fits(part, wanted):
        with writing(part):
            for path in part.iterdir():
                path.unlink()
        write_record(part, wanted)
    outcome = _fill(part, images, on_progress)
    if not outcome.problems:
        part.replace(out)
    return outcome


def _fill(folder: Path, images: Sequence[Path], on_progress: OnProgress) -> Outcome:
    meta = folder / META_INFO
    lines = meta.read_text(encoding="utf-8").splitlines(keepends=True) if meta.exists() else []
    lines = [line for line in lines if line.endswith("\n")]
    there = {line.split(".")[0] for line in lines}
    left = [path for path in images if shared_name(path) not in there]
    outcome = Outcome(skipped=len(images) - len(left))
    try:
        with lmdb.open(str(folder)) as environment, meta.open("w", encoding="utf-8", newline="\n") as record:
            record.writelines(lines)
            for start in range(0, len(left), BATCH):
                batch = left[start : start + BATCH]
                entries: list[_Entry] = []
                for done, answer in enumerate(in_parallel(_encode, batch), outcome.skipped + start + 1):
                    on_progress("images", done, len(images))
                    if isinstance(answer, str):
                        outcome.problems.append(answer)
                    else:
                        entries.append(answer)
                _store(environment, entries)
                record.writelines(f"{one.key}.png {one.shape} {COMPRESSION}\n" for one in entries)
                record.flush()
                outcome.made += len(entries)
    except (OSError, lmdb.Error) as error:
        raise OutputError(
            f"{folder}: cannot be written: {error}; free disk space or fix the permissions"
        ) from error
    return outcome


class _Entry(NamedTuple):
    key: str
    shape: str
    png: bytes


def _encode(path: Path) -> _Entry | str:
    try:
        image = read_image(path)
    except SrcxError as error:
        return str(error)
    height, width, *channels = image.shape
    done, png = cv2.imencode(".png", swap_red_and_blue(image), [cv2.IMWRITE_PNG_COMPRESSION, COMPRESSION])
    assert done
    return _Entry(shared_name(path), f"({height},{width},{channels[0] if channels else 1})", png.tobytes())


def _store(environment: lmdb.Environment, entries: Sequence[_Entry]) -> None:
    """Write a batch; enlarge the map first, since LMDB does not grow it."""
    needed = 2 * sum(len(one.png) for one in entries) + MIB
    environment.set_mapsize(environment.info()["map_size"] + needed)
    with environment.begin(write=True) as transaction:
        for one in entries:
            transaction.put(one.key.encode(), one.png)

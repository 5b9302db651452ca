"""Convert a folder of images to tar shards after WebDataset's conventions."""

import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from srcx.atomic import atomic_path
from srcx.benchmarks.verdict import listed
from srcx.errors import DataError, ImageError
from srcx.imaging.io import image_size
from srcx.prepare.images import Outcome
from srcx.prepare.recipe import Recipe, claim, recipe, shared_name, sources
from srcx.progress import OnProgress

__all__ = ["make_shards"]


def make_shards(
    source: Path, out: Path, *, low: Path | None, per_shard: int, on_progress: OnProgress
) -> Outcome:
    """Put the files of a folder as they are into OUT/shard-000000.tar ..., by their names without scale.

    Existing shards stay. Nothing is written if an image is damaged.

    Args:
        source: Folder of images: KEY.png, or KEY.gt.png where there is `low`.
        out: Folder for the shards.
        low: Folder of their low resolution: KEY.lq.png.
        per_shard: Images, or pairs, in each.
        on_progress: Called after each shard.

    Raises:
        DataError: a folder holds no images, or one whose name cannot be a key; or a pair lacks a side.
        OutputError: `out` holds something else, another process writes to it, or it cannot be written.
    """
    images = sources(source, shared_name)
    bad = [path.name for path in images if "." in path.stem]
    if bad:
        raise DataError(f"{source}: names with a dot inside cannot be keys: {listed(bad)}; rename them")
    sides = {".gt": images, ".lq": _partners(images, low)} if low else {"": images}
    problems = [problem for of in sides.values() for problem in _problems(of)]
    if problems:
        return Outcome(problems=problems)
    wanted = Recipe(
        {"kind": "shards", "per_shard": per_shard},
        {f"{name} {side}": state for side, of in sides.items() for name, state in recipe(of).images.items()},
    )
    outcome, starts = Outcome(), range(0, len(images), per_shard)
    with claim((out, wanted), whole=True):
        for number, start in enumerate(starts):
            shard, batch = out / f"shard-{number:06d}.tar", slice(start, start + per_shard)
            if shard.exists():
                outcome.skipped += len(images[batch])
            else:
                _write(shard, {side: of[batch] for side, of in sides.items()})
                outcome.made += len(images[batch])
            on_progress(shard.name, number + 1, len(starts))
    return outcome


def _partners(images: Sequence[Path], low: Path) -> list[Path]:
    """Return the low-resolution image of each image."""
    by_key = {shared_name(path): path for path in sources(low, shared_name)}
    keys = [shared_name(path) for path in images]
    alone = sorted(set(keys) ^ by_key.keys())
    if alone:
        raise DataError(
            f"{low}: one side of these pairs is missing: {listed(alone)}; a shard holds whole pairs"
        )
    return [by_key[key] for key in keys]


def _problems(images: Sequence[Path]) -> list[str]:
    problems = []
    for path in images:
        try:
            image_size(path)
        except ImageError as error:
            problems.append(str(error))
    return problems


def _write(shard: Path, sides: Mapping[str, Sequence[Path]]) -> None:
    """Write a shard, both sides of a pair one after the other."""
    with atomic_path(shard) as temporary, tarfile.open(temporary, "w") as archive:
        for of_key in zip(*sides.values(), strict=True):
            for side, path in zip(sides, of_key, strict=True):
                # Without owner and date, so that equal images give equal shards.
                entry = tarfile.TarInfo(f"{shared_name(path)}{side}{path.suffix.lower()}")
                entry.size = path.stat().st_size
                with path.open("rb") as file:
                    archive.addfile(entry, file)

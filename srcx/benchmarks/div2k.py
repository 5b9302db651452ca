"""Verify DIV2K by names, sizes and contents, since the digests of its images are not published."""

from pathlib import Path

from srcx.benchmarks.inspect import inspect_lq
from srcx.benchmarks.manifest import Archive, known_set
from srcx.benchmarks.verdict import Verdict, describe_lqs, listed
from srcx.counted import counted
from srcx.errors import ImageError
from srcx.imaging.io import image_size, list_images, read_image
from srcx.imaging.parallel import in_parallel
from srcx.progress import OnProgress

__all__ = ["is_div2k", "verify_div2k"]

SCALE = 4
SAMPLES = 8  # low-resolution images of each half that are compared with their ground truth
Sizes = dict[str, tuple[int, int]]
"""Height and width of images by their number."""


def is_div2k(folder: Path) -> bool:
    """Return True if `folder` holds one of DIV2K's four folders."""
    return any((folder / archive.folder).is_dir() for archive in known_set("DIV2K").archives)


def verify_div2k(folder: Path, on_progress: OnProgress) -> Verdict:
    """Return a verdict on the parts of DIV2K in `folder`; a missing part is no error."""
    clauses: list[str] = []
    problems: list[str] = []
    sizes: Sizes = {}
    for archive in known_set("DIV2K").archives:  # each half's ground truth comes before its low resolution
        if not (folder / archive.folder).is_dir():
            clauses.append(f"{archive.folder} is not here")
            continue
        clause, wrong, here = _check_folder(folder, archive, on_progress)
        if archive.ending:
            wrong += _misfits(folder, archive, here, sizes)
            how, more = _how_made(folder, archive, [number for number in here if number in sizes])
            clause, wrong = clause + how, wrong + more
        sizes.update({} if archive.ending else here)
        clauses.append(clause)
        problems += wrong
    return Verdict(folder, f"DIV2K: {'; '.join(clauses)}", tuple(problems))


def _check_folder(folder: Path, archive: Archive, on_progress: OnProgress) -> tuple[str, list[str], Sizes]:
    place, names = folder / archive.folder, archive.image_names
    there = {path.name for path in list_images(place)}
    missing, extra = [name for name in names if name not in there], sorted(there - set(names))
    problems = []
    if missing:
        problems.append(f"{place}: {counted(len(missing))} of {len(names)} not here: {listed(missing)}")
    if extra:
        problems.append(f"{place}: {counted(len(extra))} not of DIV2K: {listed(extra)}")
    sizes = {}
    whole = [name for name in names if name in there]
    for done, (name, answer) in enumerate(in_parallel(lambda name: _size(place, name), whole), start=1):
        on_progress(f"{archive.folder} {name}", done, len(whole))
        if isinstance(answer, str):
            problems.append(answer)
        else:
            sizes[name[:4]] = answer
    return f"{archive.folder} has {len(whole)} of {len(names)} images", problems, sizes


def _size(place: Path, name: str) -> tuple[str, tuple[int, int] | str]:
    try:
        return name, image_size(place / name)
    except ImageError as error:
        return name, str(error)


def _misfits(folder: Path, archive: Archive, here: Sizes, sizes: Sizes) -> list[str]:
    wrong = [
        number
        for number, (height, width) in here.items()
        if number in sizes and sizes[number] != (height * SCALE, width * SCALE)
    ]
    where = folder / archive.folder
    if not wrong:
        return []
    return [f"{where}: {counted(len(wrong))} not 1/{SCALE} the size of their ground truth: {listed(wrong)}"]


def _how_made(folder: Path, archive: Archive, numbers: list[str]) -> tuple[str, list[str]]:
    """Return a clause about a sample of the low-resolution images, and their problems."""
    if not numbers:
        return "", []
    high = known_set("DIV2K").archives
    gt_folder = next(one.folder for one in high if one.first == archive.first and not one.ending)
    found, problems = [], []
    for number in numbers[:: -(-len(numbers) // SAMPLES)]:
        try:
            gt = read_image(folder / gt_folder / f"{number}.png")
        except ImageError as error:
            problems.append(str(error))
            continue
        lq = folder / archive.folder / f"{number}{archive.ending}.png"
        found.append(inspect_lq(lq, gt, SCALE, None))
    clause, wrong = describe_lqs(found, SCALE)
    return f", by {len(found)} of them {clause}", problems + wrong

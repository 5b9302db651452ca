"""Find pairs of low-resolution images and ground truth, and check that they fit."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from srcx.data.stored import IoBackend, Stored, StoredFile, lines_in, list_stored
from srcx.errors import DataError, SrcxError

__all__ = ["Problems", "Size", "StoredPair", "check_names", "check_pairs", "find_pairs", "find_several"]

Size = tuple[int, int]  # height, width
SHOWN = 10  # problems in one message


class Problems:
    """Collects all problems of a data set, to report them in one error.

    Example:
        >>> problems = Problems()
        >>> problems.add("a.png: is empty")
        >>> problems.stop_if_any("datasets/train")
        Traceback (most recent call last):
        srcx.errors.DataError: a.png: is empty
    """

    def __init__(self) -> None:
        self.sentences: list[str] = []

    def add(self, sentence: str) -> None:
        """Note one problem."""
        self.sentences.append(sentence)

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Note what the block raises instead of stopping there."""
        try:
            yield
        except SrcxError as error:
            self.add(str(error))

    def stop_if_any(self, where: str) -> None:
        """Raise DataError with the first ten problems and the number of the others."""
        if len(self.sentences) == 1:
            raise DataError(self.sentences[0])
        if self.sentences:
            lines = self.sentences[:SHOWN]
            if len(self.sentences) > SHOWN:
                lines.append(f"... and {len(self.sentences) - SHOWN} more")
            listed = "\n  ".join(lines)
            raise DataError(f"{where}: {len(self.sentences)} problems with its images:\n  {listed}")


class StoredPair(NamedTuple):
    """Two images of one scene, not read yet."""

    lq: Stored
    gt: Stored

    def __str__(self) -> str:
        return str(self.gt)


def find_pairs(
    dataroot_gt: Path | str,
    dataroot_lq: Path | str,
    *,
    io_backend: IoBackend = "disk",
    meta_info_file: Path | str | None = None,
    meta_info: Path | str | None = None,
    filename_tmpl: str = "{}",
    problems: Problems,
) -> list[StoredPair]:
    """Return the pairs as BasicSR finds them: by name, or by a list of both names.

    Args:
        dataroot_gt: Folder of ground truth (or LMDB, ending in `.lmdb`; or shards).
        dataroot_lq: Folder of low-resolution images (or LMDB; or shards, which may be the same).
        io_backend: How the images are stored; in LMDB and shards the two have equal keys.
        meta_info_file: A list of ground-truth names, to take these alone.
        meta_info: A text file with `gt, lq` a line, two names relative to the folders; only for "disk".
        filename_tmpl: Name of the lq file without suffix; `{}` is the ground truth's.
        problems: Takes note of missing folders and of images without a partner.

    Returns:
        The pairs there are, in natural order. Where a lq file of the same suffix is missing, one of another
        suffix will do.
    """
    if meta_info is not None:
        return _listed_pairs(Path(dataroot_gt), Path(dataroot_lq), Path(meta_info), problems)
    gts: list[Stored] = []
    lqs: list[Stored] = []
    with problems.noted():
        gts = list_stored(dataroot_gt, io_backend=io_backend, meta_info_file=meta_info_file)
    with problems.noted():
        lqs = list_stored(dataroot_lq, io_backend=io_backend, side="lq")
    if not gts or not lqs:
        return []
    by_file_name = {_file_name(lq): lq for lq in lqs}
    by_name = {lq.name: lq for lq in lqs}
    pairs = []
    for gt in gts:
        name = filename_tmpl.format(gt.name)
        lq = by_file_name.get(name + _suffix(gt)) or by_name.get(name)
        if lq is None:
            problems.add(f"{gt}: has no partner named {name}{_suffix(gt)} in {dataroot_lq}")
        else:
            pairs.append(StoredPair(lq, gt))
    if meta_info_file is None:
        partnered = {str(pair.lq) for pair in pairs}
        for lq in lqs:
            if str(lq) not in partnered:
                problems.add(
                    f"{lq}: has no partner in {dataroot_gt} whose name gives it by {filename_tmpl!r}"
                )
    return pairs


def _listed_pairs(gt: Path, lq: Path, meta_info: Path, problems: Problems) -> list[StoredPair]:
    pairs: list[StoredPair] = []
    with problems.noted():
        for number, line in lines_in(meta_info):
            names = [name.strip() for name in line.split(",")]
            if len(names) != 2 or not all(names):
                problems.add(f"{meta_info}:{number}: expected two names, 'gt.png, lq.png'; got {line!r}")
            else:
                pairs.append(StoredPair(StoredFile(lq / names[1]), StoredFile(gt / names[0])))
        if not pairs and not problems.sentences:
            problems.add(f"{meta_info}: there are no pairs in this file; check the path")
    return pairs


def find_several(
    dataroot_gt: Path | str, dataroot_lq: Path | str, *, filename_tmpl: str = "{}", problems: Problems
) -> list[StoredPair]:
    """Pairs of each low-resolution image with each of its targets, which have a folder of its name.

    Args:
        dataroot_gt: Folder of folders of targets.
        dataroot_lq: Folder of low-resolution images.
        filename_tmpl: Name of the lq file without suffix; `{}` is the folder's.
        problems: Takes note of what is missing or empty, and of folders and images without a partner.
    """
    lqs: dict[str, Stored] = {}
    with problems.noted():
        lqs = {lq.name: lq for lq in list_stored(dataroot_lq)}
    folders = {filename_tmpl.format(path.name): path for path in sorted(Path(dataroot_gt).glob("*/"))}
    if not folders:
        problems.add(f"{dataroot_gt}: expected a folder of targets for each image; there is no folder in it")
        return []
    for name in sorted(lqs.keys() - folders.keys()):
        problems.add(f"{lqs[name]}: has no folder in {dataroot_gt} whose name gives it by {filename_tmpl!r}")
    for name in sorted(folders.keys() - lqs.keys()):
        problems.add(f"{folders[name]}: has no partner named {name} in {dataroot_lq}")
    pairs = []
    for name in (name for name in folders if name in lqs):
        with problems.noted():
            pairs += [StoredPair(lqs[name], gt) for gt in list_stored(folders[name])]
    return pairs


def check_pairs(
    pairs: list[StoredPair], *, scale: int, for_training: bool, problems: Problems
) -> dict[StoredPair, Size]:
    """Check header, end and size of every file without decoding it.

    Args:
        pairs: What to look at.
        scale: Ground truth is this much larger.
        for_training: Sizes must fit to the pixel. Otherwise ground truth may be larger by less than one
            low-resolution pixel, as whole benchmark images are; the rest is cut off when it is read.
        problems: Takes note of unreadable files and sizes that do not fit.

    Returns:
        The pairs that fit, each with the size of its ground truth.
    """
    fitting = {}
    if not for_training:
        check_names([pair.gt for pair in pairs], problems=problems)
    for pair in pairs:
        with problems.noted():
            gt, lq = pair.gt.size(), pair.lq.size()
            wanted = (gt[0] // scale, gt[1] // scale)
            exact = (lq[0] * scale, lq[1] * scale) == gt
            if exact or (not for_training and lq == wanted):
                fitting[pair] = gt
            else:
                problems.add(
                    f"{pair.lq}: is {lq[1]} x {lq[0]} pixels; times {scale} that is {lq[1] * scale} x "
                    f"{lq[0] * scale}, and {_file_name(pair.gt)} is {gt[1]} x {gt[0]}"
                )
    return fitting


def check_names(images: Sequence[Stored], *, problems: Problems) -> None:
    """Note images of one name, such as a.png and a.bmp: the result of one would replace the other's."""
    first: dict[str, Stored] = {}
    for image in images:
        if image.name in first:
            problems.add(
                f"{image}: has the same name as {_file_name(first[image.name])}; keep one or rename one"
            )
        first.setdefault(image.name, image)


def _file_name(stored: Stored) -> str:
    return stored.path.name if isinstance(stored, StoredFile) else stored.name


def _suffix(stored: Stored) -> str:
    return stored.path.suffix if isinstance(stored, StoredFile) else ""

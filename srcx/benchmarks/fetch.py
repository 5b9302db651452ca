"""Download sets from their publishers into the layout that `srcx benchmark` and the option files read."""

import shutil
import stat
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

from srcx.atomic import atomic_path, check_folder, make_folder
from srcx.benchmarks.manifest import KnownFile, KnownSet
from srcx.counted import counted
from srcx.digest import Digest
from srcx.download import Wire, alone, download
from srcx.errors import DataError, DownloadError, ImageError, SrcxError
from srcx.imaging.io import read_image
from srcx.imaging.parallel import in_parallel
from srcx.progress import OnProgress

__all__ = ["fetch_set", "unpack"]

CONNECTIONS = 6
GIVE_UP = 3  # failed downloads; after that the other files are not requested
MAX_BYTES = 16 << 20  # of an image whose size is not published
MAX_UNPACKED_BYTES = 256 << 20  # of one image in an archive


@dataclass(frozen=True)
class _Job:
    known: KnownFile
    target: Path


def fetch_set(
    known: KnownSet, place: Path, on_progress: OnProgress, *, wire: Wire | None = None
) -> list[str]:
    """Download the missing files of a set.

    Partly downloaded files stay in a hidden folder beside `place`; the next call resumes them.

    Args:
        known: The set.
        place: Its folder.
        on_progress: Called after each file, or with the MiB of an archive.
        wire: Connection settings; by default only https is allowed.

    Returns:
        One sentence for each file that failed; empty when the set is complete.

    Raises:
        OutputError: the folder cannot be written.
    """
    for folder in sorted({target.parent for target in _targets(known, place) if not target.exists()}):
        check_folder(folder)  # else every file of it would be downloaded, and fail then
    make_folder(place.parent)
    staging = place.with_name(f".{place.name}.fetching")
    with alone(place):
        make_folder(staging)
        if known.archives:
            problems = _fetch_archives(known, place, staging, on_progress, wire)
        else:
            problems = _fetch_images(known, place, staging, on_progress, wire)
        if not problems or not any(_holds_bytes(path) for path in staging.iterdir()):
            shutil.rmtree(staging, ignore_errors=True)
    return problems


def _holds_bytes(path: Path) -> bool:
    """Return True for a partly downloaded file, False for a lock."""
    return path.suffix != ".lock" and path.stat().st_size > 0


def _targets(known: KnownSet, place: Path) -> list[Path]:
    """Return all files of a set."""
    return [job.target for job in _jobs(known, place)] + [
        place / archive.folder / name for archive in known.archives for name in archive.image_names
    ]


def _jobs(known: KnownSet, place: Path) -> list[_Job]:
    jobs = [_Job(one.hr, place / "HR" / f"{one.name}.png") for one in known.images]
    return jobs + [_Job(one.lr, place / "LR_bicubic" / "X4" / f"{one.name}x4.png") for one in known.images]


def _fetch_images(
    known: KnownSet, place: Path, staging: Path, on_progress: OnProgress, wire: Wire | None
) -> list[str]:
    jobs = _jobs(known, place)
    problems: list[str] = []
    unanswered: list[str] = []
    results = in_parallel(lambda job: _fetch_image(known.url, job, staging, wire), jobs, workers=CONNECTIONS)
    for done, (job, error) in enumerate(results, start=1):
        on_progress(f"{known.name} {job.target.name}", done, len(jobs))
        if isinstance(error, DownloadError) and error.__cause__ is not None:
            unanswered.append(str(error))
        elif error:
            problems.append(str(error))
        if len(unanswered) == GIVE_UP and done < len(jobs):
            return [
                *problems,
                f"{known.name}: stopped with {len(jobs) - done} files left: {GIVE_UP} downloads failed; "
                "run the same command again later, or copy the set from another place and check it with "
                f"'srcx data verify'. The first error: {unanswered[0]}",
            ]
    return problems + unanswered


def _fetch_image(url: str, job: _Job, staging: Path, wire: Wire | None) -> tuple[_Job, SrcxError | None]:
    try:
        digest = Digest("sha256", job.known.sha256) if job.known.sha256 else None
        if job.target.exists():
            if digest and not digest.matches(job.target):
                return job, DataError(
                    f"{job.target}: differs from the published file; remove it, then fetch it again"
                )
            return job, None
        came = download(
            url + job.known.file,
            staging / job.target.name,
            digest=digest,
            max_bytes=job.known.bytes or MAX_BYTES,
            wire=wire,
        )
        if digest is None:
            _check_image(came, url + job.known.file)
        came.replace(make_folder(job.target.parent) / job.target.name)
    except SrcxError as error:
        return job, error
    return job, None


def _check_image(path: Path, url: str) -> None:
    """Remove a file that is no complete image, so that the next call downloads it again."""
    try:
        read_image(path)
    except ImageError as error:
        path.unlink()
        raise DownloadError(
            f"{url}: the downloaded file is not a complete image; run the command again"
        ) from error


def _fetch_archives(
    known: KnownSet, place: Path, staging: Path, on_progress: OnProgress, wire: Wire | None
) -> list[str]:
    problems = []
    for archive in known.archives:
        folder = place / archive.folder
        if all((folder / name).exists() for name in archive.image_names):
            continue
        try:
            came = download(
                known.url + archive.file,
                staging / archive.file,
                digest=Digest("sha256", archive.sha256),
                max_bytes=archive.bytes,
                on_progress=on_progress,
                wire=wire,
            )
            unpack(came, folder, archive.image_names, on_progress)
            came.unlink()
        except (DataError, DownloadError) as error:
            problems.append(str(error))
    return problems


def unpack(archive: Path, folder: Path, names: list[str], on_progress: OnProgress) -> None:
    """Write the images `names` of a zip file into `folder`; complete files in it are not written again.

    Only an image's name counts, not its folder in the archive.

    Raises:
        DataError: the archive is damaged, lacks one of `names`, or holds a path outside of it, a link
            or an image of more than 256 MiB.
        OutputError: an image cannot be written.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            members = {PurePosixPath(one.filename).name: one for one in opened.infolist()}
            _check_members(
                archive, opened.infolist(), missing=[name for name in names if name not in members]
            )
            make_folder(folder)
            for done, name in enumerate(names, start=1):
                target = folder / name
                if not (target.exists() and target.stat().st_size == members[name].file_size):
                    with (
                        atomic_path(target) as temporary,
                        opened.open(members[name]) as packed,
                        temporary.open("wb") as file,
                    ):
                        shutil.copyfileobj(packed, file)
                on_progress(f"{folder.name} {name}", done, len(names))
    except zipfile.BadZipFile as error:
        raise DataError(f"{archive}: is not a complete zip file ({error}); fetch it again") from error


def _check_members(archive: Path, members: list[zipfile.ZipInfo], *, missing: list[str]) -> None:
    for member in members:
        name = member.filename
        if PureWindowsPath(name).anchor or ".." in PureWindowsPath(name).parts:  # it knows / and \\ and C:
            raise DataError(
                f"{archive}: holds the path {name!r}, which leads out of it; the archive is refused"
            )
        if stat.S_ISLNK(member.external_attr >> 16):
            raise DataError(f"{archive}: holds the link {name!r}; the archive is refused")
        if member.file_size > MAX_UNPACKED_BYTES:
            raise DataError(
                f"{archive}: {name!r} unpacks to {member.file_size} bytes; the archive is refused"
            )
    if missing:
        raise DataError(
            f"{archive}: lacks {counted(len(missing))} such as {missing[0]}; it is not the published archive"
        )

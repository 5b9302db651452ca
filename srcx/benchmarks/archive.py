"""Images out of a zip file that came from the net: nothing is written outside the folder they are for."""

import shutil
import stat
import zipfile
from pathlib import Path, PurePosixPath, PureWindowsPath

from srcx.atomic import atomic_path, make_folder
from srcx.errors import DataError
from srcx.progress import OnProgress

__all__ = ["unpack"]

MAX_BYTES = 256 << 20  # of one image, unpacked


def unpack(archive: Path, folder: Path, names: list[str], on_progress: OnProgress) -> None:
    """Write the images `names` of a zip file into `folder`; those that are there in full are left alone.

    Where in the archive an image lies is of no matter, only its name.

    Raises:
        DataError: the archive is damaged, lacks one of `names`, or holds a path that leads out of it, a link
            or an image of an absurd size.
        OutputError: an image cannot be written.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            members = {PurePosixPath(one.filename).name: one for one in opened.infolist()}
            _check(archive, opened.infolist(), missing=[name for name in names if name not in members])
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
        raise DataError(f"{archive}: is no whole zip file ({error}); fetch it again") from error


def _check(archive: Path, members: list[zipfile.ZipInfo], *, missing: list[str]) -> None:
    for member in members:
        name = member.filename
        if PureWindowsPath(name).anchor or ".." in PureWindowsPath(name).parts:  # it knows / and \\ and C:
            raise DataError(f"{archive}: holds the path {name!r}, which leads out of it; it is refused")
        if stat.S_ISLNK(member.external_attr >> 16):
            raise DataError(f"{archive}: holds the link {name!r}; it is refused")
        if member.file_size > MAX_BYTES:
            raise DataError(f"{archive}: {name!r} unpacks to {member.file_size} bytes; it is refused")
    if missing:
        raise DataError(
            f"{archive}: lacks {len(missing)} images, {missing[0]} among them; it is another archive"
        )

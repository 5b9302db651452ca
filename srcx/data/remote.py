"""Shards on object storage, s3://, gs://, hf:// and https://, by fsspec, with a local cache.

A shard is fetched whole once, to find its images and their sizes. Its index is cached for good, and its copy
while a tenth of the disk stays free. Images of shards without a copy are fetched one by one, from their place
in the shard. An epoch draws every image equally often, so it does not matter which shards have a copy, and
none replaces another.
"""

import hashlib
import json
import logging
import re
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock

from srcx.atomic import DISK_FULL, atomic_path, make_folder, remove_leftovers
from srcx.errors import DataError
from srcx.weights.published import cache_folder

__all__ = ["RemoteShard", "check_address", "is_address"]

Result = TypeVar("Result")

PROTOCOLS = ("s3", "gs", "hf", "https")
"""No http, which anyone on the way can change; no file systems that open others, such as simplecache::."""
TRIES, WAIT_S = 4, 1.0
"""A request that fails is repeated after 1, 2 and 4 seconds."""
LEAST_FREE = 0.1
"""Share of the disk that copies leave free."""
VERSION_KEYS = (
    *("size", "ETag", "etag", "LastModified", "Last-Modified", "last_modified", "mtime"),
    *("Content-MD5", "Digest", "md5Hash", "crc32c", "blob_id"),
)
"""Facts by which versions of an object in a store are distinguished."""

log = logging.getLogger(__name__)


def is_address(root: Path | str) -> bool:
    """Return whether a data root is an address, not a path; one letter would be a disk of Windows."""
    return bool(re.match(r"[A-Za-z][\w+.-]+:", str(root)))


def check_address(address: str) -> None:
    """Refuse an address that is not of a shard on object storage.

    Raises:
        DataError: it is not.
    """
    protocol = address.partition(":")[0]
    if protocol not in PROTOCOLS or not address.startswith(f"{protocol}://") or "::" in address:
        known = ", ".join(f"{one}://" for one in PROTOCOLS)
        raise DataError(f"{address}: expected an address that begins with {known}; no other is opened")
    if not address.endswith(".tar"):
        raise DataError(f"{address}: expected shards by their names, such as .../train-{{0000..0146}}.tar")


@dataclass(frozen=True)
class RemoteShard:
    """A shard at an address."""

    address: str

    def __str__(self) -> str:
        return self.address

    @property
    def folder(self) -> Path:
        """Folder of the index and the copy."""
        return cache_folder().parent / "shards" / hashlib.sha256(self.address.encode()).hexdigest()[:32]

    @property
    def copy(self) -> Path:
        """The local copy, which need not be there."""
        return self.folder / "shard.tar"

    def index(self, make: Callable[[Path], Any]) -> Any:
        """Return the index of the shard: the cached one, or a new one where the shard has changed.

        Args:
            make: Makes the index, which JSON can hold, from a copy of the shard.

        Raises:
            DataError: the shard cannot be fetched, or `make` refuses it.
            OutputError: its copy cannot be written.
        """
        version = self._version()
        stored = self.folder / "index.json"
        with FileLock(make_folder(self.folder) / "lock"):  # the other ranks of this machine wait
            if stored.is_file() and (found := json.loads(stored.read_text("utf-8")))["version"] == version:
                return found["index"]
            log.info("%s: is fetched to find its images", self)
            stored.unlink(missing_ok=True)
            remove_leftovers(self.folder)
            with atomic_path(self.copy) as temporary:
                self._try(lambda fs, path: fs.get_file(path, str(temporary)))
                index = make(temporary)
            disk = shutil.disk_usage(self.folder)
            if disk.free < LEAST_FREE * disk.total:
                log.warning("%s: no copy is kept, since less than a tenth of the disk is free", self)
                self.copy.unlink()
            with atomic_path(stored) as temporary:
                temporary.write_text(json.dumps({"version": version, "index": index}), "utf-8")
            return index

    def read(self, start: int, size: int) -> bytes:
        """Return bytes of the shard, from its copy where there is one.

        Raises:
            DataError: they cannot be fetched.
        """
        try:
            with self.copy.open("rb") as file:
                file.seek(start)
                return file.read(size)
        except FileNotFoundError:
            data = bytes(self._try(lambda fs, path: fs.cat_file(path, start=start, end=start + size)))
            if len(data) != size:
                raise DataError(
                    f"{self}: expected {size} bytes from byte {start} on; got {len(data)}; the server must "
                    "answer requests for a range of bytes"
                ) from None
            return data

    def _version(self) -> str:
        facts = self._try(lambda fs, path: fs.info(path))
        return " ".join(f"{key}={facts[key]}" for key in VERSION_KEYS if facts.get(key) is not None)

    def _try(self, work: Callable[[Any, str], Result]) -> Result:
        """Return what a request gives; one that fails is repeated, unless this disk is the cause."""
        import fsspec.core  # only where shards are remote

        number = 0
        while True:
            try:
                # Listings that fsspec keeps would be those of the run's start.
                return work(*fsspec.core.url_to_fs(self.address, use_listings_cache=False))
            except ImportError as error:
                raise DataError(
                    f"{self}: {error}; pip install 'srcx[remote]' installs what reads it"
                ) from error
            except Exception as error:
                if self._is_of_this_disk(error):
                    raise  # `atomic_path` says it; another try would not help
                if isinstance(error, (FileNotFoundError, PermissionError)):
                    raise DataError(
                        f"{self}: this shard does not exist or may not be read ({error}); check the address "
                        "and the credentials"
                    ) from error
                number += 1
                if number == TRIES:
                    raise DataError(f"{self}: cannot be fetched: {type(error).__name__}: {error}") from error
                log.info("%s: %s: %s; tried again", self, type(error).__name__, error)
                time.sleep(WAIT_S * 2 ** (number - 1))

    def _is_of_this_disk(self, error: Exception) -> bool:
        """Return whether the copy cannot be written: the disk is full, or the error names its file."""
        return isinstance(error, OSError) and (
            error.errno in DISK_FULL or str(error.filename or "").startswith(str(self.folder))
        )

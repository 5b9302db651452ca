"""Digests of files, without the network code that checks them: lists of files need them when srcx starts."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Digest"]

MIB = 1 << 20


@dataclass(frozen=True)
class Digest:
    r"""Expected digest of a file: "sha256", or the "git" blob id (SHA-1 of "blob SIZE\0" and the content)."""

    kind: str
    value: str

    def of(self, path: Path) -> str:
        """Return the digest of `path`, of this kind."""
        digest = hashlib.sha256() if self.kind == "sha256" else hashlib.sha1(usedforsecurity=False)
        if self.kind == "git":
            digest.update(b"blob %d\0" % path.stat().st_size)
        with path.open("rb") as file:
            while chunk := file.read(MIB):
                digest.update(chunk)
        return digest.hexdigest()

    def matches(self, path: Path) -> bool:
        """Return True if `path` has this digest."""
        return self.of(path) == self.value

"""What an earlier run into the same folder left that need not be done again."""

import hashlib
import json
import logging
from pathlib import Path
from typing import Any

from srcx.atomic import atomic_path

__all__ = ["Cache", "sha256_of"]

log = logging.getLogger(__name__)


def sha256_of(path: Path) -> str:
    """Sha256 of a file's content."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


class Cache:
    """Remembers, in OUT/cache.json, what each image was made of and what was measured on it.

    An image counts only while its file is as it was written, a score only for the same two files, metric,
    arguments and version of srcx; a damaged cache is as good as none.

    Args:
        root: The folder of the results.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.file = root / "cache.json"
        self.images: dict[str, dict[str, str]] = {}
        self.scores: dict[str, float] = {}
        if self.file.is_file():
            self._load()

    def _load(self) -> None:
        try:
            content = json.loads(self.file.read_text("utf-8"))
            self.images = {name: _made(one) for name, one in content["images"].items()}
            self.scores = {str(key): float(value) for key, value in content["scores"].items()}
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            log.warning("%s: cannot be read (%s); everything is made anew", self.file, type(error).__name__)
            self.images, self.scores = {}, {}

    def image_sha256(self, relative: str, made_of: str) -> str | None:
        """The sha256 of an image that was made of the same things and is still there, else None."""
        known = self.images.get(relative)
        if not known or known["made_of"] != made_of or not (self.root / relative).is_file():
            return None
        sha256 = sha256_of(self.root / relative)
        return sha256 if sha256 == known["sha256"] else None

    def keep_image(self, relative: str, made_of: str) -> str:
        """Remember an image that was just written; gives its sha256."""
        sha256 = sha256_of(self.root / relative)
        self.images[relative] = {"made_of": made_of, "sha256": sha256}
        return sha256

    def save(self) -> None:
        """Write the cache.

        Raises:
            OutputError: the place cannot be written.
        """
        content: dict[str, Any] = {"images": self.images, "scores": self.scores}
        with atomic_path(self.file) as temporary:
            temporary.write_text(json.dumps(content, indent=0), "utf-8")


def _made(one: Any) -> dict[str, str]:
    return {"made_of": str(one["made_of"]), "sha256": str(one["sha256"])}

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
        rank: Number of this process among those that share the work. Those behind the first keep what they
            made before they were stopped in cache-RANK.json, until a run ends well.
    """

    def __init__(self, root: Path, *, rank: int = 0) -> None:
        self.root = root
        self.file = root / "cache.json"
        self.own_file = root / f"cache-{rank}.json" if rank else self.file
        self.images: dict[str, dict[str, str]] = {}
        self.scores: dict[str, float] = {}
        for file in (self.file, *self._others()):
            if file.is_file():
                self._load(file)

    def _others(self) -> list[Path]:
        return sorted(self.root.glob("cache-*.json"))

    def _load(self, file: Path) -> None:
        try:
            content = json.loads(file.read_text("utf-8"))
            images = {name: _made(one) for name, one in content["images"].items()}
            scores = {str(key): float(value) for key, value in content["scores"].items()}
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            log.warning("%s: cannot be read (%s); what it says is made anew", file, type(error).__name__)
            return
        self.images.update(images)
        self.scores.update(scores)

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
        """Write the cache of all processes.

        Raises:
            OutputError: the place cannot be written.
        """
        self.save_own()
        for file in self._others():
            file.unlink(missing_ok=True)

    def save_own(self) -> None:
        """Write what this process knows, and leave alone what the others have written; raises as `save`."""
        content: dict[str, Any] = {"images": self.images, "scores": self.scores}
        with atomic_path(self.own_file) as temporary:
            temporary.write_text(json.dumps(content, indent=0), "utf-8")


def _made(one: Any) -> dict[str, str]:
    return {"made_of": str(one["made_of"]), "sha256": str(one["sha256"])}

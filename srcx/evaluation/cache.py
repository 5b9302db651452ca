"""Cache of a benchmark: images and scores that a second run into the same folder need not make again."""

import hashlib
import json
import logging
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from srcx.atomic import atomic_path, make_folder, writing
from srcx.errors import ImageError, OutputError
from srcx.imaging import ImageArray, write_image

__all__ = ["Cache", "sha256_of"]

log = logging.getLogger(__name__)


def sha256_of(path: Path) -> str:
    """Return the sha256 of an image file's content; ImageError if it cannot be read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise ImageError(f"{path}: cannot be read: {error.strerror}") from error


class Cache:
    """Stores in OUT/cache.json what each image was made of, and its scores.

    An image is valid only while its file is as it was written; a score is valid only for the same two files,
    metric, arguments and version of srcx. A damaged cache counts as empty.

    Args:
        root: The folder of the results.
        rank: Rank of this process. A rank above 0 that is stopped saves its images in cache-RANK.json; rank 0
            merges these files into cache.json at the end of the next complete run.
    """

    def __init__(self, root: Path, *, rank: int = 0) -> None:
        self.root = root
        self.file = root / "cache.json"
        self.own_file = root / f"cache-{rank}.json" if rank else self.file
        self.images: dict[str, dict[str, str]] = {}
        self.scores: dict[str, float] = {}
        for file in (self.file, *self._files_of_others()):
            if not file.is_file():
                continue
            try:
                content = json.loads(file.read_text("utf-8"))
                images = {
                    name: {key: str(one[key]) for key in ("made_of", "sha256")}
                    for name, one in content["images"].items()
                }
                scores = {str(key): float(value) for key, value in content["scores"].items()}
            except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
                log.warning("%s: cannot be read (%s); its content is made again", file, type(error).__name__)
                continue
            self.images.update(images)
            self.scores.update(scores)

    def _files_of_others(self) -> list[Path]:
        return sorted(self.root.glob("cache-*.json"))

    def ensure_image(self, relative: str, made_of: str, make: Callable[[], ImageArray]) -> None:
        """Write an image, unless the file is there, unchanged, and was made of the same.

        Args:
            relative: File, relative to the folder of the results.
            made_of: All that the image depends on.
            make: Returns the image.

        Raises:
            ImageError: the file cannot have this name.
            OutputError: the folder cannot be made, or the file cannot be written.
        """
        path, known = self.root / relative, self.images.get(relative)
        if known and known["made_of"] == made_of and path.is_file() and sha256_of(path) == known["sha256"]:
            return
        make_folder(path.parent)
        try:
            with writing(path), suppress(FileNotFoundError):
                path.stat()  # now, not after the work; it fails where the name is too long
        except OutputError as error:
            raise ImageError(str(error)) from error  # the other images can still be written
        write_image(path, make())
        self.images[relative] = {"made_of": made_of, "sha256": sha256_of(path)}

    def save(self) -> None:
        """Write the cache of all processes, and delete the files of single ranks.

        Raises:
            OutputError: the place cannot be written.
        """
        self.save_own()
        for file in self._files_of_others():
            file.unlink(missing_ok=True)

    def save_own(self) -> None:
        """Write the cache of this process, without changing the files of the others; raise as `save` does."""
        content: dict[str, Any] = {"images": self.images, "scores": self.scores}
        with atomic_path(self.own_file) as temporary:
            temporary.write_text(json.dumps(content, indent=0), "utf-8")

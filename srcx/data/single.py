"""Low-resolution images alone, to be upscaled without a ground truth."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from srcx.counted import counted
from srcx.data.dataset import Levels, WholePair
from srcx.data.pairs import Problems, check_names
from srcx.data.stored import IoBackend, list_stored

__all__ = ["SingleImageDataset"]


class SingleImageDataset:
    """Whole images for a test, with the options of BasicSR's data set of this name; `gt` is always None.

    Args:
        dataroot_lq: Folder of images; for LMDB its name ends in `.lmdb`; or shards, see `find_members`.
        io_backend: How the images are stored.
        meta_info_file: A list of names, to take these alone.
        color: "y" gives the luma channel alone.
        mean: Subtracted from each channel.
        std: Divides each channel after that.

    Raises:
        DataError: with all that is wrong: a missing or empty folder, files that cannot be read.
    """

    def __init__(
        self,
        *,
        dataroot_lq: Path | str,
        io_backend: IoBackend = "disk",
        meta_info_file: Path | str | None = None,
        color: Literal["y"] | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ) -> None:
        self.levels = Levels(color, mean, std)
        self.images = list_stored(
            dataroot_lq, io_backend=io_backend, side="lq", meta_info_file=meta_info_file
        )
        self._sizes = []
        problems = Problems()
        check_names(self.images, problems=problems)
        for image in self.images:
            with problems.noted():
                self._sizes.append(image.size())
        problems.stop_if_any(str(dataroot_lq))

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> WholePair:
        image = self.images[index]
        return WholePair(image.name, self.levels(image.read()[None]), None, self.levels)

    def __iter__(self) -> Iterator[WholePair]:
        return (self[index] for index in range(len(self)))

    def describe(self) -> str:
        """Return number and size of the images in one sentence."""
        pixels = sum(height * width for height, width in self._sizes)
        return f"{counted(len(self))}, {pixels / 1e6:.1f} megapixels, without ground truth"

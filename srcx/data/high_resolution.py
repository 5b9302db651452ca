"""High-resolution pictures alone; their low-resolution side is made on the fly."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from srcx.data.crops import Pair
from srcx.data.dataset import PairDataset, crops_of, large_enough
from srcx.data.levels import Levels
from srcx.data.pairs import Size
from srcx.data.problems import Problems
from srcx.data.stored import IoBackend, Stored, list_stored
from srcx.imaging.resize import imresize

__all__ = ["HighResolutionDataset", "cut_sizes", "with_bicubic"]


class HighResolutionDataset(PairDataset):
    """Pictures whose low-resolution side is MATLAB's bicubic of the whole picture, rounded to 8 bits.

    A picture is first cut at the right and bottom to a multiple of `scale`, as published training sets are.

    Args:
        dataroot_gt: Folder or folders of pictures, read with their sub-folders; or LMDB folders; or shards,
            see `find_members`.
        scale: The low-resolution side is this much smaller.
        gt_size: Side of training crops in ground-truth pixels; None gives whole pictures. Smaller pictures
            are left out with a warning.
        io_backend: How the pictures are kept.
        meta_info_file: A list of names relative to the (one) folder, to take these alone.
        use_hflip: Flip crops left to right at random.
        use_rot: Flip crops upside down and transpose them at random.
        color: "y" gives the luma channel alone.
        mean: Subtracted from each channel.
        std: Divides each channel after that.
        cache_mib: MiB of decoded pictures, and what is made of them, kept in memory.

    Raises:
        DataError: with all that is wrong: missing or empty folders, files that cannot be read.
    """

    def __init__(
        self,
        *,
        dataroot_gt: Path | str | Sequence[Path | str],
        scale: int,
        gt_size: int | None = None,
        io_backend: IoBackend = "disk",
        meta_info_file: Path | str | None = None,
        use_hflip: bool = True,
        use_rot: bool = True,
        color: Literal["y"] | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        cache_mib: int = 1024,
    ) -> None:
        roots = [dataroot_gt] if isinstance(dataroot_gt, (str, Path)) else list(dataroot_gt)
        crops = crops_of(gt_size, scale, use_hflip=use_hflip, use_rot=use_rot)
        problems = Problems()
        sizes: dict[Stored, Size] = {}
        for root in roots:
            with problems.noted():
                stored = list_stored(
                    root, io_backend=io_backend, meta_info_file=meta_info_file, recursive=True
                )
                sizes |= cut_sizes(stored, scale, problems)
        where = ", ".join(str(root) for root in roots)
        problems.stop_if_any(where)
        fitting = large_enough(sizes, crops, where)
        super().__init__(
            list(fitting.values()),
            scale=scale,
            crops=crops,
            levels=Levels(color, mean, std),
            cache_mib=cache_mib,
        )
        self.pictures = list(fitting)

    def name(self, index: int) -> str:
        return self.pictures[index].name

    def read(self, index: int) -> Pair:
        return with_bicubic(self.pictures[index].read(), self.scale)


def with_bicubic(whole: NDArray[np.uint8], scale: int) -> Pair:
    """A picture (H, W, 3), cut to a multiple of `scale`, and MATLAB's bicubic of it."""
    height, width = (side // scale for side in whole.shape[:2])
    gt = whole[: height * scale, : width * scale]
    return Pair(imresize(gt, size=(height, width)), gt)


def cut_sizes(pictures: list[Stored], scale: int, problems: Problems) -> dict[Stored, Size]:
    """Sizes cut to a multiple of `scale`."""
    sizes = {}
    for picture in pictures:
        with problems.noted():
            height, width = picture.size()
            sizes[picture] = (height - height % scale, width - width % scale)
    return sizes

"""High-resolution images alone; lq is made on the fly: MATLAB's bicubic, or a degradation."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from srcx.config.degradation import DegradationOptions
from srcx.data.crops import Pair
from srcx.data.dataset import Levels, PairDataset, crops_of, large_enough
from srcx.data.degradation import degrade
from srcx.data.pairs import Problems, Size, check_names
from srcx.data.stored import IoBackend, Shrunk, Stored, list_stored
from srcx.errors import DataError
from srcx.imaging.resize import crop_to_multiple, imresize

__all__ = ["HighResolutionDataset", "cut_sizes", "with_bicubic"]


BORDER_PX = 2
"""lq pixels around a crop that is degraded: MATLAB's bicubic of the crop is then that of the whole image."""
GRID_PX = 8
"""Side of JPEG's blocks: a crop lies anywhere in the grid of the image that was saved."""


class HighResolutionDataset(PairDataset):
    """Images whose lq is MATLAB's bicubic of the whole image, rounded to 8 bits, or made by a degradation.

    An image is first cut at the right and bottom to a multiple of `scale`, as published training sets are.

    With `gt_scales: [1, 0.5]` the set has each image twice, the second time at half its size, as BasicSR's
    script generate_multiscale_DF2K.py writes files: what is small in a large photograph is seen too.

    A degradation is drawn anew for each crop, from the generator that also draws the crop. For whole images,
    which are to validate on, it depends on the image's number alone.

    Args:
        dataroot_gt: Folder or folders of images, read with their sub-folders; or LMDB folders; or shards,
            see `find_members`.
        scale: The low-resolution side is this much smaller.
        gt_size: Side of training crops in ground-truth pixels; None gives whole images. Smaller images
            are left out with a warning.
        gt_scales: Factors in (0, 1], each different: an image is there once for each, shrunk by MATLAB's
            bicubic; None is as [1].
        degradation: How lq is made; None makes MATLAB's bicubic.
        io_backend: How the images are stored.
        meta_info_file: A list of names relative to the (one) folder, to take these alone.
        use_hflip: Flip crops left to right at random.
        use_rot: Flip crops upside down and transpose them at random.
        crop_candidates: Places drawn for each crop, of which that with the largest gradient energy is taken.
        uniform_share: Share of the crops, in [0, 1], that are drawn without such a choice.
        color: "y" gives the luma channel alone.
        mean: Subtracted from each channel.
        std: Divides each channel after that.
        cache_mib: MiB of decoded images, and of images made from them, in the cache.

    Raises:
        DataError: with all that is wrong: missing or empty folders, files that cannot be read, a number out
            of range.
    """

    def __init__(
        self,
        *,
        dataroot_gt: Path | str | Sequence[Path | str],
        scale: int,
        gt_size: int | None = None,
        gt_scales: Sequence[float] | None = None,
        degradation: DegradationOptions | None = None,
        io_backend: IoBackend = "disk",
        meta_info_file: Path | str | None = None,
        use_hflip: bool = True,
        use_rot: bool = True,
        crop_candidates: int = 1,
        uniform_share: float = 0.0,
        color: Literal["y"] | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        cache_mib: int = 1024,
    ) -> None:
        roots = [dataroot_gt] if isinstance(dataroot_gt, (str, Path)) else list(dataroot_gt)
        crops = crops_of(
            gt_size,
            scale,
            use_hflip=use_hflip,
            use_rot=use_rot,
            candidates=crop_candidates,
            uniform_share=uniform_share,
        )
        factors = (1.0,) if gt_scales is None else tuple(gt_scales)
        if not factors or len({*factors}) < len(factors) or not all(0 < factor <= 1 for factor in factors):
            raise DataError(f"gt_scales must be different factors in (0, 1]; got {list(factors)}")
        problems = Problems()
        sizes: dict[Stored, Size] = {}
        for root in roots:
            with problems.noted():
                stored = list_stored(
                    root, io_backend=io_backend, meta_info_file=meta_info_file, recursive=True
                )
                sizes |= cut_sizes(stored, scale, problems, factors)
        if crops is None:  # results are called by these names
            check_names(list(sizes), problems=problems)
        where = ", ".join(str(root) for root in roots)
        problems.stop_if_any(where)
        fitting = large_enough(sizes, crops, where, scale=scale)
        super().__init__(
            list(fitting.values()),
            scale=scale,
            crops=crops,
            levels=Levels(color, mean, std),
            cache_mib=cache_mib,
        )
        self.images = list(fitting)
        self.degradation = degradation

    def name(self, index: int) -> str:
        return self.images[index].name

    def read(self, index: int) -> Pair:
        whole = self.images[index].read()
        if self.degradation is None:
            return with_bicubic(whole, self.scale)
        return self._degraded(index, crop_to_multiple(whole, self.scale), np.random.default_rng(index))

    def sample(self, index: int, rng: np.random.Generator) -> Pair:
        """Return a random crop, degraded if `degradation` is set; only for data sets with `gt_size`."""
        if self.degradation is None:
            return super().sample(index, rng)
        assert self.crops is not None, "made without gt_size"
        # gt alone, so under another number than the whole pair.
        number = len(self) + index
        (gt,) = self._cache.get(number, lambda: (crop_to_multiple(self.images[index].read(), self.scale),))
        size = self.crops.gt_size // self.scale
        place = self.crops.choose(gt.shape[0] // self.scale, gt.shape[1] // self.scale, gt, rng)
        rows = _around(place.top, size, gt.shape[0] // self.scale, rng)
        columns = _around(place.left, size, gt.shape[1] // self.scale, rng)
        in_gt = tuple(slice(part.start * self.scale, part.stop * self.scale) for part in (rows, columns))
        around = self._degraded(index, gt[in_gt], rng)
        top, left = place.top - rows.start, place.left - columns.start
        return Pair(
            place.cut(around.lq, top, left, size),
            place.cut(around.gt, top * self.scale, left * self.scale, self.crops.gt_size),
        )

    def _degraded(self, index: int, gt: NDArray[np.uint8], rng: np.random.Generator) -> Pair:
        assert self.degradation is not None
        name = str(self.images[index])
        return Pair(degrade(gt, self.degradation, scale=self.scale, rng=rng, name=name), gt)


def _around(start: int, size: int, length: int, rng: np.random.Generator) -> slice:
    """A crop and its surroundings in one direction, in lq pixels; the crop lies anywhere in JPEG's grid."""
    before = int(rng.integers(BORDER_PX, BORDER_PX + GRID_PX))
    around = min(size + 2 * BORDER_PX + GRID_PX - 1, length)
    first = min(max(start - before, 0), length - around)
    return slice(first, first + around)


def with_bicubic(whole: NDArray[np.uint8], scale: int) -> Pair:
    """Return an image (H, W, 3) cropped to a multiple of `scale`, and its MATLAB bicubic."""
    gt = crop_to_multiple(whole, scale)
    return Pair(imresize(gt, size=(gt.shape[0] // scale, gt.shape[1] // scale)), gt)


def cut_sizes(
    images: list[Stored], scale: int, problems: Problems, factors: Sequence[float] = (1.0,)
) -> dict[Stored, Size]:
    """Return the images at each of the factors, with their sizes cropped to a multiple of `scale`."""
    whole: dict[Stored, Size] = {}
    for image in images:
        with problems.noted():
            whole[image] = image.size()
    sizes = {}
    for factor in factors:
        for image, size in whole.items():
            one = image if factor == 1 else Shrunk(image, factor, size)
            height, width = size if factor == 1 else one.size()
            sizes[one] = (height - height % scale, width - width % scale)
    return sizes

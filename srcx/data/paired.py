"""Pairs of a low-resolution image and its ground truth, both stored."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from srcx.data.crops import Pair
from srcx.data.dataset import Levels, PairDataset, crops_of, large_enough
from srcx.data.pairs import Problems, check_pairs, find_pairs
from srcx.data.stored import IoBackend

__all__ = ["PairedImageDataset"]


class PairedImageDataset(PairDataset):
    """Stored pairs, with the options of BasicSR's data set of this name.

    Args:
        dataroot_gt: Folder of ground truth; for LMDB its name ends in `.lmdb`; or shards, see `find_members`.
        dataroot_lq: Folder of low-resolution images; shards may be those of `dataroot_gt`.
        scale: Ground truth is this much larger.
        gt_size: Side of training crops in ground-truth pixels; None gives whole images.
        io_backend: How the images are stored.
        meta_info_file: A list of ground-truth names, to take these alone.
        meta_info: A text file with `gt, lq` a line, two names relative to the folders; only for "disk".
        filename_tmpl: Name of the lq file without suffix; `{}` is the ground truth's.
        use_hflip: Flip crops left to right at random.
        use_rot: Flip crops upside down and transpose them at random.
        crop_candidates: Places drawn for each crop, of which that with the largest gradient energy is taken.
        uniform_share: Share of the crops, in [0, 1], that are drawn without such a choice.
        color: "y" gives the luma channel alone.
        mean: Subtracted from each channel.
        std: Divides each channel after that.
        cache_mib: MiB of decoded images in the cache.

    Raises:
        DataError: with all that is wrong: missing or empty folders, images without a partner, sizes that
            do not fit, files that cannot be read.

    References:
        BasicSR 1.4.2, `basicsr/data/paired_image_dataset.py` (Apache-2.0).
        Differs from it: every pair is checked at the start; images smaller than `gt_size` are left out with
        a warning, where BasicSR stops in the middle of training; a partner may have another suffix.
    """

    def __init__(
        self,
        *,
        dataroot_gt: Path | str,
        dataroot_lq: Path | str,
        scale: int,
        gt_size: int | None = None,
        io_backend: IoBackend = "disk",
        meta_info_file: Path | str | None = None,
        meta_info: Path | str | None = None,
        filename_tmpl: str = "{}",
        use_hflip: bool = True,
        use_rot: bool = True,
        crop_candidates: int = 1,
        uniform_share: float = 0.0,
        color: Literal["y"] | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        cache_mib: int = 1024,
    ) -> None:
        crops = crops_of(
            gt_size,
            scale,
            use_hflip=use_hflip,
            use_rot=use_rot,
            candidates=crop_candidates,
            uniform_share=uniform_share,
        )
        problems = Problems()
        pairs = find_pairs(
            dataroot_gt,
            dataroot_lq,
            io_backend=io_backend,
            meta_info_file=meta_info_file,
            meta_info=meta_info,
            filename_tmpl=filename_tmpl,
            problems=problems,
        )
        sizes = check_pairs(pairs, scale=scale, for_training=crops is not None, problems=problems)
        problems.stop_if_any(str(dataroot_gt))
        fitting = large_enough(sizes, crops, str(dataroot_gt), scale=scale)
        super().__init__(
            list(fitting.values()),
            scale=scale,
            crops=crops,
            levels=Levels(color, mean, std),
            cache_mib=cache_mib,
        )
        self.pairs = list(fitting)

    def name(self, index: int) -> str:
        return self.pairs[index].gt.name

    def read(self, index: int) -> Pair:
        lq, gt = self.pairs[index].lq.read(), self.pairs[index].gt.read()
        return Pair(lq, gt[: lq.shape[0] * self.scale, : lq.shape[1] * self.scale])

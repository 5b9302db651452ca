"""Pairs that are not aligned pixel by pixel, or do not show the same scene."""

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from srcx.data.crops import Pair
from srcx.data.dataset import Levels, PairDataset, crops_of, large_enough
from srcx.data.high_resolution import cut_sizes, with_bicubic
from srcx.data.pairs import Problems, Size, check_pairs, find_pairs, find_several
from srcx.data.stored import Stored, list_stored

__all__ = ["NonAlignedPairDataset", "Targets"]

Targets = Literal["paired", "several", "unpaired"]


class Item(NamedTuple):
    """Stored lq image, None if it is made from the target, and the target."""

    lq: Stored | None
    gt: Stored

    def __str__(self) -> str:
        return str(self.gt)


class NonAlignedPairDataset(PairDataset):
    """Crops to train on whose ground truth, the target, need not be aligned with lq.

    Fit for losses that look for features wherever they are, as `ContextualLoss` does. What is drawn at random
    comes from the generator of the crop, so a run continues to the same bits.

    Args:
        dataroot_gt: Folder of targets.
        scale: Targets are this much larger; 1 for tasks such as denoising.
        gt_size: Side of the target's crop in pixels.
        dataroot_lq: Folder of low-resolution images; None makes them of the targets, which are then read
            with their sub-folders, by MATLAB's bicubic as `HighResolutionDataset` does.
        meta_info_file: A list of names of targets, to take these pairs alone; not for other `targets`.
        filename_tmpl: Name of the lq file without suffix; `{}` is that of its target, or of the folder of
            its targets. Not for unpaired ones.
        targets: "paired": the target of the same name. "several": `dataroot_gt` has a folder for each lq
            image, named as it; each of its images is a target of its own, drawn once in an epoch.
            "unpaired": any place of any target, drawn anew each time.
        max_offset: Whole target pixels by which the target's crop is moved at random, down and right alike,
            every offset up to this being as likely as any other. All places where they fit are used.
        use_hflip: Flip crops left to right at random, lq and target alike unless they are unpaired.
        use_rot: Flip crops upside down and transpose them at random, likewise.
        color: "y" gives the luma channel alone.
        mean: Subtracted from each channel.
        std: Divides each channel after that.
        cache_mib: MiB of decoded images in the cache.

    Raises:
        DataError: with all that is wrong: missing or empty folders, images without a partner, sizes that
            do not fit, files that cannot be read.

    References:
        Mechrez et al., "The Contextual Loss for Image Transformation with Non-Aligned Data", ECCV 2018,
        arXiv:1803.02077.
    """

    def __init__(
        self,
        *,
        dataroot_gt: Path | str,
        scale: int,
        gt_size: int,
        dataroot_lq: Path | str | None = None,
        meta_info_file: Path | str | None = None,
        filename_tmpl: str = "{}",
        targets: Targets = "paired",
        max_offset: int = 0,
        use_hflip: bool = True,
        use_rot: bool = True,
        color: Literal["y"] | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        cache_mib: int = 1024,
    ) -> None:
        crops = crops_of(gt_size, scale, use_hflip=use_hflip, use_rot=use_rot, max_offset=max_offset)
        problems = Problems()
        sizes: Mapping[Item, Size]
        if dataroot_lq is None:
            sizes = {Item(None, gt): size for gt, size in _sizes(dataroot_gt, problems, scale).items()}
        elif targets == "unpaired":
            lqs, gts = _sizes(dataroot_lq, problems), _sizes(dataroot_gt, problems)
            problems.stop_if_any(str(dataroot_gt))
            lqs = {lq: (height * scale, width * scale) for lq, (height, width) in lqs.items()}
            sizes = _side_by_side(
                large_enough(lqs, crops, str(dataroot_lq), scale=scale),
                large_enough(gts, crops, str(dataroot_gt), scale=scale),
            )
        else:
            find = (
                find_several if targets == "several" else partial(find_pairs, meta_info_file=meta_info_file)
            )
            pairs = find(dataroot_gt, dataroot_lq, filename_tmpl=filename_tmpl, problems=problems)
            checked = check_pairs(pairs, scale=scale, for_training=True, problems=problems)
            sizes = {Item(*pair): size for pair, size in checked.items()}
        problems.stop_if_any(str(dataroot_gt))
        fitting = large_enough(sizes, crops, str(dataroot_gt), scale=scale)
        super().__init__(
            list(fitting.values()),
            scale=scale,
            crops=crops,
            levels=Levels(color, mean, std),
            cache_mib=cache_mib,
        )
        self.targets, self.items = targets, list(fitting)

    def name(self, index: int) -> str:
        lq, gt = self.items[index]
        return (lq or gt).name

    def read(self, index: int) -> Pair:
        lq, gt = self.items[index]
        return with_bicubic(gt.read(), self.scale) if lq is None else Pair(lq.read(), gt.read())

    def sample(self, index: int, rng: np.random.Generator) -> Pair:
        """Return a random crop of lq and one of its target."""
        if self.targets != "unpaired":
            return super().sample(index, rng)
        assert self.crops is not None
        other = int(rng.integers(len(self)))
        return self.crops.apart(Pair(self._cached(index).lq, self._cached(other).gt), rng)

    def describe(self) -> str:
        """Return number, size and kind of the pairs in one sentence."""
        return f"{super().describe()}, targets {self.targets}, {self.crops}"


def _sizes(root: Path | str, problems: Problems, scale: int = 1) -> dict[Stored, Size]:
    """Return the images of a folder and its sub-folders with their sizes, cropped to `scale`."""
    with problems.noted():
        return cut_sizes(list_stored(root, recursive=True), scale, problems)
    return {}


def _side_by_side(lqs: Mapping[Stored, Size], gts: Mapping[Stored, Size]) -> dict[Item, Size]:
    """Pair every image of the longer list once with images of the other, repeated as needed."""
    count = max(len(lqs), len(gts))
    together = zip(range(count), cycle(lqs), cycle(gts.items()), strict=False)
    return {Item(lq, gt): size for _, lq, (gt, size) in together}

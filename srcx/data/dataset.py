"""Base of the data sets: whole pairs for validation, random crops for training, cache, value ranges."""

import logging
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from threading import Lock
from typing import Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from srcx.counted import counted
from srcx.data.crops import Crops, Pair
from srcx.data.pairs import Size
from srcx.errors import DataError
from srcx.imaging.color import to_rgb, y_of_tensor
from srcx.imaging.decode import ImageArray
from srcx.imaging.tensors import to_image

__all__ = ["ImageCache", "Levels", "PairDataset", "WholePair", "crops_of", "large_enough"]

logger = logging.getLogger(__name__)

MIB = 2**20
Item = TypeVar("Item")
Arrays = tuple[NDArray[np.uint8], ...]


@dataclass(frozen=True)
class Levels:
    """BasicSR's `color`, `mean` and `std`, in this order."""

    color: Literal["y"] | None = None
    """y: luma alone, one channel in [16/255, 235/255]."""
    mean: Sequence[float] | None = None
    """Subtracted from each channel."""
    std: Sequence[float] | None = None
    """Divides each channel after that."""

    def __call__(self, images: NDArray[np.uint8]) -> Tensor:
        """Convert uint8 RGB (N, H, W, 3) to float32 (N, C, H, W), channels-last in memory."""
        # By numpy: torch would start its own threads for each worker.
        values = torch.from_numpy(np.divide(images, 255, dtype=np.float32)).permute(0, 3, 1, 2)
        if self.color == "y":
            values = y_of_tensor(values)
        if self.mean is not None:
            values = values - values.new_tensor(self.mean).view(1, -1, 1, 1)
        if self.std is not None:
            values = values / values.new_tensor(self.std).view(1, -1, 1, 1)
        return values

    def images(self, values: Tensor) -> NDArray[np.uint8]:
        """Undo the call: float32 (N, C, H, W) to uint8 RGB (N, H, W, 3), luma alone as grey."""
        return np.stack([to_rgb(self.image(value[None])) for value in values])

    def image(self, values: Tensor) -> ImageArray:
        """Undo `mean` and `std`: float (1, C, H, W) to uint8 (H, W, 3), or (H, W) for one channel."""
        if self.std is not None:
            values = values * values.new_tensor(self.std).view(1, -1, 1, 1)
        if self.mean is not None:
            values = values + values.new_tensor(self.mean).view(1, -1, 1, 1)
        return to_image(values)


@dataclass(frozen=True)
class WholePair:
    """Whole images to validate on; lq and gt are float32 (1, C, H, W), gt is None where there is none."""

    name: str
    lq: Tensor
    gt: Tensor | None
    levels: Levels = Levels()
    """Conversion of pixels to lq and gt, and by `image` of the network's output to pixels."""


class ImageCache:
    """Caches tuples of arrays by number, up to `max_mib` MiB in all; safe between threads.

    Example:
        >>> cache = ImageCache(max_mib=1)
        >>> read = lambda: (np.zeros((512, 512), np.uint8),)
        >>> cache.get(0, read)[0] is cache.get(0, read)[0]
        True
    """

    def __init__(self, max_mib: int) -> None:
        self.max_bytes = max_mib * 2**20
        self._cached: OrderedDict[int, Arrays] = OrderedDict()
        self._bytes = 0
        self._lock = Lock()

    def get(self, number: int, read: Callable[[], Arrays]) -> Arrays:
        """Return the arrays cached for `number`; otherwise call `read` and cache its result."""
        with self._lock:
            if number in self._cached:
                self._cached.move_to_end(number)
                return self._cached[number]
        arrays = read()  # outside the lock: two threads may read at once
        with self._lock:
            self._store(number, arrays)
        return arrays

    def _store(self, number: int, arrays: Arrays) -> None:
        size = _bytes(arrays)
        if number in self._cached or size > self.max_bytes:
            return
        self._cached[number] = arrays
        self._bytes += size
        while self._bytes > self.max_bytes:
            _, removed = self._cached.popitem(last=False)
            self._bytes -= _bytes(removed)


def _bytes(arrays: Arrays) -> int:
    return sum(array.nbytes for array in arrays)


class PairDataset(ABC):
    """Pairs of images, read when they are asked for.

    `dataset[i]` is a whole pair; `dataset.sample(i, rng)` is a random crop of it that `rng` alone decides.
    """

    def __init__(
        self, sizes: list[Size], *, scale: int, crops: Crops | None, levels: Levels, cache_mib: int
    ) -> None:
        self.scale = scale
        self.crops = crops
        self.levels = levels
        self._sizes = sizes
        self._cache = ImageCache(cache_mib)
        if crops and self.decoded_mib > cache_mib:
            logger.warning(
                "%d images need %d MiB when decoded and cache_mib is %d: most crops cost the decoding "
                "of an image; raise cache_mib or cut the images into smaller ones",
                len(sizes), self.decoded_mib, cache_mib,
            )  # fmt: skip

    @abstractmethod
    def name(self, index: int) -> str:
        """Return the name of this image in results."""

    @abstractmethod
    def read(self, index: int) -> Pair:
        """Decode a whole pair whose ground truth is `scale` times the size of lq."""

    def __len__(self) -> int:
        return len(self._sizes)

    def __getitem__(self, index: int) -> WholePair:
        pair = self._cached(range(len(self))[index])
        lq, gt = self.levels(pair.lq[None]), self.levels(pair.gt[None])
        return WholePair(self.name(index), lq, gt, self.levels)

    def __iter__(self) -> Iterator[WholePair]:
        return (self[index] for index in range(len(self)))

    def sample(self, index: int, rng: np.random.Generator) -> Pair:
        """Return a random crop as views of the decoded images; only for data sets with `gt_size`."""
        assert self.crops is not None, "made without gt_size"
        return self.crops(self._cached(index), rng)

    def resized(self, gt_size: int) -> "PairDataset":
        """Return this data set, of the same images in the same cache, with smaller crops."""
        assert self.crops is not None, "made without gt_size"
        other = copy(self)
        other.crops = replace(self.crops, gt_size=gt_size)
        return other

    def describe(self) -> str:
        """Return number and size of the images in one sentence."""
        pixels = sum(height * width for height, width in self._sizes)
        return f"{counted(len(self))}, {pixels / 1e6:.1f} megapixels, {self.decoded_mib} MiB when decoded"

    @property
    def decoded_mib(self) -> int:
        """Memory of all images when decoded, lq included, in MiB."""
        values = sum(height * width * 3 for height, width in self._sizes)
        return round(values * (1 + 1 / self.scale**2) / MIB)

    def _cached(self, index: int) -> Pair:
        return Pair(*self._cache.get(index, lambda: self.read(index)))


def crops_of(
    gt_size: int | None,
    scale: int,
    *,
    use_hflip: bool,
    use_rot: bool,
    candidates: int = 1,
    uniform_share: float = 0.0,
    max_offset: int = 0,
) -> Crops | None:
    """Return the settings of random crops; None for whole images.

    Raises:
        DataError: `gt_size` is no multiple of `scale`, or another number is out of range.
    """
    if gt_size is None:
        return None
    if gt_size < 1 or gt_size % scale:
        raise DataError(f"gt_size must be a multiple of scale {scale}; got {gt_size}")
    if candidates < 1:
        raise DataError(f"crop_candidates must be at least 1; got {candidates}")
    if not 0 <= uniform_share <= 1:
        raise DataError(f"uniform_share must be in [0, 1]; got {uniform_share}")
    if max_offset < 0:
        raise DataError(f"max_offset must be at least 0; got {max_offset}")
    return Crops(gt_size, scale, use_hflip, use_rot, candidates, uniform_share, max_offset)


def large_enough(
    sizes: Mapping[Item, Size], crops: Crops | None, where: str, *, scale: int
) -> dict[Item, Size]:
    """Return the images that hold a crop (or one lq pixel); log the number of the others.

    Raises:
        DataError: no image is large enough.
    """
    smallest = crops.min_gt_px if crops else 1
    fitting = {item: size for item, size in sizes.items() if min(size) >= smallest}
    small = [item for item in sizes if item not in fitting]
    short = f"a side of less than {scale} pixels, one of lq"
    if not fitting and crops:
        raise DataError(f"{where}: none of {len(sizes)} images holds a crop of {crops}; lower it")
    if not fitting:
        raise DataError(f"{small[0]}: has {short}, as have all images in {where}; choose larger images")
    if small:
        logger.warning(
            "%s: %d of %d images %s left out (%s%s)",
            where, len(small), len(sizes),
            f"are smaller than a crop ({crops}) and" if crops else f"have {short}, and are",
            small[0], "" if len(small) == 1 else " ...",
        )  # fmt: skip
    return fitting

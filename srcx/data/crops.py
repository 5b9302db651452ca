"""Random crops of a pair: same or nearby position, same flips."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Crops", "Pair", "Place"]


class Pair(NamedTuple):
    """Low quality (h, w, 3) and ground truth (h * scale, w * scale, 3), uint8 RGB."""

    lq: NDArray[np.uint8]
    gt: NDArray[np.uint8]


@dataclass(frozen=True)
class Crops:
    """Square crops at places of the low-resolution grid, as BasicSR's `paired_random_crop` and `augment`.

    Differs from BasicSR: the choices come from a generator that is handed in, not from a global one.
    """

    gt_size: int
    """Side of the ground-truth crop in pixels, a multiple of `scale`."""
    scale: int
    use_hflip: bool = True
    """Flip left to right in half of the cases."""
    use_rot: bool = True
    """Flip upside down, and transpose, each in half of the cases."""
    candidates: int = 1
    """Places drawn for each crop, of which that with the largest gradient energy is taken."""
    uniform_share: float = 0.0
    """Share of the crops that are drawn without such a choice, so that flat parts are seen too."""
    max_offset: int = 0
    """Whole ground-truth pixels by which the ground-truth crop is moved at most, down and right alike."""

    def __str__(self) -> str:
        return f"gt_size {self.gt_size}" + (f" and max_offset {self.max_offset}" if self.max_offset else "")

    @property
    def min_gt_px(self) -> int:
        """Side of the smallest ground truth that holds a crop and every offset of it."""
        return self.gt_size + 2 * self._margin * self.scale

    def __call__(self, pair: Pair, rng: np.random.Generator) -> Pair:
        """Cut one crop; views of the images, no copies."""
        place = self.choose(pair.lq.shape[0], pair.lq.shape[1], pair.gt, rng)
        return Pair(self._lq(pair.lq, place), self._gt(pair.gt, place))

    def apart(self, pair: Pair, rng: np.random.Generator) -> Pair:
        """Cut lq and gt at independent places and with independent flips."""
        of_lq = self.draw(pair.lq.shape[0], pair.lq.shape[1], rng)
        of_gt = self.draw(pair.gt.shape[0] // self.scale, pair.gt.shape[1] // self.scale, rng)
        return Pair(self._lq(pair.lq, of_lq), self._gt(pair.gt, of_gt))

    @property
    def _margin(self) -> int:
        """Distance of a crop from the border in low-resolution pixels, so that every offset fits."""
        return -(-self.max_offset // self.scale)

    def choose(self, height: int, width: int, gt: NDArray[np.uint8], rng: np.random.Generator) -> "Place":
        """Draw the place of a crop in an lq image of this size; of several, that of the most energy in gt."""
        if self.candidates == 1 or rng.random() < self.uniform_share:
            return self.draw(height, width, rng)
        places = [self.draw(height, width, rng) for _ in range(self.candidates)]
        return max(places, key=lambda place: gradient_energy(self._gt(gt, place)))

    def draw(self, height: int, width: int, rng: np.random.Generator) -> "Place":
        """Draw the place of a crop in an lq image of this size, and its flips."""
        margin = self._margin
        spare = (side - self.gt_size // self.scale - 2 * margin for side in (height, width))
        top, left = (margin + int(rng.integers(places + 1)) for places in spare)
        hflip, vflip, transpose = (rng.random(3) < 0.5).tolist()
        # The last to be drawn: without offsets the crops are those of every other data set.
        down, right = rng.integers(-self.max_offset, self.max_offset + 1, 2).tolist()
        steps = (-1 if vflip and self.use_rot else 1, -1 if hflip and self.use_hflip else 1)
        return Place(top, left, down, right, steps, transpose and self.use_rot)

    def _lq(self, lq: NDArray[np.uint8], place: "Place") -> NDArray[np.uint8]:
        return place.cut(lq, place.top, place.left, self.gt_size // self.scale)

    def _gt(self, gt: NDArray[np.uint8], place: "Place") -> NDArray[np.uint8]:
        top, left = place.top * self.scale + place.down, place.left * self.scale + place.right
        return place.cut(gt, top, left, self.gt_size)


class Place(NamedTuple):
    """Position of a crop in lq, offset of the ground-truth crop, and the flips of both."""

    top: int
    left: int
    down: int
    right: int
    steps: tuple[int, int]
    transpose: bool

    def cut(self, image: NDArray[np.uint8], top: int, left: int, size: int) -> NDArray[np.uint8]:
        crop = image[top : top + size, left : left + size][:: self.steps[0], :: self.steps[1]]
        return crop.swapaxes(0, 1) if self.transpose else crop


def gradient_energy(image: NDArray[np.uint8]) -> float:
    """Return the mean square of the differences between neighbours, down and right, in the green channel.

    Example:
        >>> gradient_energy(np.full((4, 4, 3), 7, np.uint8))
        0.0
    """
    green = image[..., 1].astype(np.float32)
    return float(np.square(np.diff(green, axis=0)).mean() + np.square(np.diff(green, axis=1)).mean())

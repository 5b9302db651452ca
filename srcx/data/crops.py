"""Random crops of a pair that show the same place, flipped and turned alike."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Crops", "Pair"]


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

    def __call__(self, pair: Pair, rng: np.random.Generator) -> Pair:
        """Cut one crop; views of the pictures, no copies."""
        lq_size = self.gt_size // self.scale
        top, left = (int(rng.integers(side - lq_size + 1)) for side in pair.lq.shape[:2])
        mirror, overturn, transpose = rng.random(3) < 0.5
        steps = (
            -1 if overturn and self.use_rot else 1,
            -1 if mirror and self.use_hflip else 1,
        )
        transpose = transpose and self.use_rot
        lq = _cut(pair.lq, top, left, lq_size, steps, transpose)
        gt = _cut(pair.gt, top * self.scale, left * self.scale, self.gt_size, steps, transpose)
        return Pair(lq, gt)


def _cut(
    picture: NDArray[np.uint8], top: int, left: int, size: int, steps: tuple[int, int], transpose: bool
) -> NDArray[np.uint8]:
    crop = picture[top : top + size, left : left + size][:: steps[0], :: steps[1]]
    return crop.swapaxes(0, 1) if transpose else crop

"""From bytes to the numbers a network sees: [0, 1], perhaps luma alone, perhaps normalised."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from srcx.imaging.color import to_rgb, y_of_tensor
from srcx.imaging.tensors import to_image

__all__ = ["Levels"]


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
        """uint8 RGB (N, H, W, 3) to float32 (N, C, H, W), in channels-last order in memory."""
        # By numpy: torch would start a team of threads for each worker that does this.
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
        if self.std is not None:
            values = values * values.new_tensor(self.std).view(1, -1, 1, 1)
        if self.mean is not None:
            values = values + values.new_tensor(self.mean).view(1, -1, 1, 1)
        return np.stack([to_rgb(to_image(value)) for value in values])

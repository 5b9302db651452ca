"""The shape of a generalised Gaussian, looked up from a ratio of moments, for NIQE and Ma's features."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.special import gamma

from srcx.metrics.pictures import Floats


@dataclass(frozen=True)
class ShapeTable:
    """Shapes, and the moment ratio each one has; `ratios` runs strictly up or strictly down."""

    shapes: Floats
    ratios: Floats

    def nearest(self, ratio: Floats) -> Floats:
        """The shape whose ratio is nearest; the first of the table for NaN, as MATLAB's `min` does."""
        step = 1 if self.ratios[0] < self.ratios[-1] else -1
        rising = self.ratios[::step]
        above = np.searchsorted(rising, ratio).clip(1, len(rising) - 1)
        index = above - (ratio - rising[above - 1] <= rising[above] - ratio)
        return np.where(np.isnan(ratio), self.shapes[0], self.shapes[::step][index])


def moment_ratio(shapes: Floats) -> Floats:
    """E[x^2] / E[|x|]^2 of a generalised Gaussian of each shape: 2 for 1 (Laplace), pi / 2 for 2 (normal)."""
    return gamma(1 / shapes) * gamma(3 / shapes) / gamma(2 / shapes) ** 2


@lru_cache
def niqe_table() -> ShapeTable:
    """Shapes 0.2, 0.201 ... 10 with the reciprocal ratio, as in NIQE's `estimateaggdparam`."""
    shapes = 0.2 + 0.001 * np.arange(9801, dtype=np.float64)
    return ShapeTable(shapes, 1 / moment_ratio(shapes))


@lru_cache
def ma_table() -> ShapeTable:
    """Shapes 0.03, 0.031 ... 10, as in Ma's `gama_gen_gauss`."""
    shapes = 0.03 + 0.001 * np.arange(9971, dtype=np.float64)
    return ShapeTable(shapes, moment_ratio(shapes))

"""The shape of a generalised Gaussian, looked up from a ratio of moments, for NIQE and Ma's features."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.special import gamma

from srcx.metrics.images import Floats


@dataclass(frozen=True)
class ShapeTable:
    """Shapes, and the moment ratio each one has; `ratios` runs strictly up or strictly down."""

    shapes: Floats
    ratios: Floats

    def nearest(self, ratio: Floats) -> Floats:
        """The shape whose ratio is nearest; of two (or for NaN) the first of the table, as in MATLAB."""
        rises = self.ratios[0] < self.ratios[-1]
        shapes, ratios = (self.shapes, self.ratios) if rises else (self.shapes[::-1], self.ratios[::-1])
        above = np.searchsorted(ratios, ratio).clip(1, len(ratios) - 1)
        to_lower, to_upper = ratio - ratios[above - 1], ratios[above] - ratio
        index = above - (to_lower <= to_upper if rises else to_lower < to_upper)
        return np.where(np.isnan(ratio), self.shapes[0], shapes[index])


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

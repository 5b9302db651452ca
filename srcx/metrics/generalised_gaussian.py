"""Generalised Gaussians fitted by their moments, from tables of shapes as NIQE's and Ma's code have them."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.special import gamma

from srcx.metrics.images import Floats


@dataclass(frozen=True)
class ShapeTable:
    """Shapes and the moment ratio of each; `ratios` is strictly increasing or strictly decreasing."""

    shapes: Floats
    ratios: Floats

    def nearest(self, ratio: Floats) -> Floats:
        """Return the shape with the nearest ratio; the first of the table on a tie or for NaN, as MATLAB."""
        rises = self.ratios[0] < self.ratios[-1]
        shapes, ratios = (self.shapes, self.ratios) if rises else (self.shapes[::-1], self.ratios[::-1])
        above = np.searchsorted(ratios, ratio).clip(1, len(ratios) - 1)
        to_lower, to_upper = ratio - ratios[above - 1], ratios[above] - ratio
        index = above - (to_lower <= to_upper if rises else to_lower < to_upper)
        return np.where(np.isnan(ratio), self.shapes[0], shapes[index])


def moment_ratio(shapes: Floats) -> Floats:
    """Return E[x^2] / E[|x|]^2 for each shape: 2 for shape 1 (Laplace), pi / 2 for shape 2 (normal)."""
    return gamma(1 / shapes) * gamma(3 / shapes) / gamma(2 / shapes) ** 2


@lru_cache
def niqe_table() -> ShapeTable:
    """Return shapes 0.2, 0.201 ... 10 with the reciprocal ratio, as in NIQE's `estimateaggdparam`."""
    shapes = 0.2 + 0.001 * np.arange(9801, dtype=np.float64)
    return ShapeTable(shapes, 1 / moment_ratio(shapes))


@lru_cache
def ma_table() -> ShapeTable:
    """Return shapes 0.03, 0.031 ... 10, as in Ma's `gama_gen_gauss`."""
    shapes = 0.03 + 0.001 * np.arange(9971, dtype=np.float64)
    return ShapeTable(shapes, moment_ratio(shapes))


def symmetric_shape(values: Floats) -> Floats:
    """Fit a generalised Gaussian to each column as Ma's code does; return its shape, (k, n) -> (n,)."""
    centred = values - values.mean(axis=0)
    variance = np.einsum("kn,kn->n", centred, centred) / (len(values) - 1)
    return ma_table().nearest(variance / (np.abs(centred).mean(axis=0) ** 2 + 1e-7))


def asymmetric_fit(values: Floats) -> tuple[Floats, Floats, Floats]:
    """Fit an asymmetric generalised Gaussian to each row, as NIQE's code does.

    Args:
        values: (n, k).

    Returns:
        Shape, left scale and right scale, each (n,). A row without negative (or positive) values gets NaN
        for that scale, and the smallest shape, as in the authors' code.
    """
    below = np.minimum(values, 0)
    above = values - below
    below_squares, above_squares = (np.einsum("nk,nk->n", half, half) for half in (below, above))
    with np.errstate(invalid="ignore", divide="ignore"):
        left = np.sqrt(below_squares / np.count_nonzero(below, axis=1))
        right = np.sqrt(above_squares / np.count_nonzero(above, axis=1))
        ratio = left / right
        mean_size = (above.sum(axis=1) - below.sum(axis=1)) / values.shape[1]
        moments = mean_size**2 / ((below_squares + above_squares) / values.shape[1])
        shape = niqe_table().nearest(moments * (ratio**3 + 1) * (ratio + 1) / (ratio**2 + 1) ** 2)
    scale = np.sqrt(gamma(1 / shape) / gamma(3 / shape))
    return shape, left * scale, right * scale

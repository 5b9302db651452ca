"""Random forests for regression, evaluated as the C code of `regRF_predict` does."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from srcx.errors import WeightsError
from srcx.metrics.images import Floats

Ints = NDArray[np.int32]


@dataclass(frozen=True)
class Forest:
    """The nodes of all trees, one after the other.

    `left`, `right` and `feature` have a number for each node; a leaf is its own left and right.
    `number` is the threshold of an inner node and the prediction of a leaf. `roots` holds each tree's root.
    """

    left: Ints
    right: Ints
    feature: Ints
    number: Floats
    roots: Ints

    def predict(self, samples: Floats) -> Floats:
        """Mean of the trees' predictions, (n, features) -> (n,); a value equal to the threshold goes left."""
        node = np.tile(self.roots, (len(samples), 1))  # (n, trees)
        sample = np.arange(len(samples))[:, None]
        while True:
            goes_left = samples[sample, self.feature[node]] <= self.number[node]
            below = np.where(goes_left, self.left[node], self.right[node])
            if np.array_equal(below, node):
                return self.number[node].mean(axis=1)
            node = below


def pack_forest(name: str, left: Ints, right: Ints, feature: Ints, threshold: Floats, mean: Floats) -> Forest:
    """Make a forest of the tables that `regRF_train` fills, all (nodes, trees).

    Args:
        name: What the error calls the forest.
        left: 1-based child, 0 at leaves and in unused rows. (`nodestatus` is not asked: MATLAB stores it
            as characters of two bytes, of which the C code fills one.)
        right: The other child.
        feature: 1-based feature that decides.
        threshold: Up to this the left child is next.
        mean: Prediction of a leaf.

    Raises:
        WeightsError: the tables differ in shape, or a child does not come after its parent.
    """
    tables = (left, right, feature, threshold, mean)
    if any(table.shape != left.shape or table.ndim != 2 for table in tables):
        raise WeightsError(f"{name}: its tables differ in shape; take the author's file")
    inner = left > 0
    place = np.arange(len(left), dtype=np.int32)[:, None]
    children_follow = (left > place + 1) & (right > place + 1) & (np.maximum(left, right) <= len(left))
    if not children_follow[inner].all() or feature[inner].min(initial=1) < 1:
        raise WeightsError(f"{name}: a node's children do not come after it; the file is damaged")

    used = 1 + np.where(inner, np.maximum(left, right) - 1, 0).max(axis=0)  # nodes of each tree
    roots = np.cumsum(used) - used
    kept = (place < used).T  # trees first, so that a tree's nodes lie together
    own = place + roots
    return Forest(
        left=np.where(inner, left - 1 + roots, own).T[kept].astype(np.int32),
        right=np.where(inner, right - 1 + roots, own).T[kept].astype(np.int32),
        feature=np.where(inner, feature - 1, 0).T[kept].astype(np.int32),
        number=np.where(inner, threshold, mean).T[kept].astype(np.float64),
        roots=roots.astype(np.int32),
    )

"""The model of Ma's metric: three forests and a linear combination, read from the author's model.mat."""

import hashlib
import zlib
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save
from scipy.io import loadmat
from scipy.io.matlab import MatReadError

from srcx.atomic import atomic_path, make_folder
from srcx.errors import WeightsError
from srcx.metrics.images import Floats
from srcx.weights.fixed import find_weights
from srcx.weights.published import cache_folder

GROUPS = {"dct": 18, "gsm": 45, "pca": 75}  # numbers in each group of features
# Errors of scipy for files of other kinds, and of reading other structs.
NOT_SUCH_A_FILE = (
    MatReadError,
    NotImplementedError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    OSError,
    zlib.error,
)
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
        """Return the trees' mean prediction, (n, features) -> (n,); a tie with the threshold goes left."""
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
        left: 1-based child, 0 at leaves and in unused rows. (`nodestatus` is not used: MATLAB stores it
            as characters of two bytes, and the C code fills one of them.)
        right: The other child.
        feature: 1-based feature that is compared with the threshold.
        threshold: A feature up to this value goes to the left child.
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
    filled = (place < used).T  # trees first, so that a tree's nodes lie together
    own = place + roots
    return Forest(
        left=np.where(inner, left - 1 + roots, own).T[filled].astype(np.int32),
        right=np.where(inner, right - 1 + roots, own).T[filled].astype(np.int32),
        feature=np.where(inner, feature - 1, 0).T[filled].astype(np.int32),
        number=np.where(inner, threshold, mean).T[filled].astype(np.float64),
        roots=roots.astype(np.int32),
    )


@dataclass(frozen=True)
class MaModel:
    """One forest for each group of features, and the weights (4,) of 1 and their predictions."""

    forests: tuple[Forest, ...]
    linear: Floats

    def score(self, features: tuple[Floats, Floats, Floats]) -> Floats:
        """Return the scores of n images from their features (n, 18), (n, 45) and (n, 75)."""
        predictions = [forest.predict(group) for forest, group in zip(self.forests, features, strict=True)]
        return np.stack([np.ones(len(features[0])), *predictions], axis=1) @ self.linear


def ma_model(weights_path: str | Path | None = None) -> MaModel:
    """Return the author's model, from `weights_path` or from where `srcx.weights` finds it.

    Raises:
        WeightsError: the file is not available, or is not the author's model.
    """
    path = find_weights("ma", path=weights_path)
    return _model_of(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=2)
def _model_of(path: Path, _mtime_ns: int) -> MaModel:
    """Read the model; the first time, pack it into the cache, from where it loads faster."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    packed = cache_folder() / f"ma-{digest[:16]}.safetensors"
    if not packed.is_file():
        model = read_mat(path)
        make_folder(packed.parent)
        with atomic_path(packed) as temporary:
            temporary.write_bytes(save(to_arrays(model)))
    return from_arrays(load_file(packed))


def read_mat(path: Path) -> MaModel:
    """Read `model.mat`: a struct with three forests of `regRF_train` in `rf` and four weights in `linear`.

    Raises:
        WeightsError: the file is not the author's model.
    """
    try:
        model = loadmat(path, variable_names=["model"], squeeze_me=True, struct_as_record=False)["model"]
        forests = tuple(_read_forest(f"{path}: forest {k}", one) for k, one in enumerate(model.rf, start=1))
        linear = np.asarray(model.linear, np.float64).reshape(-1)
    except NOT_SUCH_A_FILE as error:
        raise WeightsError(
            f"{path}: not the author's model.mat ({error}); fetch it with `srcx weights fetch ma`"
        ) from error
    if len(forests) != len(GROUPS) or linear.size != len(GROUPS) + 1:
        raise WeightsError(f"{path}: expected 3 forests and 4 weights; got {len(forests)} and {linear.size}")
    for (group, size), forest in zip(GROUPS.items(), forests, strict=True):
        if forest.feature.max() >= size:
            raise WeightsError(
                f"{path}: its forest of {group} uses more than {size} features; the file is damaged"
            )
    return MaModel(forests, linear)


def _read_forest(name: str, stored: object) -> Forest:
    tables = [np.asarray(getattr(stored, field)) for field in ("lDau", "rDau", "mbest", "upper", "avnode")]
    return pack_forest(name, *(table.reshape(len(table), -1) for table in tables))


def to_arrays(model: MaModel) -> dict[str, NDArray[Any]]:
    """Return the arrays of a model by name."""
    named = zip(GROUPS, model.forests, strict=True)
    arrays = {f"{group}.{field}": array for group, forest in named for field, array in asdict(forest).items()}
    return {**arrays, "linear": model.linear}


def from_arrays(arrays: dict[str, NDArray[Any]]) -> MaModel:
    """Return the model whose arrays `to_arrays` returned."""
    fields = Forest.__dataclass_fields__
    forests = tuple(Forest(**{field: arrays[f"{group}.{field}"] for field in fields}) for group in GROUPS)
    return MaModel(forests, arrays["linear"])

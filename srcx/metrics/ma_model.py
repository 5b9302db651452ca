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
from srcx.metrics.forest import Forest, pack_forest
from srcx.metrics.images import Floats
from srcx.weights.fixed import cache_folder, find_weights

GROUPS = {"dct": 18, "gsm": 45, "pca": 75}  # numbers in each group of features
# What scipy raises for files of other kinds, and what looking into other structs raises.
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


@dataclass(frozen=True)
class MaModel:
    """One forest for each group of features, and the weights (4,) of 1 and their predictions."""

    forests: tuple[Forest, ...]
    linear: Floats

    def score(self, features: tuple[Floats, Floats, Floats]) -> Floats:
        """Scores of n images from their features (n, 18), (n, 45) and (n, 75)."""
        predictions = [forest.predict(group) for forest, group in zip(self.forests, features, strict=True)]
        return np.stack([np.ones(len(features[0])), *predictions], axis=1) @ self.linear


def ma_model(weights_path: str | Path | None = None) -> MaModel:
    """The author's model, from `weights_path` or wherever `srcx.weights` finds it.

    Raises:
        WeightsError: the file is not at hand, or is not the author's model.
    """
    path = find_weights("ma", path=weights_path)
    return _model_of(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=2)
def _model_of(path: Path, _mtime_ns: int) -> MaModel:
    """Read the model; the first time, pack it into the cache, from where it loads in an instant."""
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
        WeightsError: the file is no such thing.
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
                f"{path}: its forest of {group} asks for more than {size} features; it is damaged"
            )
    return MaModel(forests, linear)


def _read_forest(name: str, stored: object) -> Forest:
    tables = [np.asarray(getattr(stored, field)) for field in ("lDau", "rDau", "mbest", "upper", "avnode")]
    return pack_forest(name, *(table.reshape(len(table), -1) for table in tables))


def to_arrays(model: MaModel) -> dict[str, NDArray[Any]]:
    """Flatten a model to named arrays."""
    named = zip(GROUPS, model.forests, strict=True)
    arrays = {f"{group}.{field}": array for group, forest in named for field, array in asdict(forest).items()}
    return {**arrays, "linear": model.linear}


def from_arrays(arrays: dict[str, NDArray[Any]]) -> MaModel:
    """Undo `to_arrays`."""
    fields = Forest.__dataclass_fields__
    forests = tuple(Forest(**{field: arrays[f"{group}.{field}"] for field in fields}) for group in GROUPS)
    return MaModel(forests, arrays["linear"])

"""The random generators of this process, taken and restored as tensors and plain values."""

import random
from typing import Any

import numpy as np
import torch

__all__ = ["restore", "take"]


def take() -> dict[str, Any]:
    """The state of Python's, NumPy's and torch's generators."""
    version, keys, gauss = random.getstate()
    numpy_state: dict[str, Any] = dict(np.random.get_state(legacy=False))
    numpy_keys = torch.from_numpy(numpy_state["state"]["key"].astype(np.int64))
    return {
        "python": [version, list(keys), gauss],
        "numpy": {**numpy_state, "state": {"key": numpy_keys, "pos": numpy_state["state"]["pos"]}},
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def restore(states: dict[str, Any]) -> None:
    """Set every generator to a state that `take` gave."""
    version, keys, gauss = states["python"]
    random.setstate((version, tuple(keys), gauss))
    numpy_state = dict(states["numpy"])
    key = numpy_state["state"]["key"].numpy().astype(np.uint32)
    np.random.set_state({**numpy_state, "state": {"key": key, "pos": numpy_state["state"]["pos"]}})
    torch.set_rng_state(states["torch"])
    if torch.cuda.is_available():
        torch.cuda.set_rng_state_all(states["cuda"])

"""The random generators of every process of a run, seeded, taken and restored as tensors and plain values."""

import random
from typing import Any

import numpy as np
import torch
from torch import distributed

__all__ = ["restore", "seed", "take"]

State = dict[str, Any]


def seed(value: int) -> None:
    """Seed Python's, NumPy's and torch's generators; `value` counts modulo 2^32."""
    random.seed(value)
    np.random.seed(value % 2**32)
    torch.manual_seed(value)


def take() -> list[State]:
    """The generators of all processes by rank; where there are several, all must call this together."""
    mine = _take()
    if not distributed.is_initialized():
        return [mine]
    states: list[State] = [{}] * distributed.get_world_size()
    distributed.all_gather_object(states, mine)
    return states


def restore(states: list[State] | State) -> None:
    """Set this process's generators to what `take` gave; a rank that was not there then keeps its own."""
    if isinstance(states, dict):  # of one process, as it was written before there were several
        states = [states]
    rank = distributed.get_rank() if distributed.is_initialized() else 0
    if rank < len(states):
        _restore(states[rank])


def _take() -> State:
    version, keys, gauss = random.getstate()
    numpy_state: State = dict(np.random.get_state(legacy=False))
    numpy_keys = torch.from_numpy(numpy_state["state"]["key"].astype(np.int64))
    return {
        "python": [version, list(keys), gauss],
        "numpy": {**numpy_state, "state": {"key": numpy_keys, "pos": numpy_state["state"]["pos"]}},
        "torch": torch.get_rng_state(),
        "cuda": [torch.cuda.get_rng_state()] if torch.cuda.is_available() else [],
    }


def _restore(state: State) -> None:
    version, keys, gauss = state["python"]
    random.setstate((version, tuple(keys), gauss))
    numpy_state = dict(state["numpy"])
    key = numpy_state["state"]["key"].numpy().astype(np.uint32)
    np.random.set_state({**numpy_state, "state": {"key": key, "pos": numpy_state["state"]["pos"]}})
    torch.set_rng_state(state["torch"])
    of_devices = state["cuda"]  # this process's device alone; older states have all devices of the machine
    if torch.cuda.is_available() and of_devices:
        device = torch.cuda.current_device()
        torch.cuda.set_rng_state(of_devices[device if device < len(of_devices) else 0])

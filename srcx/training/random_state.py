"""The random generators of every rank, seeded, saved and restored as tensors and plain values."""

import random
from typing import Any

import numpy as np
import torch

from srcx.distributed import gather, rank

__all__ = ["random_states", "restore_random_state", "seed_generators"]

State = dict[str, Any]


def seed_generators(value: int) -> None:
    """Seed Python's, NumPy's and torch's random generators; NumPy takes `value` modulo 2^32."""
    random.seed(value)
    np.random.seed(value % 2**32)
    torch.manual_seed(value)


def random_states() -> list[State]:
    """Return the states of all ranks' random generators, by rank; every rank calls this."""
    version, keys, gauss = random.getstate()
    numpy_state: State = dict(np.random.get_state(legacy=False))
    numpy_keys = torch.from_numpy(numpy_state["state"]["key"].astype(np.int64))
    return gather(
        {
            "python": [version, list(keys), gauss],
            "numpy": {**numpy_state, "state": {"key": numpy_keys, "pos": numpy_state["state"]["pos"]}},
            "torch": torch.get_rng_state(),
            "cuda": [torch.cuda.get_rng_state()] if torch.cuda.is_available() else [],
        }
    )


def restore_random_state(states: list[State] | State) -> None:
    """Set this rank's generators to its entry of `states`; a rank without an entry changes nothing."""
    if isinstance(states, dict):  # of one process, in states that older versions saved
        states = [states]
    if rank() >= len(states):
        return
    state = states[rank()]
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

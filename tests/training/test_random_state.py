import random

import numpy as np
import pytest
import torch

from srcx.training.random_state import random_states, restore_random_state, seed_generators


def draw():
    return random.random(), float(np.random.rand()), float(torch.rand(1))


def test_every_generator_gives_the_same_numbers_again():
    state = random_states()
    first = draw()
    restore_random_state(state)
    assert draw() == first


def test_a_seed_fixes_every_generator():
    seed_generators(2**32 + 5)
    first = draw()
    seed_generators(2**32 + 5)
    assert draw() == first


def test_a_rank_that_was_not_there_draws_as_if_nothing_was_restored(monkeypatch):
    state = random_states()
    expected = draw()
    restore_random_state([])
    assert draw() != expected
    restore_random_state(state[0])
    assert draw() == expected
    restore_random_state([state[0], {}])  # one process continues from a run of two: it is the first
    assert draw() == expected


class Devices:
    """Random generators of a machine's GPUs, as `torch.cuda` gives them."""

    def __init__(self, count, current):
        self.states = [torch.tensor([number], dtype=torch.uint8) for number in range(count)]
        self.current = current

    def patch(self, monkeypatch):
        monkeypatch.setattr("torch.cuda.is_available", lambda: True)
        monkeypatch.setattr("torch.cuda.current_device", lambda: self.current)
        monkeypatch.setattr("torch.cuda.get_rng_state", lambda: self.states[self.current])
        monkeypatch.setattr("torch.cuda.set_rng_state", self.set)
        return self

    def set(self, state):
        self.states[self.current] = state


@pytest.mark.parametrize("device", [0, 1])
def test_a_state_of_any_gpu_is_restored_on_any_other(monkeypatch, device):
    """A process saves the generator of its own GPU, so the number of GPUs does not matter."""
    with monkeypatch.context() as patch:
        Devices(8, current=7).patch(patch)
        state = random_states()
    there = Devices(2, current=device).patch(monkeypatch)
    restore_random_state(state)
    assert there.states[device].item() == 7


@pytest.mark.parametrize("device", [0, 1])
def test_states_with_all_gpus_of_a_machine_are_restored_on_one_with_fewer(monkeypatch, device):
    (state,) = random_states()
    there = Devices(2, current=device).patch(monkeypatch)
    restore_random_state([{**state, "cuda": [torch.tensor([n], dtype=torch.uint8) for n in (5, 6, 7)]}])
    assert there.states[device].item() == 5 + device


def test_a_state_of_the_cpu_is_restored_where_there_is_a_gpu(monkeypatch):
    state = random_states()
    Devices(1, current=0).patch(monkeypatch)
    restore_random_state(state)

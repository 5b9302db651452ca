import random

import numpy as np
import torch

from srcx import random_state


def draw():
    return random.random(), float(np.random.rand()), float(torch.rand(1))


def test_every_generator_gives_the_same_numbers_again():
    state = random_state.take()
    first = draw()
    random_state.restore(state)
    assert draw() == first


def test_a_seed_fixes_every_generator():
    random_state.seed(2**32 + 5)
    first = draw()
    random_state.seed(2**32 + 5)
    assert draw() == first


def test_a_rank_that_did_not_exist_keeps_its_own_numbers(monkeypatch):
    state = random_state.take()
    expected = draw()
    random_state.restore([])
    assert draw() != expected
    random_state.restore(state[0])
    assert draw() == expected
    random_state.restore([state[0], {}])  # one process goes on from a run of two: it is the first
    assert draw() == expected

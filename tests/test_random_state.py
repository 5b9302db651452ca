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

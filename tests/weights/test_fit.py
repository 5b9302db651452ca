import logging

import pytest
import torch
from torch import nn

from srcx.errors import CheckpointError
from srcx.weights.fit import load_into


def test_fitting_weights_are_loaded():
    net, other = nn.Linear(2, 3), nn.Linear(2, 3)
    load_into(net, other.state_dict(), source="x.pth")
    assert torch.equal(net.weight, other.weight)


def test_what_does_not_fit_is_named_on_both_sides():
    state = nn.Linear(2, 3).state_dict()
    state["weigth"] = state.pop("weight")
    expected = r"x.pth: .*not in it: weight \(3, 2\); not in the network: weigth"
    with pytest.raises(CheckpointError, match=expected):
        load_into(nn.Linear(2, 3), state, source="x.pth")


def test_where_not_strict_the_rest_is_loaded_with_a_word(caplog):
    net, other = nn.Linear(2, 3), nn.Linear(2, 3)
    state = {**other.state_dict(), "bias": torch.zeros(5)}
    with caplog.at_level(logging.WARNING):
        load_into(net, state, source="x.pth", strict=False)
    assert torch.equal(net.weight, other.weight)
    assert "loaded 1 of 2 weights" in caplog.text


def test_a_file_of_which_nothing_fits_is_refused_all_the_same():
    with pytest.raises(CheckpointError, match="do not fit Linear"):
        load_into(nn.Linear(2, 3), {"other": torch.zeros(1)}, source="x.pth", strict=False)

import os

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from srcx.errors import CheckpointError
from srcx.weights.training_state import load_training_state, save_training_state


def test_comes_back_as_it_was(tmp_path):
    state = {"iteration": 3, "nets": {"w": torch.rand(4)}, "best": {"Set5": {"psnr": 30.1}}, "none": None}
    save_training_state(tmp_path / "3.state", state)
    loaded = load_training_state(tmp_path / "3.state")
    assert torch.equal(loaded["nets"].pop("w"), state["nets"].pop("w"))
    assert loaded == state


@pytest.mark.parametrize(
    "damage", [lambda b: b[:-1], lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b + b"x"]
)
def test_damage_shows(tmp_path, damage):
    path = tmp_path / "1.state"
    save_training_state(path, {"w": torch.rand(100)})
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(CheckpointError, match="damaged"):
        load_training_state(path)


@pytest.mark.parametrize("name", ["net_g_5.pth", "5.state"])
def test_weights_in_place_of_a_state_are_refused_with_the_key_they_belong_to(tmp_path, name):
    torch.save({"params": {"w": torch.rand(3)}}, tmp_path / name)
    with pytest.raises(CheckpointError, match=r"no training state; .*pretrain_network_g takes weights"):
        load_training_state(tmp_path / name)


def test_a_state_of_basicsr_is_named(tmp_path):
    torch.save({"epoch": 1, "iter": 5, "optimizers": [{}], "schedulers": [{}]}, tmp_path / "5.state")
    with pytest.raises(CheckpointError, match=r"a training state of BasicSR, .*pretrain_network_g"):
        load_training_state(tmp_path / "5.state")


def test_a_state_that_lost_its_digest_alone_is_damaged(tmp_path):
    save_training_state(tmp_path / "5.state", {"model": {"optimizers": [1]}, "progress": {}})
    content = (tmp_path / "5.state").read_bytes()
    (tmp_path / "5.state").write_bytes(content[:-32])
    with pytest.raises(CheckpointError, match="damaged"):
        load_training_state(tmp_path / "5.state")


TREES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**40), 2**40)
    | st.floats(allow_nan=False)
    | st.text(max_size=8)
    | st.lists(st.floats(width=32, allow_nan=False), max_size=6).map(torch.tensor),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(state=st.dictionaries(st.text(max_size=8), TREES, max_size=3))
@settings(max_examples=40)
def test_any_tree_of_tensors_and_plain_values_comes_back(tmp_path_factory, state):
    path = tmp_path_factory.getbasetemp() / "any.state"
    save_training_state(path, state)
    assert same(load_training_state(path), state)


def same(one, other):
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(value, other[name]) for name, value in one.items())
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other


@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
@settings(max_examples=60)
def test_any_flipped_bit_shows(tmp_path_factory, place, bit):
    path = tmp_path_factory.getbasetemp() / "bit.state"
    torch.manual_seed(0)
    save_training_state(path, {"w": torch.rand(50), "iteration": 3})
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 1 << bit
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="damaged"):
        load_training_state(path)


class Bomb:
    def __reduce__(self):
        return os.mkdir, ("exploded",)


def test_code_inside_is_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_training_state(tmp_path / "1.state", {"bomb": Bomb()})
    with pytest.raises(CheckpointError, match="not a training state"):
        load_training_state(tmp_path / "1.state")
    assert not (tmp_path / "exploded").exists()


def test_equal_states_are_equal_bytes_wherever_their_texts_come_from(tmp_path):
    one, other = "psnr", "".join(["ps", "nr"])
    assert one is not other
    for name, text in (("same", one), ("another", other)):
        state = {"best": {one: {text: 1.5}}, "pairs": [(text, 2), (one, 3)]}
        save_training_state(tmp_path / name, state)
        assert load_training_state(tmp_path / name) == state
    assert (tmp_path / "same").read_bytes() == (tmp_path / "another").read_bytes()

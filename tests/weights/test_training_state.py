import os

import pytest
import torch

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


class Bomb:
    def __reduce__(self):
        return os.mkdir, ("exploded",)


def test_code_inside_is_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_training_state(tmp_path / "1.state", {"bomb": Bomb()})
    with pytest.raises(CheckpointError, match="not a training state"):
        load_training_state(tmp_path / "1.state")
    assert not (tmp_path / "exploded").exists()

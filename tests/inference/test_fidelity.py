"""Mixing the weights of a sharp model and its faithful parent."""

import math

import numpy as np
import pytest
import torch

from srcx import load_model, upscale
from srcx.archs import MSRResNet
from srcx.errors import CheckpointError, UsageError
from srcx.inference import Upscaler, bundled, find_model
from srcx.inference.autotune import cache_times, cached_times
from srcx.inference.backends import BACKENDS, EXACT
from srcx.inference.bundled import int8_of
from srcx.weights import load_state, save_state
from srcx.weights.fit import average_states


def net_of(seed: int, **args) -> MSRResNet:
    torch.manual_seed(seed)
    net = MSRResNet(num_feat=16, num_block=1, upscale=2, **args)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    return net


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Bundled models: `sharp` with a parent, `alone` without."""
    folder = tmp_path / "bundled"
    for name, seed in (("sharp", 1), ("sharp.parent", 2), ("alone", 3)):
        state = {key: weight.half() for key, weight in net_of(seed).state_dict().items()}
        save_state(folder / f"{name}.safetensors", state, metadata={"scale": "2"})
        (folder / f"{name}.md").write_text(f"# {name}: for tests\n")
    monkeypatch.setattr(bundled, "BUNDLED", folder)
    return folder


@pytest.fixture
def image(rng) -> np.ndarray:
    return rng.integers(0, 256, (24, 20, 3), np.uint8)


@pytest.mark.parametrize("fidelity", [0.25, 0.5, 1.0])
def test_weights_are_the_mixture_of_both(folder, fidelity):
    sharp, parent = (load_state(folder / f"{name}.safetensors") for name in ("sharp", "sharp.parent"))
    mixed = find_model("sharp", fidelity=fidelity).net.state_dict()
    for name, weight in mixed.items():
        expected = (1 - fidelity) * sharp[name].float() + fidelity * parent[name].float()
        torch.testing.assert_close(weight, expected, rtol=0, atol=1e-7)


def test_the_ends_are_the_model_and_its_parent(folder, image):
    result = {
        fidelity: load_model("sharp", fidelity=fidelity, precision="fp32")(image) for fidelity in (0, 0.5, 1)
    }
    alone = {
        name: load_model(folder / f"{name}.safetensors", precision="fp32")(image)
        for name in ("sharp", "sharp.parent")
    }
    np.testing.assert_array_equal(result[0], alone["sharp"])
    np.testing.assert_array_equal(result[1], alone["sharp.parent"])
    assert (result[0.5] != result[0]).any()
    assert (result[0.5] != result[1]).any()
    np.testing.assert_array_equal(upscale(image, "sharp", fidelity=0), load_model("sharp")(image))


def test_a_checkpoint_of_the_users_has_its_parent_beside_it_too(tmp_path):
    save_state(tmp_path / "net.pth", net_of(1).state_dict())
    save_state(tmp_path / "net.parent.safetensors", net_of(2).state_dict())
    model = find_model(tmp_path / "net.pth", fidelity=1)
    torch.testing.assert_close(dict(model.net.state_dict()), dict(net_of(2).state_dict()))


@pytest.mark.parametrize("name", ["alone", "bicubic", "bicubic-x3"])
def test_a_model_without_parent_is_an_error_that_names_those_that_have_one(folder, name):
    with pytest.raises(UsageError, match=rf"^{name}: fidelity needs .* models that have them: sharp$"):
        find_model(name, fidelity=0.1)
    assert find_model(name, fidelity=0).name == name


@pytest.mark.parametrize("fidelity", [-0.1, 1.01, math.nan, math.inf])
@pytest.mark.parametrize("name", ["sharp", "alone", "bicubic"])
def test_a_fidelity_outside_its_range_is_an_error(folder, fidelity, name):
    with pytest.raises(UsageError, match=r"fidelity: expected 0 .* to 1 .*; got"):
        find_model(name, fidelity=fidelity)


def test_a_parent_of_another_network_is_an_error(folder):
    save_state(
        folder / "sharp.parent.safetensors", MSRResNet(num_feat=4, num_block=1, upscale=2).state_dict()
    )
    with pytest.raises(CheckpointError, match=r"sharp\.parent\.safetensors: expected the names and shapes"):
        find_model("sharp", fidelity=0.5)
    (folder / "sharp.parent.safetensors").write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match=r"sharp\.parent\.safetensors: is damaged"):
        find_model("sharp", fidelity=0.5)


def test_each_mixture_has_a_cache_key_of_its_own(folder):
    mixtures = [find_model("sharp", fidelity=fidelity) for fidelity in (0, 0.3, 0.5, 1)]
    assert len({model.sha256 for model in mixtures}) == 4
    assert len({model.name for model in mixtures}) == 4
    assert find_model("sharp", fidelity=0.3).sha256 == mixtures[1].sha256
    cache_times(mixtures[0], {EXACT: 1.0})
    assert cached_times(mixtures[0], [EXACT]) == {EXACT: 1.0}
    assert cached_times(mixtures[1], [EXACT]) is None
    save_state(folder / "sharp.parent.safetensors", net_of(9).state_dict())
    assert find_model("sharp", fidelity=0.3).sha256 != mixtures[1].sha256, "another parent, another model"


def test_the_eight_bit_file_is_of_the_unmixed_weights_alone(folder):
    int8_of(folder / "sharp.safetensors").parent.mkdir(parents=True)
    int8_of(folder / "sharp.safetensors").write_text("of the unmixed weights")
    assert find_model("sharp").int8 is not None
    assert find_model("sharp", fidelity=0.5).int8 is None
    with pytest.raises(UsageError, match=r"^sharp-fidelity-0\.5: has no 8-bit file"):
        load_model("sharp", fidelity=0.5, precision="int8")


@pytest.mark.parametrize("backend", BACKENDS, ids=lambda backend: backend.name)
def test_every_backend_runs_mixed_weights(folder, image, backend):
    if not backend.available():
        pytest.skip(f"needs {backend.name}")
    model = find_model("sharp", fidelity=0.5)
    exact = Upscaler(model, precision="fp32", backend="torch")(image)
    assert np.abs(exact.astype(int) - load_model("sharp")(image)).max() > 2
    result = Upscaler(model, precision="fp32", backend=backend.name)(image)
    assert np.abs(exact.astype(int) - result).max() <= 1


def test_integers_are_those_of_the_model():
    one = {"w": torch.zeros(2), "steps": torch.tensor(3)}
    other = {"w": torch.ones(2), "steps": torch.tensor(5)}
    assert average_states([("one.pth", one), ("other.pth", other)], [0.5, 0.5])["steps"] == 3

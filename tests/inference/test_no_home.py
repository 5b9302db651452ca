"""A container under a number alone has a user without a home folder."""

from pathlib import Path

import numpy as np
import pytest

from srcx.archs import MSRResNet
from srcx.errors import OutputError
from srcx.inference import Model, Upscaler, find_model
from srcx.inference.autotune import cache_times, cached_times
from srcx.inference.backends import EXACT, Engine, find_backend
from srcx.inference.bundled import BUNDLED, int8_of
from srcx.weights.published import cache_folder, known


@pytest.fixture
def homeless(monkeypatch):
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", no_home)


def test_images_are_upscaled_without_a_home_folder(homeless, rng, monkeypatch):
    monkeypatch.setattr("srcx.inference.upscaler.REPAYS", 0)
    monkeypatch.setattr(
        "srcx.inference.upscaler.engines_for", lambda *_, **__: [EXACT, Engine(find_backend("nnpack"))]
    )
    model = Model("test", 2, "test", "0", net=MSRResNet(num_feat=4, num_block=1, upscale=2).eval())
    assert Upscaler(model)(rng.integers(0, 256, (128, 130, 3), np.uint8)).shape == (256, 260, 3)
    cache_times(model, {EXACT: 1.0})
    assert cached_times(model, [EXACT]) is None


def test_shipped_models_and_known_weights_are_found_without_a_home_folder(homeless):
    assert find_model("srresnet-x4").int8 is None
    assert known()
    with pytest.raises(OutputError, match=r"has no home folder .*; set XDG_CACHE_HOME"):
        cache_folder()


def test_the_8_bit_file_of_a_shipped_model_is_not_in_the_installed_package(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert int8_of(BUNDLED / "srresnet-x4.safetensors") == tmp_path / "srcx/int8/srresnet-x4.int8.xml"
    assert int8_of(tmp_path / "net.pth") == tmp_path / "net.int8.xml"
    assert find_model("srresnet-x4").int8 is None
    (tmp_path / "srcx/int8").mkdir(parents=True)
    (tmp_path / "srcx/int8/srresnet-x4.int8.xml").touch()
    assert find_model("srresnet-x4").int8 == tmp_path / "srcx/int8/srresnet-x4.int8.xml"

import hashlib
import re

import numpy as np
import pytest
from safetensors.torch import load_file

from srcx.archs import SRResNet
from srcx.imaging import read_image
from srcx.inference.backends import BACKENDS
from srcx.inference.bundled import bundled_models, card_of
from srcx.weights import save_state


def test_models_lists_what_needs_no_file(srcx):
    said = srcx("models")
    assert said.code == 0
    assert said.out.startswith("bicubic ")


@pytest.mark.parametrize("name", sorted(bundled_models().keys() - {"bicubic"}))
def test_every_card_has_licence_classes_option_files_and_seconds(name):
    card = card_of(name)
    assert "| licence classes of the" in card
    assert "| option file" in card
    assert re.search(r"An image of 320 x 180 pixels takes \d\.\d\d s on one CPU core", card)


def test_models_shows_the_card_of_what_comes_with_srcx(srcx):
    said = srcx("models", "bicubic")
    assert said.out.startswith("name:          bicubic\n")
    assert said.out.endswith(card_of("bicubic"))


def test_models_says_what_a_checkpoint_is(srcx, tmp_path):
    net = SRResNet(num_feat=4, num_block=1, upscale=2)
    save_state(tmp_path / "net.safetensors", net.state_dict())
    lines = srcx("models", "net.safetensors").out.splitlines()
    assert dict(line.split(maxsplit=1) for line in lines) == {
        "name:": "net",
        "architecture:": "SRResNet",
        "scale:": "2",
        "parameters:": f"{sum(weight.numel() for weight in net.parameters()):,}",
        "file:": "net.safetensors",
        "sha256:": hashlib.sha256((tmp_path / "net.safetensors").read_bytes()).hexdigest(),
    }


def test_models_says_what_an_exported_file_takes_and_upscale_runs_it(srcx, photos, tmp_path):
    save_state(tmp_path / "net.pth", SRResNet(num_feat=4, num_block=1, upscale=2).state_dict())
    assert srcx("export", "--model", "net.pth", "--format", "onnx", "-o", "mine.onnx").code == 0
    lines = dict(line.split(maxsplit=1) for line in srcx("models", "mine.onnx").out.splitlines())
    assert lines["architecture:"] == "file for onnx"
    assert (lines["scale:"], lines["input:"]) == ("2", "RGB, any height and width")
    assert "parameters:" not in lines
    assert srcx("upscale", photos, "-o", "by_file", "--model", "mine.onnx").code == 0
    assert srcx("upscale", photos, "-o", "by_torch", "--model", "net.pth", "--backend", "torch").code == 0
    for name in ("a.png", "c.png"):
        one, other = (read_image(tmp_path / folder / name) for folder in ("by_file", "by_torch"))
        assert np.abs(one.astype(int) - other).max() <= 1


def test_models_measures_the_engines_and_upscale_takes_the_fastest(srcx, photos, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for backend in BACKENDS:
        monkeypatch.setattr(type(backend), "available", lambda self: self.name == "onnx")
    save_state(tmp_path / "net.pth", SRResNet(num_feat=4, num_block=1, upscale=2).state_dict())
    said = srcx("models", "net.pth", "--measure")
    assert said.code == 0
    assert "net: measuring which engine is the fastest on this machine: torch fp32, " in said.err
    rows = [line.replace("│", " ").split() for line in said.out.splitlines() if " fp32 " in line]
    assert {row[0] for row in rows} == {"torch", "onnx"}
    assert [float(row[2]) for row in rows] == sorted(float(row[2]) for row in rows)
    said = srcx("upscale", photos, "-o", "out", "--model", "net.pth", "-v", "--precision", "fp32")
    assert f"net: {rows[0][0]} fp32 runs it, the fastest of those measured on this machine" in said.err


def test_only_a_model_with_a_network_is_measured(srcx):
    said = srcx("models", "bicubic", "--measure")
    assert (said.code, said.err) == (2, "bicubic: has no network to measure; name a model that has one\n")
    said = srcx("models", "--measure")
    assert (said.code, "expected one model; name it, as in" in said.err) == (2, True)


def test_models_average_takes_weights_after_one_flag(srcx, tmp_path):
    for name in ("a.pth", "b.pth"):
        save_state(tmp_path / name, SRResNet(num_feat=4, num_block=1, upscale=2).state_dict())
    said = srcx("models", "average", "a.pth", "b.pth", "--weights", "1", "3", "-o", "mean.safetensors")
    assert said.out.splitlines() == ["0.250  a", "0.750  b", "mean.safetensors"]
    assert said.code == 0
    assert srcx("models", "mean.safetensors").code == 0
    said = srcx(
        "models", "average", "a.pth", "b.pth", "--weights", "1.04", "-.04", "-o", "beyond.safetensors"
    )
    assert said.out.splitlines() == ["1.040  a", "-0.040  b", "beyond.safetensors"]


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("SRCX_WEIGHTS", raising=False)
    return tmp_path / "cache" / "srcx" / "weights"


def test_weights_lists_what_is_here_and_what_is_not(srcx, cache):
    cache.mkdir(parents=True)
    (cache / "ma.mat").write_bytes(b"")
    said = srcx("weights", "list")
    assert said.code == 0
    assert f"ma        {cache / 'ma.mat'}" in said.out
    assert "vgg19     not downloaded" in said.out


def test_imported_weights_are_in_the_cache(srcx, cache, shared):
    file = shared / "weights/alexnet_features.safetensors"
    said = srcx("weights", "import", "alexnet", file)
    assert said.code == 0
    assert load_file(said.out.strip()).keys() <= load_file(file).keys()


def test_weights_fetch_shows_its_progress(srcx, monkeypatch, tmp_path):
    def fetch(name, on_progress):
        on_progress(f"MiB of {name}", 1, 2)
        on_progress(f"MiB of {name}", 2, 2)
        return tmp_path / name

    monkeypatch.setattr("srcx.weights.fixed.fetch", fetch)
    said = srcx("weights", "fetch", "vgg19")
    assert (said.code, said.out) == (0, f"{tmp_path / 'vgg19'}\n")
    assert said.sentences == ["1/2 MiB of vgg19", "2/2 MiB of vgg19"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("fetch vgg20", "vgg20: srcx knows no such weights; known are vgg19, vgg16, alexnet, ma"),
        ("fetch vg19", "vg19: srcx knows no such weights; did you mean 'vgg19'?"),
        ("import ma gone.mat", "gone.mat: there is no such file; check the path"),
        ("import vgg19 gone.pth", "gone.pth: there is no such file; check the path"),
    ],
)
def test_weights_that_cannot_be_had_are_one_sentence(srcx, cache, words, sentence):
    said = srcx("weights", *words.split())
    assert (said.code, said.sentences) == (1, [sentence])
    assert not cache.exists()

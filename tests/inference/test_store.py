"""A model that comes with srcx starts without torch, once another program has run it."""

import json
import os
import pickle
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from srcx import load_model
from srcx.archs import MSRResNet
from srcx.errors import CheckpointError, UsageError
from srcx.imaging import read_image, write_image
from srcx.inference import Upscaler, bundled, find_model, quantize, store
from srcx.inference.backends import BACKENDS, Engine, find_backend
from srcx.inference.backends.openvino import OpenVino
from srcx.inference.models import Model, StoredModel
from srcx.weights import save_state

OTHERS = [backend.name for backend in BACKENDS if backend.extra]


def ship(folder: Path, name: str, seed: int = 0) -> None:
    torch.manual_seed(seed)
    net = MSRResNet(num_feat=16, num_block=1, upscale=4)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    save_state(folder / f"{name}.safetensors", net.state_dict(), metadata={"scale": "4"})
    (folder / f"{name}.md").write_text(f"# {name}: for tests\n")


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """The folder of the models that come with srcx: two for "auto"."""
    monkeypatch.setattr(bundled, "BUNDLED", tmp_path / "bundled")
    for seed, name in enumerate(("srgan-cx-x4", "real-x4")):
        ship(tmp_path / "bundled", name, seed)
    return tmp_path / "bundled"


@pytest.fixture
def lq(rng) -> np.ndarray:
    return rng.integers(0, 256, (40, 31, 3), np.uint8)


@pytest.fixture(params=OTHERS)
def name(request) -> str:
    if not find_backend(request.param).available():
        pytest.skip(f"{request.param} is not installed")
    return request.param


def files_of(model: Model) -> list[Path]:
    assert model.store is not None
    return sorted(path for path in model.store.rglob("*") if path.is_file())


RUN = """
import sys
from srcx.cli import main
import srcx.inference.bundled as bundled
from pathlib import Path

bundled.BUNDLED = Path(sys.argv[1])
code = main(sys.argv[2:])
print("torch" in sys.modules)
sys.exit(code)
"""


def upscaled(folder: Path, *words: str) -> tuple[str, bool]:
    """Run `srcx upscale` in a process of its own; return what it prints, and whether it has loaded torch."""
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(folder), "upscale", *words],
        capture_output=True,
        text=True,
        env=env,
        cwd=folder.parent,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    *lines, torch_is_loaded = done.stdout.splitlines()
    return "\n".join([*lines, done.stderr]), torch_is_loaded == "True"


@pytest.mark.skipif(torch.cuda.is_available(), reason="torch runs networks on a GPU")
@pytest.mark.parametrize("words", [[], ["--tile", "16", "--tta"]])
def test_the_second_run_loads_no_torch_and_makes_the_same_image(folder, lq, name, words):
    write_image(folder.parent / "lq.png", lq)
    tile = 16 if words else "auto"
    expected = load_model(backend=name, precision="fp32", tile=tile, tta=bool(words))(lq)
    said, torch_is_loaded = upscaled(
        folder, "lq.png", "--backend", name, "--precision", "fp32", "-o", "sr.png", *words
    )
    assert not torch_is_loaded, said
    assert "1 upscaled: sr.png, 124 x 160 pixels, by srgan-cx-x4 in" in said
    np.testing.assert_array_equal(read_image(folder.parent / "sr.png"), expected)


@pytest.mark.skipif(torch.cuda.is_available(), reason="torch runs networks on a GPU")
def test_16_bits_alpha_and_another_scale_load_no_torch(folder, rng):
    if not any(find_backend(name).available() for name in OTHERS):
        pytest.skip("no other program is installed")
    grey = rng.integers(0, 65536, (20, 30), np.uint16)
    (folder.parent / "in").mkdir()
    write_image(folder.parent / "in/grey.png", grey)
    write_image(folder.parent / "in/alpha.png", rng.integers(0, 256, (20, 30, 4), np.uint8))
    for name in ("srgan-cx-x4", "real-x4"):
        load_model(name)(grey)
    _, torch_is_loaded = upscaled(folder, "in", "-o", "out", "--scale", "2")
    assert not torch_is_loaded
    assert read_image(folder.parent / "out/alpha.png").shape == (40, 60, 4)


@pytest.mark.skipif(torch.cuda.is_available(), reason="torch runs networks on a GPU")
def test_an_exported_file_runs_without_torch(folder, lq):
    pytest.importorskip("onnxruntime")
    model = find_model("real-x4")
    (folder.parent / "mine.onnx").write_bytes(store.onnx_of(model))
    write_image(folder.parent / "lq.png", lq)
    said, torch_is_loaded = upscaled(folder, "lq.png", "-o", "sr.png", "--model", "mine.onnx")
    assert not torch_is_loaded, said
    expected = Upscaler(model, backend="onnx", precision="fp32")(lq)
    np.testing.assert_array_equal(read_image(folder.parent / "sr.png"), expected)


def test_the_first_use_is_told_and_no_other(folder, lq, name, caplog, monkeypatch):
    engines = [Engine(find_backend("torch")), Engine(find_backend(name))]
    monkeypatch.setattr("srcx.inference.upscaler.engines_for", lambda *_, **__: engines)
    for _ in range(2):
        Upscaler(find_model("real-x4"))(lq)
    warned = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert len(warned) == 1
    assert warned[0].startswith(
        f"real-x4: {name} fp32 runs it, expected to be the fastest of 2 on a processor"
    )
    assert warned[0].endswith("; `srcx models real-x4 --measure` measures")


def test_a_stored_model_is_the_model(folder, lq, name):
    loaded = find_model("real-x4")
    assert type(loaded) is Model
    Upscaler(loaded, backend=name, precision="fp32")(lq)
    stored = find_model("real-x4")
    assert isinstance(stored, StoredModel)
    assert "net" not in vars(stored)
    for about in ("name", "scale", "architecture", "sha256", "path", "channels", "multiple_of", "precisions"):
        assert getattr(stored, about) == getattr(loaded, about), about
    assert (stored.part, stored.values_per_pixel) == (loaded.part, loaded.values_per_pixel)
    assert stored.has_net
    twin = pickle.loads(pickle.dumps(stored))
    assert "net" not in vars(twin)
    for key, weight in loaded.net.state_dict().items():
        assert torch.equal(twin.net.state_dict()[key], weight)
    assert stored.parameters == loaded.parameters


@pytest.mark.parametrize("damage", ["about.json", "network", "all"])
def test_damaged_files_are_made_again(folder, lq, name, damage):
    expected = Upscaler(find_model("real-x4"), backend=name, precision="fp32")(lq)
    for file in files_of(find_model("real-x4")):
        if damage == "all" or (file.name == "about.json") == (damage == "about.json"):
            file.write_bytes(file.read_bytes()[:100])
    result = Upscaler(find_model("real-x4"), backend=name, precision="fp32")(lq)
    np.testing.assert_array_equal(result, expected)
    if damage != "about.json":
        assert all(file.stat().st_size != 100 for file in files_of(find_model("real-x4")))


@pytest.mark.parametrize(("age_days", "is_left"), [(89, True), (91, False)])
def test_other_weights_or_versions_have_files_of_their_own_and_replace_outdated_ones(
    folder, lq, monkeypatch, age_days, is_left
):
    Upscaler(find_model("real-x4"), backend="onnx", precision="fp32")(lq)
    before = find_model("real-x4").store
    made_s = time.time() - age_days * 24 * 3600
    os.utime(before, (made_s, made_s))
    ship(folder, "real-x4", seed=9)
    assert type(find_model("real-x4")) is Model
    monkeypatch.setattr("srcx.__version__", "999")
    Upscaler(find_model("real-x4"), backend="onnx", precision="fp32")(lq)
    after = find_model("real-x4").store
    assert after != before
    assert after.is_dir()
    assert before.exists() == is_left  # another environment may use it


def test_weights_that_are_replaced_while_in_use_are_an_error(folder, lq):
    Upscaler(find_model("real-x4"), backend="onnx", precision="fp32")(lq)
    model = find_model("real-x4")
    ship(folder, "real-x4", seed=9)
    with pytest.raises(CheckpointError, match="was replaced while it was in use; run the command again"):
        _ = model.net


def test_checkpoints_of_the_users_and_mixed_weights_are_not_stored(folder, lq, tmp_path):
    (folder / "real-x4.safetensors").rename(tmp_path / "mine.safetensors")
    ship(folder, "real-x4")
    ship(folder, "real-x4.parent")
    for model in (find_model(tmp_path / "mine.safetensors"), find_model("real-x4", fidelity=0.5)):
        Upscaler(model, backend="onnx", precision="fp32")(lq)
        assert model.store is None
    assert not (tmp_path / "cache/srcx/networks").exists()


def test_a_cache_that_cannot_be_written_stops_nothing(folder, lq, tmp_path):
    (tmp_path / "cache").write_text("a file")
    assert Upscaler(find_model("real-x4"), backend="onnx")(lq).shape == (160, 124, 3)


@pytest.mark.parametrize("content", ["", "[]", "null", "{}", "[" * 100_000])
def test_a_description_that_is_none_is_left_out(tmp_path, content):
    (tmp_path / "about.json").write_text(content)
    assert store.read_description(tmp_path) is None


def test_a_description_says_everything(folder, lq):
    Upscaler(find_model("real-x4"), backend="onnx", precision="fp32")(lq)
    path = find_model("real-x4").store / "about.json"
    about = json.loads(path.read_text())
    for missing in about:
        path.write_text(json.dumps({name: value for name, value in about.items() if name != missing}))
        assert store.read_description(path.parent) is None, missing


def test_an_8_bit_file_that_does_not_open_leaves_the_store(tmp_path, monkeypatch):
    def fail(*_):
        raise RuntimeError("of other weights")

    monkeypatch.setattr(OpenVino, "_open", fail)
    model = Model(
        "net", 4, "MSRResNet", "0", net=MSRResNet(num_feat=4, num_block=1).eval(), store=tmp_path / "s"
    )
    for precision, is_left in (("int8", True), ("fp32", False)):
        (tmp_path / "s").mkdir(exist_ok=True)
        with pytest.raises(UsageError, match="of other weights"):
            OpenVino().open(replace(model, int8=tmp_path / "exported.xml"), precision)
        assert (tmp_path / "s").is_dir() == is_left


def test_8_bits_are_made_once_where_they_are_asked_for_and_auto_does_not_take_them(
    folder, lq, monkeypatch, caplog
):
    pytest.importorskip("nncf")
    pytest.importorskip("openvino")
    exact = Upscaler(find_model("real-x4"), backend="torch", precision="fp32")(lq)
    monkeypatch.setattr(quantize, "PHOTOGRAPHS", ("chelsea.png", "coffee.png", "rocket.jpg", "brick.png"))
    monkeypatch.setattr(quantize, "MAX_LOSS_DB", 1.0)  # the weights are random
    first = Upscaler(find_model("real-x4"), precision="int8")(lq)
    said = "real-x4: making its 8-bit file, once"
    assert [said in text for text in caplog.messages].count(True) == 1
    assert 0 < np.square(np.subtract(first, exact, dtype=float)).mean() < 255**2 / 10**3
    second = Upscaler(find_model("real-x4"), precision="int8")
    assert [said in text for text in caplog.messages].count(True) == 1
    np.testing.assert_array_equal(second(lq), first)
    assert "int8" not in Upscaler(find_model("real-x4")).precisions()
    (xml,) = (path for path in files_of(find_model("real-x4")) if path.suffix == ".xml")
    xml.write_text("damaged")
    np.testing.assert_array_equal(Upscaler(find_model("real-x4"), precision="int8")(lq), first)


def test_8_bits_that_lose_too_much_are_refused_and_the_store_stays(folder, lq, monkeypatch):
    pytest.importorskip("nncf")
    Upscaler(find_model("real-x4"), backend="onnx", precision="fp32")(lq)
    before = files_of(find_model("real-x4"))
    monkeypatch.setattr(quantize, "PHOTOGRAPHS", ("chelsea.png", "coffee.png", "rocket.jpg", "brick.png"))
    monkeypatch.setattr(quantize, "MAX_LOSS_DB", -1.0)
    with pytest.raises(CheckpointError, match=r"^real-x4: in 8 bits it loses .* dB, more than -1"):
        Upscaler(find_model("real-x4"), precision="int8")
    assert files_of(find_model("real-x4")) == before

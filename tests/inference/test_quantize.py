from pathlib import Path

import numpy as np
import pytest
import torch

from srcx.archs import MSRResNet
from srcx.errors import CheckpointError, DataError, UsageError
from srcx.imaging import imresize, list_images, write_image
from srcx.inference import Model, Upscaler, find_model, quantize
from srcx.inference.autotune import engines_for
from srcx.inference.backends import EXACT, Engine, find_backend
from srcx.inference.backends.base import to_onnx
from srcx.inference.backends.openvino import SOURCE_KEY
from srcx.inference.bundled import int8_of
from srcx.inference.quantize import export_int8
from srcx.weights import save_state

CPU = "cpu"
INT8 = Engine(find_backend("openvino"), "int8")

openvino = pytest.importorskip("openvino")


@pytest.fixture
def checkpoint(tmp_path) -> Path:
    torch.manual_seed(0)
    net = MSRResNet(num_feat=8, num_block=2, upscale=2)
    with torch.no_grad():
        net.conv_last.weight.mul_(100)  # what the convolutions make is seen
    save_state(tmp_path / "net.pth", net.state_dict())
    return tmp_path / "net.pth"


@pytest.fixture
def photos(tmp_path, rng) -> list[Path]:
    """Noise of several coarsenesses, one of them too small, one grey and one of 16 bits."""
    (tmp_path / "photos").mkdir()
    for place in range(14):
        coarse = rng.integers(0, 256, (16, 16 + place, 3), np.uint8)
        image = imresize(coarse, size=(130, 140) if place else (60, 60))
        image = image[..., 0] if place == 1 else image
        image = image.astype(np.uint16) * 257 if place == 2 else image
        write_image(tmp_path / f"photos/{place}.png", image)
    return list_images(tmp_path / "photos")


def beside(checkpoint: Path, sha256: str) -> Model:
    """The model, with its own network in fp32 as its 8-bit file: so that finding and running it is tested."""
    model = find_model(checkpoint)
    assert model.net is not None
    file = openvino.Core().read_model(to_onnx(model))
    file.set_rt_info(sha256, SOURCE_KEY)
    openvino.save_model(file, str(int8_of(checkpoint)), compress_to_fp16=False)
    return find_model(checkpoint)


def test_the_file_beside_the_checkpoint_is_run(checkpoint, rng):
    model = beside(checkpoint, find_model(checkpoint).sha256)
    assert model.int8 == checkpoint.with_name("net.int8.xml")
    image = rng.integers(0, 256, (30, 41, 3), np.uint8)
    up = Upscaler(model, precision="int8")
    result = up(image)
    assert up.engine == INT8
    assert np.abs(result - Upscaler(model, precision="fp32", backend="torch")(image).astype(int)).max() <= 1


def test_it_is_tried_where_it_exists_and_torch_never_runs_it(checkpoint):
    without = find_model(checkpoint)
    assert INT8 not in engines_for(without, CPU, backend="auto", precision="auto")
    model = beside(checkpoint, without.sha256)
    assert INT8 in engines_for(model, CPU, backend="auto", precision="auto")
    assert engines_for(model, CPU, backend="torch", precision="auto")[0] == EXACT
    with pytest.raises(UsageError, match="torch: does not run net in int8; take fp32"):
        Upscaler(model, backend="torch", precision="int8")


def test_a_file_of_other_weights_is_not_run(checkpoint):
    model = beside(checkpoint, "another")
    with pytest.raises(UsageError, match=r"net\.int8\.xml: was made from other weights than net; export it"):
        Upscaler(model, precision="int8")


def test_a_damaged_file_is_named_and_auto_goes_on_without_it(checkpoint, rng):
    model = beside(checkpoint, find_model(checkpoint).sha256)
    model.int8.with_suffix(".bin").write_bytes(b"")
    said = r"net\.int8\.xml: this file or net\.int8\.bin is damaged, or openvino lacks one of its layers"
    with pytest.raises(UsageError, match=said):
        Upscaler(model, precision="int8")
    assert Upscaler(model)(rng.integers(0, 256, (30, 41, 3), np.uint8)).shape[2] == 3


def test_without_the_file_the_error_says_how_to_make_it(checkpoint):
    with pytest.raises(UsageError, match=r"net: has no 8-bit file; 'srcx export --format openvino --int8"):
        Upscaler(find_model(checkpoint), precision="int8")


def test_eight_bits_are_written_and_near_fp32(checkpoint, photos, tmp_path, rng):
    pytest.importorskip("nncf")
    report = export_int8(find_model(checkpoint), int8_of(checkpoint), photos)
    assert 35 < report.psnr_db < 90, "another network than that in fp32, and like it"
    assert abs(report.loss_db) <= 0.05
    model = find_model(checkpoint)
    content = int8_of(checkpoint).read_text()
    assert content.count('type="FakeQuantize"') >= 4
    image = rng.integers(0, 256, (30, 41, 3), np.uint8)
    result = Upscaler(model, precision="int8")(image).astype(float)
    exact = Upscaler(model, precision="fp32", backend="torch")(image)
    assert 0 < np.square(result - exact).mean() < 255**2 / 10**3.5
    assert not list(tmp_path.glob(".export-*"))


def test_images_sharper_than_most_of_the_calibration_are_not_clipped(checkpoint, tmp_path):
    """One piece of noise among flat ones: the mean of the largest values is a tenth of what it needs."""
    pytest.importorskip("nncf")
    rng = np.random.default_rng(0)
    for place in range(12):
        image = np.full((128, 128, 3), 100 + place, np.uint8)
        image = rng.integers(0, 256, image.shape, np.uint8) if place == 5 else image
        write_image(tmp_path / f"{place}.png", image)
    export_int8(find_model(checkpoint), int8_of(checkpoint), list_images(tmp_path))
    noise = rng.integers(0, 256, (64, 64, 3), np.uint8)
    results = [Upscaler(find_model(checkpoint), precision=one)(noise) for one in ("int8", "fp32")]
    assert np.square(np.subtract(*results, dtype=float)).mean() < 255**2 / 10**3.5


def test_a_network_that_loses_too_much_is_not_written(checkpoint, photos, tmp_path, monkeypatch):
    pytest.importorskip("nncf")
    monkeypatch.setattr(quantize, "MAX_LOSS_DB", -1.0)
    with pytest.raises(
        CheckpointError, match=r"net: in 8 bits it loses -?0\.\d+ dB, more than -1, and is not"
    ):
        export_int8(find_model(checkpoint), tmp_path / "out/net.xml", photos)
    assert list((tmp_path / "out").iterdir()) == []


def test_too_few_images_are_refused(checkpoint, photos, tmp_path):
    pytest.importorskip("nncf")
    with pytest.raises(DataError, match="at least 6 images of 128 x 128 pixels or more; got 4"):
        export_int8(find_model(checkpoint), tmp_path / "net.xml", photos[:5])


def test_wrong_words_are_one_sentence(checkpoint, photos, tmp_path, monkeypatch):
    with pytest.raises(UsageError, match=r"net\.bin: the name of this file must end with \.xml"):
        export_int8(find_model(checkpoint), tmp_path / "net.bin", photos)
    monkeypatch.setitem(__import__("sys").modules, "nncf", None)
    with pytest.raises(
        UsageError, match=r"int8: needs nncf, which is not installed; pip install 'srcx\[int8\]'"
    ):
        export_int8(find_model(checkpoint), tmp_path / "net.xml", photos)


def test_sums_of_branches_and_the_convolutions_on_pixels_stay_in_fp32(checkpoint):
    exact = openvino.Core().read_model(to_onnx(find_model(checkpoint)))
    names = quantize._fp32_operations(exact)
    convolutions = [name for name in names if "Conv" in name]
    assert [name.split("/")[1] for name in convolutions] == ["conv_first", "conv_last"]
    assert sorted(set(names) - set(convolutions)) == ["/body/body.0/Add", "/body/body.1/Add", "sr"]

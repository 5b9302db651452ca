"""Files that other programs exported run as models: every backend's kind, any order, one size or all."""

import re
import subprocess
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from srcx.archs import MSRResNet
from srcx.archs.community import community_network
from srcx.errors import CheckpointError, UsageError
from srcx.inference import Model, Upscaler, find_model
from srcx.inference.backends import BACKENDS, Backend
from srcx.inference.backends.base import to_onnx
from srcx.inference.export import export
from srcx.inference.exported import input_of

OF_FILES = [backend for backend in BACKENDS if backend.suffix]


def tiny(channels: int = 3) -> MSRResNet:
    torch.manual_seed(0)
    net = MSRResNet(num_in_ch=channels, num_out_ch=channels, num_feat=8, num_block=2, upscale=2)
    for weight in net.parameters():
        nn.init.normal_(weight, std=0.1)  # its own start is so small that no cut would be seen
    return net.eval().requires_grad_(False)


def model_of(net: nn.Module, channels: int = 3) -> Model:
    return Model("test", 2, "test", "0", net=net, channels=channels)


def traced(net: nn.Module, path: Path, *shape: int, free: bool = False) -> Path:
    """Write an .onnx file for one size, or for one that is free by declaration."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            net.eval(),
            (torch.zeros(*shape, dtype=next(net.parameters(), torch.zeros(1)).dtype),),
            str(path),
            dynamo=False,
            opset_version=17,
            input_names=["image"],
            dynamic_axes={"image": {2: "h", 3: "w"}} if free else None,
        )
    return path


def exported(backend: Backend, folder: Path, net: nn.Module, channels: int = 3) -> Path:
    """Write the file of a backend by its own program."""
    onnx = folder / "net.onnx"
    onnx.write_bytes(to_onnx(model_of(net, channels)))
    if backend.name == "openvino":
        openvino = backend.load()
        openvino.save_model(openvino.Core().read_model(str(onnx)), str(folder / "net.xml"))
    elif backend.name == "ncnn":
        import pnnx

        sizes = [f"inputshape{n}=[1,{channels},{h},{w}]f32" for n, h, w in (("", 24, 24), ("2", 32, 40))]
        subprocess.run([pnnx.EXEC_PATH, "net.onnx", *sizes, "fp16=0"], cwd=folder, capture_output=True)
        return folder / "net.ncnn.param"
    return onnx.with_suffix(backend.suffix)


def by_torch(net: nn.Module, image: np.ndarray, channels: int = 3) -> np.ndarray:
    return Upscaler(model_of(net, channels), precision="fp32", backend="torch", tile=0)(image)


def largest_difference(one: np.ndarray, other: np.ndarray) -> int:
    assert one.shape == other.shape
    return int(np.abs(one.astype(int) - other).max())


@pytest.fixture(params=OF_FILES, ids=lambda backend: backend.name)
def backend(request: pytest.FixtureRequest) -> Backend:
    if not request.param.available():
        pytest.skip(f"{request.param.name} is not installed")
    return request.param


@pytest.mark.parametrize("channels", [3, 1])
def test_a_file_gives_the_image_that_torch_gives(backend, tmp_path, rng, channels):
    net = tiny(channels)
    path = exported(backend, tmp_path, net, channels)
    model = find_model(path)
    assert (model.scale, model.channels, model.multiple_of, model.size_px) == (2, channels, 1, None)
    assert (model.backend, model.path, model.name) == (backend.name, path, path.stem)
    image = rng.integers(0, 256, (50, 41, 3), np.uint8)
    for tile in ("auto", 16):
        assert largest_difference(Upscaler(model, tile=tile)(image), by_torch(net, image, channels)) <= 1


def test_a_damaged_file_is_one_sentence_of_ours(backend, tmp_path, capfd):
    path = exported(backend, tmp_path, tiny())
    weights = path.with_suffix(".bin") if path.with_suffix(".bin").is_file() else None
    files = f"this file or {weights.name} is" if weights else "is"
    sentence = f"{path}: {files} damaged, or {backend.name} lacks one of its layers; export it again"
    for one in (path, weights) if weights else (path,):
        whole = one.read_bytes()
        for content in (whole[: len(whole) // 2], b"", b"anything"):
            one.write_bytes(content)
            with pytest.raises(CheckpointError, match=f"^{re.escape(sentence)}$"):
                find_model(path)
        one.write_bytes(whole)
    if backend.name != "ncnn":  # it prints, and nothing keeps it from that
        assert capfd.readouterr().err == ""
    with pytest.raises(CheckpointError, match=r"gone.*: there is no such file"):
        find_model(tmp_path / f"gone{backend.suffix}")


def test_a_file_that_memory_does_not_suffice_for_is_not_called_damaged(backend, tmp_path, monkeypatch):
    def refuse(self, path):
        raise RuntimeError("std::bad_alloc")

    path = exported(backend, tmp_path, tiny())
    monkeypatch.setattr(type(backend), "open_exported", refuse)
    with pytest.raises(CheckpointError, match=r"the memory does not suffice to open it; close other"):
        find_model(path)


@pytest.mark.parametrize("suffix", [".param", ".xml"])
def test_weights_that_are_not_beside_their_file_are_named(tmp_path, suffix):
    (tmp_path / f"net{suffix}").write_text("7767517\n")
    with pytest.raises(CheckpointError, match=r"its weights, net\.bin, are not beside it"):
        find_model(tmp_path / f"net{suffix}")


@pytest.mark.parametrize("size", [(64, 64), (64, 48)])
@pytest.mark.parametrize("tta", [False, True])
def test_a_file_for_one_size_runs_larger_images_in_tiles_of_it_without_seams(tmp_path, rng, size, tta):
    net = tiny()
    model = find_model(traced(net, tmp_path / "net.onnx", 1, 3, *size))
    assert (model.size_px, model.scale) == (size, 2)
    image = rng.integers(0, 256, (90, 141, 3), np.uint8)
    whole = Upscaler(model_of(net), precision="fp32", backend="torch", tile=0, tta=tta)(image)
    found = Upscaler(model, tta=tta)(image)
    inside = (slice(None), slice(None)) if not tta or size[0] == size[1] else (slice(40, -40),) * 2
    assert largest_difference(found[inside], whole[inside]) <= 1
    small = image[:40, :30]
    inside = (slice(0, 50), slice(0, 40))
    assert largest_difference(Upscaler(model)(small)[inside], by_torch(net, small)[inside]) <= 1


def test_channels_last_and_red_and_blue_exchanged_are_found(tmp_path, rng, caplog):
    class Turned(nn.Module):
        def __init__(self, net: nn.Module) -> None:
            super().__init__()
            self.net = net

        def forward(self, x: Tensor) -> Tensor:
            return self.net(x.permute(0, 3, 1, 2)).flip(1).permute(0, 2, 3, 1)

    class Repeated(nn.Module):
        def __init__(self, *shares: float) -> None:
            super().__init__()
            self.shares = torch.tensor(shares)[:, None, None]

        def forward(self, x: Tensor) -> Tensor:
            return nn.functional.interpolate(x, scale_factor=2.0) * self.shares

    net = Repeated(1, 0.98, 0.97)
    model = find_model(traced(Turned(net), tmp_path / "net.onnx", 1, 64, 64, 3))
    image = rng.integers(0, 256, (64, 64, 3), np.uint8)
    assert largest_difference(Upscaler(model)(image), by_torch(net, image)) <= 1
    assert not caplog.records
    find_model(traced(Repeated(0.5, 0.5, 0.5), tmp_path / "dark.onnx", 1, 3, 64, 64))
    assert "of the flat colour (0.8, 0.5, 0.2); its values may not be RGB" in caplog.text


def test_sizes_that_a_network_needs_are_found(tmp_path, rng):
    class Strided(nn.Sequential):
        def __init__(self) -> None:
            super().__init__(nn.Conv2d(3, 48, 3, 2, 1), nn.PixelShuffle(4))

    net = Strided().requires_grad_(False)
    model = find_model(traced(net, tmp_path / "net.onnx", 1, 3, 24, 24, free=True))
    assert (model.scale, model.multiple_of, model.size_px) == (2, 2, None)
    assert input_of(model) == "RGB, height and width multiples of 2"
    assert Upscaler(model)(rng.integers(0, 256, (31, 45, 3), np.uint8)).shape == (62, 90, 3)


def test_a_size_that_is_free_by_declaration_alone_is_found(tmp_path, rng):
    class Fixed(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return nn.functional.interpolate(x + torch.zeros(1, 3, 48, 48), scale_factor=2.0)

    model = find_model(traced(Fixed(), tmp_path / "net.onnx", 1, 3, 48, 48, free=True))
    assert (model.size_px, model.multiple_of) == ((48, 48), 1)
    assert input_of(model) == "RGB, 48 x 48 pixels; larger images in tiles"
    image = rng.integers(0, 256, (60, 100, 3), np.uint8)
    assert largest_difference(Upscaler(model)(image), image.repeat(2, 0).repeat(2, 1)) == 0


SPANDREL = {
    "ESRGAN": {"num_filters": 8, "num_blocks": 1, "scale": 2},
    "SPAN": {"num_in_ch": 3, "num_out_ch": 3, "feature_channels": 8, "upscale": 2},
    "SwinIR": {"depths": [2], "embed_dim": 16, "num_heads": [2], "window_size": 8, "upscale": 2}
    | {"upsampler": "pixelshuffle"},
}
"""Networks of spandrel that are exported as their users do, by torch alone."""


@pytest.mark.parametrize("free", [True, False])
@pytest.mark.parametrize("name", SPANDREL)
def test_a_network_of_spandrel_that_torch_exported_gives_its_image(tmp_path, rng, name, free):
    net = community_network(f"spandrel.{name}")(**SPANDREL[name]).eval().requires_grad_(False)
    torch.save(net.state_dict(), tmp_path / "net.pth")
    model = find_model(traced(net, tmp_path / "net.onnx", 1, 3, 48, 48, free=free))
    assert (model.scale, model.size_px) == (2, None if free else (48, 48))
    assert model.multiple_of == (8 if free and name == "SwinIR" else 1)
    image = rng.integers(0, 256, (57, 70, 3) if free else (48, 48, 3), np.uint8)
    expected = Upscaler(find_model(tmp_path / "net.pth"), precision="fp32", backend="torch", tile=0)(image)
    assert largest_difference(Upscaler(model)(image), expected) <= 1
    assert np.ptp(expected) > 20


def test_a_file_in_8_bits_of_onnxruntime_gives_nearly_the_image(tmp_path, rng):
    from onnxruntime.quantization import CalibrationDataReader, quantize_static

    class Images(CalibrationDataReader):
        left = 4

        def get_next(self):
            self.left -= 1
            return {"image": rng.random((1, 3, 32, 32), np.float32)} if self.left else None

    traced(tiny(), tmp_path / "net.onnx", 1, 3, 32, 32, free=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantize_static(tmp_path / "net.onnx", tmp_path / "small.onnx", Images())
    image = rng.integers(0, 256, (40, 50, 3), np.uint8)
    found = Upscaler(find_model(tmp_path / "small.onnx"))(image)
    assert np.abs(found.astype(int) - by_torch(tiny(), image)).mean() < 8


def test_half_precision_files_run_too(tmp_path, rng):
    path = traced(tiny().half(), tmp_path / "net.onnx", 1, 3, 32, 32)
    image = rng.integers(0, 256, (32, 32, 3), np.uint8)
    assert largest_difference(Upscaler(find_model(path))(image), by_torch(tiny(), image)) <= 2


def test_what_makes_no_larger_image_is_refused(tmp_path):
    class Mean(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.mean((2, 3))

    path = traced(Mean(), tmp_path / "net.onnx", 1, 3, 16, 16)
    with pytest.raises(
        CheckpointError, match=r"cannot be used to upscale \(it makes an output of shape \(1, 3\)"
    ):
        find_model(path)
    path = traced(nn.Conv2d(4, 3, 1), tmp_path / "four.onnx", 1, 4, 16, 16)
    with pytest.raises(
        CheckpointError, match=r"cannot be used to upscale \(its input has the shape \(1, 4, 16, 16\)"
    ):
        find_model(path)


def test_a_file_runs_by_its_own_program_alone_and_is_not_exported_again(tmp_path):
    path = traced(tiny(), tmp_path / "net.onnx", 1, 3, 32, 32)
    model = find_model(path)
    with pytest.raises(UsageError, match=r"net\.onnx is a file for onnx; leave torch out"):
        Upscaler(model, backend="torch")
    with pytest.raises(UsageError, match="does not work in bf16; take fp32"):
        Upscaler(model, precision="bf16")
    with pytest.raises(UsageError, match="fidelity needs faithful weights"):
        find_model(path, fidelity=0.5)
    with pytest.raises(UsageError, match=r"net\.onnx: is an exported file; name the checkpoint"):
        export(model, "onnx", tmp_path / "again.onnx")
    Upscaler(model, backend="onnx")

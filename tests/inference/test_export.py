import importlib

import numpy as np
import pytest
import torch
from torch import nn

from srcx.archs import MSRResNet, SRVGGNetCompact
from srcx.errors import CheckpointError, UsageError
from srcx.inference import Model, find_model
from srcx.inference import export as export_module
from srcx.inference.export import SUFFIXES, export
from srcx.weights import save_state

NEEDS = {
    "onnx": "onnxruntime",
    "openvino": "openvino",
    "safetensors": "safetensors",
}
FORMATS = pytest.mark.parametrize("format", list(SUFFIXES))


NETWORKS = [
    MSRResNet(num_feat=8, num_block=2, upscale=3),
    SRVGGNetCompact(num_feat=8, num_conv=2, upscale=3),
]


@pytest.fixture(params=NETWORKS, ids=lambda net: type(net).__name__)
def model(tmp_path, request) -> Model:
    save_state(tmp_path / "net.pth", request.param.state_dict())
    return find_model(tmp_path / "net.pth")


@FORMATS
def test_an_exported_file_gives_the_same_result_at_another_size(model, tmp_path, format):
    module = pytest.importorskip(NEEDS[format])
    out = tmp_path / f"out/net{SUFFIXES[format]}"
    assert export(model, format, out) > 100
    lq = torch.rand(2, 3, 31, 17)
    if format == "onnx":
        sr = module.InferenceSession(str(out)).run(None, {"lq": lq.numpy()})[0]
    elif format == "openvino":
        sr = module.Core().compile_model(str(out), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(lq.numpy())[
            "sr"
        ]
    else:
        net = find_model(out).net
        assert net is not None
        sr = net(lq)
    assert model.net is not None
    torch.testing.assert_close(torch.as_tensor(np.asarray(sr)), model.net(lq), atol=1e-5, rtol=1e-4)
    assert {path.suffix for path in out.parent.iterdir()} == {out.suffix} | (
        {".bin"} if format == "openvino" else set()
    )


@FORMATS
def test_a_file_that_gives_another_result_is_not_written(model, tmp_path, format, monkeypatch):
    pytest.importorskip(NEEDS[format])
    monkeypatch.setattr(export_module, "psnr_db", lambda one, other: 41.0)
    (tmp_path / "out").mkdir()
    with pytest.raises(
        CheckpointError, match=r"net: its \w+ file is not written: its result is only 41\.0 dB from torch"
    ):
        export(model, format, tmp_path / f"out/net{SUFFIXES[format]}")
    assert list((tmp_path / "out").iterdir()) == []


def test_community_networks_are_exported_too(tmp_path):
    private = importlib.import_module("spandrel.architectures.ESRGAN.__arch.RRDB")
    net = private.RRDBNet(in_nc=3, out_nc=3, num_filters=8, num_blocks=1, scale=2)
    save_state(tmp_path / "esrgan.pth", net.state_dict())
    model = find_model(tmp_path / "esrgan.pth")
    assert export(model, "safetensors", tmp_path / "again.safetensors") > 100
    assert find_model(tmp_path / "again.safetensors").architecture == "ESRGAN"
    pytest.importorskip("onnxruntime")
    assert export(model, "onnx", tmp_path / "again.onnx") > 100


class Odd(nn.Module):
    """Sorts by something ONNX does not have."""

    def forward(self, lq: torch.Tensor) -> torch.Tensor:
        return torch.linalg.qr(lq)[0]


def test_a_network_that_cannot_be_written_is_one_sentence(tmp_path):
    pytest.importorskip("onnxruntime")
    with pytest.raises(CheckpointError, match="odd: a test cannot be written as onnx: ") as error:
        export(Model("odd", 1, "test", "0", net=Odd()), "onnx", tmp_path / "odd.onnx")
    assert "\n" not in str(error.value)


def test_wrong_words_are_one_sentence(model, tmp_path):
    with pytest.raises(UsageError, match=r"net\.pth: the name of this file must end with \.onnx"):
        export(model, "onnx", tmp_path / "net.pth")
    with pytest.raises(UsageError, match="bicubic: has no network to export"):
        export(find_model("bicubic"), "onnx", tmp_path / "net.onnx")

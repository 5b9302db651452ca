import dataclasses
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
    with pytest.raises(UsageError, match="bicubic: has no network: it is an interp"):
        export(find_model("bicubic"), "onnx", tmp_path / "net.onnx")


@pytest.mark.parametrize("size_px", [None, (64, 96), (256, 256), (512, 512)], ids=str)
@pytest.mark.parametrize("half", [False, True], ids=["fp32", "fp16"])
def test_onnx_in_half_precision_and_for_one_size_runs_in_onnx_runtime(model, tmp_path, half, size_px):
    onnxruntime = pytest.importorskip("onnxruntime")
    out = tmp_path / "net.onnx"
    found_db = export(model, "onnx", out, half=half, size_px=size_px)
    assert found_db > (export_module.HALF_DB if half else 100)
    assert half == (found_db < 100)
    session = onnxruntime.InferenceSession(str(out))
    (lq_input,), (sr_output,) = session.get_inputs(), session.get_outputs()
    assert lq_input.type == sr_output.type == ("tensor(float16)" if half else "tensor(float)")
    assert lq_input.shape == ([1, 3, *size_px] if size_px else ["n", 3, "h", "w"])
    lq = torch.rand(1, 3, *(size_px or (31, 17)))
    sr = session.run(None, {"lq": lq.numpy().astype(np.float16 if half else np.float32)})[0]
    torch.testing.assert_close(
        torch.from_numpy(sr).float(), model.net(lq), atol=0.01 if half else 1e-5, rtol=1e-4
    )
    about = session.get_modelmeta().custom_metadata_map["lq"]
    assert about.startswith("float16 (" if half else "float32 (")
    assert (f"(1, 3, {size_px[0]}, {size_px[1]})" if size_px else "(n, 3, h, w)") in about
    again = find_model(out)  # and in srcx
    assert (again.scale, again.size_px) == (3, size_px)


def test_weights_of_a_file_in_half_precision_take_half_the_room(model, tmp_path):
    pytest.importorskip("onnxruntime")
    onnx = importlib.import_module("onnx")
    sizes = []
    for half in (False, True):
        export(model, "onnx", tmp_path / "net.onnx", half=half)
        weights = onnx.load(str(tmp_path / "net.onnx")).graph.initializer
        sizes.append(sum(onnx.numpy_helper.to_array(one).nbytes for one in weights))
    assert sizes[1] < 0.52 * sizes[0]


def test_a_network_that_overflows_in_half_precision_is_not_written(tmp_path):
    pytest.importorskip("onnxruntime")

    class Large(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 1, bias=False)

        def forward(self, lq):
            return self.conv(1e3 * lq.repeat_interleave(2, 2).repeat_interleave(2, 3)) * 1e-6

    net = Large()
    nn.init.constant_(net.conv.weight, 100.0)
    large = Model("large", 2, "a test", "0", net=net.eval())
    assert export(large, "onnx", tmp_path / "large.onnx") > 80
    with pytest.raises(CheckpointError, match=r"only \S+ dB from torch's, less than 50; leave out half prec"):
        export(large, "onnx", tmp_path / "half.onnx", half=True)
    assert not (tmp_path / "half.onnx").exists()


@pytest.mark.parametrize("wish", [{"half": True}, {"size_px": (256, 256)}], ids=str)
def test_half_precision_and_a_size_are_for_onnx(model, tmp_path, wish):
    with pytest.raises(UsageError, match="half precision and a fixed size are for onnx"):
        export(model, "safetensors", tmp_path / "net.safetensors", **wish)


def test_a_size_that_the_network_does_not_take_is_refused(model, tmp_path):
    of_windows = dataclasses.replace(model, multiple_of=16)
    with pytest.raises(UsageError, match="net: takes sides that are multiples of 16; got 256 x 250"):
        export(of_windows, "onnx", tmp_path / "net.onnx", size_px=(250, 256))

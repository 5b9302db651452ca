import hashlib

import pytest

from srcx import __version__
from srcx.archs import MSRResNet
from srcx.inference import find_model
from srcx.weights import save_state


def test_a_checkpoint_becomes_a_file_that_says_its_network(srcx, tmp_path):
    save_state(tmp_path / "net.pth", MSRResNet(num_feat=4, num_block=1, upscale=2).state_dict())
    said = srcx("export", "--model", "net.pth", "--format", "safetensors", "-o", "out.safetensors")
    assert (said.code, said.out) == (0, "out.safetensors: equal to torch\n")
    part = find_model(tmp_path / "out.safetensors").part
    assert part is not None
    assert part.args["num_feat"] == 4


def test_a_model_without_a_network_is_one_sentence(srcx):
    said = srcx("export", "--model", "bicubic", "--format", "onnx", "-o", "x.onnx")
    assert (said.code, said.sentences) == (
        2,
        ["bicubic: has no network: it is an interpolation; name another model or a checkpoint"],
    )


def test_words_that_do_not_go_together_are_one_sentence(srcx, tmp_path):
    said = srcx("export", "--model", "x.pth", "--format", "onnx", "--int8", ".", "-o", "x.onnx")
    assert said.code == 2
    assert said.sentences == [
        "--int8: is for --format openvino alone, and compares on images of its own folder"
    ]
    said = srcx("export", "--model", "bicubic", "--format", "openvino", "--int8", ".")
    assert (said.code, said.sentences) == (
        2,
        ["bicubic: has no network: it is an interpolation; name another model or a checkpoint"],
    )


def test_without_a_file_the_models_name_is_taken_and_nothing_replaced(srcx, tmp_path):
    save_state(
        tmp_path / "runs/mine/models/net_g_latest.pth", MSRResNet(num_feat=4, num_block=1).state_dict()
    )
    words = ("export", "--model", "runs/mine", "--format", "safetensors")
    assert srcx(*words).out == "mine.safetensors: equal to torch\n"
    before = (tmp_path / "mine.safetensors").read_bytes()
    said = srcx(*words)
    assert said.code == 2
    assert said.sentences[0].startswith("mine.safetensors: exists already; name another file with -o")
    assert (tmp_path / "mine.safetensors").read_bytes() == before


def test_the_input_and_output_of_an_export_are_printed_and_stored(srcx, tmp_path):
    pytest.importorskip("onnxruntime")
    onnx = pytest.importorskip("onnx")
    save_state(tmp_path / "net.pth", MSRResNet(num_feat=4, num_block=1, upscale=2).state_dict())
    said = srcx("export", "--model", "net.pth", "--format", "onnx", "-o", "net.onnx")
    lq, sr = "float32 (n, 3, h, w), RGB in [0, 1]", "likewise, 2 times as large"
    assert said.out.splitlines()[1:] == [f"  lq: {lq}", f"  sr: {sr}"]
    stored = {one.key: one.value for one in onnx.load(tmp_path / "net.onnx").metadata_props}
    assert stored == {
        "name": "net",
        "architecture": "MSRResNet",
        "scale": "2",
        "lq": lq,
        "sr": sr,
        "made_by": f"srcx {__version__}",
        "sha256_of_checkpoint": hashlib.sha256((tmp_path / "net.pth").read_bytes()).hexdigest(),
    }


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--format", "safetensors", "--fp16"], "--fp16: is for --format onnx; got safetensors"),
        (["--format", "openvino", "--size", "256"], "--size: is for --format onnx; got openvino"),
        (
            ["--format", "onnx", "--size", "256,256"],
            "--size: expected a side such as 256, or width and height",
        ),
    ],
)
def test_half_precision_and_a_size_are_refused_where_they_make_no_sense(srcx, words, said):
    refused = srcx("export", "--model", "srresnet-x4", *words)
    assert refused.code == 2
    assert said in refused.sentences[0]

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
    assert (said.code, said.sentences) == (2, ["bicubic: has no network to export"])


def test_words_that_do_not_go_together_are_one_sentence(srcx, tmp_path):
    said = srcx("export", "--model", "x.pth", "--format", "onnx", "--int8", ".", "-o", "x.onnx")
    assert said.code == 2
    assert said.sentences == ["--int8: is for --format openvino, and compares on images of its own folder"]
    said = srcx("export", "--model", "x.pth", "--format", "onnx")
    assert (said.code, said.sentences) == (2, ["-o: name the file to write"])
    said = srcx("export", "--model", "bicubic", "--format", "openvino", "--int8", ".")
    assert (said.code, said.sentences) == (2, ["bicubic: has no network to export"])

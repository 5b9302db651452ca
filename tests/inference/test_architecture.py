import importlib
import json

import pytest
import torch
from torch import nn

from srcx.archs import MSRResNet, SRGANDiscriminator, SRResNet
from srcx.errors import CheckpointError, UsageError
from srcx.inference import find_model
from srcx.weights import save_state


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize(
    ("kind", "args"),
    [
        (SRResNet, {"num_feat": 8, "num_block": 2, "upscale": 4}),
        (SRResNet, {"num_feat": 4, "num_block": 1, "upscale": 3}),
        (MSRResNet, {"num_feat": 8, "num_block": 3, "upscale": 2}),
        (MSRResNet, {"num_feat": 8, "num_block": 1, "upscale": 8, "num_in_ch": 1, "num_out_ch": 1}),
        (MSRResNet, {"num_feat": 8, "num_block": 1, "upscale": 4, "upsampling": "bilinear"}),
    ],
)
def test_own_networks_are_known_by_their_weights(kind, args, suffix, tmp_path):
    net = kind(**args)
    path = tmp_path / f"some{suffix}"
    save_state(path, net.state_dict())
    model = find_model(path)
    assert (model.architecture, model.scale, model.name) == (kind.__name__, args["upscale"], "some")
    assert model.channels == args.get("num_in_ch", 3)
    assert model.parameters == sum(weight.numel() for weight in net.parameters())
    assert model.net is not None
    for name, weight in net.state_dict().items():
        torch.testing.assert_close(model.net.state_dict()[name], weight)
    assert not model.net.training


def test_one_bilinear_stage_may_be_of_any_factor_so_it_must_be_told(tmp_path):
    net = MSRResNet(num_feat=4, num_block=1, upscale=3, upsampling="bilinear")
    save_state(tmp_path / "net.pth", net.state_dict())
    with pytest.raises(CheckpointError, match=r"put the option file's network beside it as net\.json"):
        find_model(tmp_path / "net.pth")
    describe(tmp_path / "net.json", "MSRResNet", num_feat=4, num_block=1, upscale=3, upsampling="bilinear")
    assert find_model(tmp_path / "net.pth").scale == 3


def test_srresnets_names_with_stages_of_another_kind_are_refused(tmp_path):
    state = SRResNet(num_feat=4, num_block=1, upscale=4).state_dict()
    plain = {name: weight[:4] if name.startswith("upsample.") else weight for name, weight in state.items()}
    save_state(tmp_path / "net.pth", plain)
    with pytest.raises(CheckpointError, match=r"net\.pth: these weights do not fit SRResNet"):
        find_model(tmp_path / "net.pth")


def test_the_averaged_weights_of_a_checkpoint_are_taken(tmp_path):
    first, averaged = (MSRResNet(num_feat=4, num_block=1) for _ in range(2))
    save_state(tmp_path / "net.pth", {"params": first.state_dict(), "params_ema": averaged.state_dict()})
    net = find_model(tmp_path / "net.pth").net
    assert net is not None
    torch.testing.assert_close(net.state_dict()["conv_last.weight"], averaged.conv_last.weight.data)


def test_a_description_beside_the_file_comes_first(tmp_path):
    save_state(tmp_path / "net.pth", MSRResNet(num_feat=4, num_block=1, upscale=2).state_dict())
    describe(tmp_path / "net.json", "MSRResNet", num_feat=4, num_block=1, upscale=2)
    assert find_model(tmp_path / "net.pth").scale == 2
    describe(tmp_path / "net.json", "MSRResNet", num_feat=6, num_block=1, upscale=2)
    with pytest.raises(CheckpointError, match=r"net\.pth: these weights do not fit MSRResNet"):
        find_model(tmp_path / "net.pth")


@pytest.mark.parametrize("text", ["", "[]", '{"network": 3}', '{"network": {"args": {}}}'])
def test_a_description_that_is_none_is_refused(text, tmp_path):
    save_state(tmp_path / "net.pth", MSRResNet(num_feat=4, num_block=1).state_dict())
    (tmp_path / "net.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"net\.json: expected \{"):
        find_model(tmp_path / "net.pth")


def test_a_description_of_no_network_is_refused(tmp_path):
    save_state(tmp_path / "net.pth", MSRResNet(num_feat=4, num_block=1).state_dict())
    describe(tmp_path / "net.json", "MSRResNett")
    with pytest.raises(CheckpointError, match="MSRResNet"):
        find_model(tmp_path / "net.pth")


def test_a_checkpoint_in_a_run_folder_is_of_its_option_file(tmp_path):
    models = tmp_path / "run1" / "models"
    save_state(models / "net_g_latest.pth", MSRResNet(num_feat=4, num_block=1, upscale=2).state_dict())
    (tmp_path / "run1" / "run1.yml").write_text(
        "name: run1\nnetwork_g: {type: MSRResNet, num_feat: 4, num_block: 1, upscale: 2}\n"
    )
    model = find_model(models / "net_g_latest.pth")
    assert (model.name, model.scale) == ("run1", 2)
    (models / "net_g_5000.pth").write_bytes((models / "net_g_latest.pth").read_bytes())
    assert find_model(models / "net_g_5000.pth").name == "run1-net_g_5000"
    (tmp_path / "run1" / "run1.yml").write_text("name: run1\n")
    with pytest.raises(CheckpointError, match=r"run1\.yml: expected a network_g with a type"):
        find_model(models / "net_g_latest.pth")


def describe(path, kind: str, **args: object) -> None:
    path.write_text(json.dumps({"network": {"type": kind, "args": args}}))


@pytest.mark.parametrize("scale", [2, 4])
def test_community_networks_are_known_by_their_weights(scale, tmp_path):
    private = importlib.import_module("spandrel.architectures.ESRGAN.__arch.RRDB")
    net = private.RRDBNet(in_nc=3, out_nc=3, num_filters=8, num_blocks=1, scale=scale)
    save_state(tmp_path / "esrgan.pth", net.state_dict())
    model = find_model(tmp_path / "esrgan.pth")
    assert (model.architecture, model.scale) == ("ESRGAN", scale)
    assert model.net is not None
    lq = torch.rand(1, 3, 20, 24)
    with torch.inference_mode():
        torch.testing.assert_close(model.net(lq), net.eval()(lq).clamp(0, 1))


@pytest.mark.parametrize("net", [nn.Linear(3, 3), SRGANDiscriminator(num_feat=4, input_size=16)])
def test_weights_of_an_unknown_network_are_refused(net, tmp_path):
    save_state(tmp_path / "net.pth", net.state_dict())
    with pytest.raises(CheckpointError, match=r"no known network has weights of these names.*net\.json"):
        find_model(tmp_path / "net.pth")


def test_a_network_that_does_not_enlarge_by_a_whole_factor_is_refused(tmp_path, monkeypatch):
    from srcx.inference import architecture

    net = nn.Conv2d(3, 3, 4)
    part = architecture.NetworkPart("Conv2d", {"in_channels": 3, "out_channels": 3, "kernel_size": 4})
    monkeypatch.setattr(architecture, "own_generator", lambda state: part)
    monkeypatch.setattr(architecture, "OWN", {"Conv2d": nn.Conv2d})
    save_state(tmp_path / "net.pth", net.state_dict())
    with pytest.raises(CheckpointError, match="whole factors only"):
        find_model(tmp_path / "net.pth")


@pytest.mark.parametrize(("text", "scale"), [("bicubic", 4), ("bicubic-x2", 2), ("bicubic-x8", 8)])
def test_bicubic_needs_no_file(text, scale):
    model = find_model(text)
    assert (model.name, model.scale, model.net, model.parameters) == (text, scale, None, 0)


def test_a_misspelt_name_gets_the_nearest(tmp_path):
    with pytest.raises(UsageError, match=r"bicubicc: neither a model .* did you mean 'bicubic'"):
        find_model("bicubicc")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"gone\.pth: there is no such file"):
        find_model(tmp_path / "gone.pth")

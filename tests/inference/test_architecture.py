import hashlib
import importlib
import importlib.util
import inspect
import json

import pytest
import torch
from torch import nn

from srcx.archs import MSRResNet, SRGANDiscriminator, SRResNet, SRVGGNetCompact
from srcx.data.dataset import Levels
from srcx.errors import CheckpointError, UsageError
from srcx.imaging.tensors import to_image
from srcx.inference import find_model
from srcx.inference.export import export
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
        (MSRResNet, {"num_feat": 8, "num_block": 2, "upscale": 4, "upsampling": "direct"}),
        (MSRResNet, {"num_feat": 4, "num_block": 1, "upscale": 3, "upsampling": "direct"}),
        (SRVGGNetCompact, {"num_feat": 8, "num_conv": 12, "upscale": 4}),
        (SRVGGNetCompact, {"num_feat": 4, "num_conv": 0, "upscale": 5, "num_in_ch": 1, "num_out_ch": 1}),
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


def test_one_bilinear_stage_may_be_of_any_factor_so_it_must_be_described(tmp_path):
    net = MSRResNet(num_feat=4, num_block=1, upscale=3, upsampling="bilinear")
    save_state(tmp_path / "net.pth", net.state_dict())
    with pytest.raises(CheckpointError, match=r"put the option file's network beside it as net\.json"):
        find_model(tmp_path / "net.pth")
    describe(tmp_path / "net.json", "MSRResNet", num_feat=4, num_block=1, upscale=3, upsampling="bilinear")
    assert find_model(tmp_path / "net.pth").scale == 3


@pytest.mark.parametrize(
    "change",
    [
        lambda state: state | {"extra.weight": torch.zeros(4)},
        lambda state: {name: weight for name, weight in state.items() if name != "body.1.weight"},
        lambda state: state | {"body.4.weight": torch.zeros(13, 4, 3, 3)},
        lambda state: state | {"body.0.weight": torch.zeros(4, 0, 3, 3)},
        lambda state: state | {"body.2.weight": torch.zeros(4)},
    ],
)
def test_other_weights_are_not_taken_for_the_compact_network(change):
    from srcx.inference.own_generators import own_generator

    state = SRVGGNetCompact(num_feat=4, num_conv=1, upscale=2).state_dict()
    assert own_generator(state) is not None
    assert own_generator(change(dict(state))) is None


@pytest.mark.parametrize(
    "change",
    [
        lambda state: state | {"extra.weight": torch.zeros(4)},
        lambda state: {name: weight for name, weight in state.items() if name != "body.0.conv2.bias"},
        lambda state: state | {"conv_last.weight": torch.zeros(13, 4, 3, 3)},
        lambda state: state | {"conv_last.weight": torch.zeros(75, 4, 3, 3)},
        lambda state: state | {"body.0.conv1.weight": torch.zeros(4)},
    ],
)
def test_other_weights_are_not_taken_for_direct_upsampling(change):
    from srcx.inference.own_generators import own_generator

    state = MSRResNet(num_feat=4, num_block=1, upscale=2, upsampling="direct").state_dict()
    assert own_generator(state) is not None
    assert own_generator(change(dict(state))) is None


def test_slopes_without_weights_must_be_described(tmp_path):
    args = {"num_feat": 4, "num_conv": 1, "upscale": 2, "act_type": "leakyrelu"}
    save_state(tmp_path / "net.pth", SRVGGNetCompact(**args).state_dict())
    with pytest.raises(CheckpointError, match=r"put the option file's network beside it as net\.json"):
        find_model(tmp_path / "net.pth")
    describe(tmp_path / "net.json", "SRVGGNetCompact", **args)
    assert find_model(tmp_path / "net.pth").architecture == "SRVGGNetCompact"


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


@pytest.mark.parametrize(
    "text",
    ["", "[]", '{"network": 3}', '{"network": {"args": {}}}', '{"name": "RealSR"}', "[" * 100_000],
)
def test_a_json_file_that_describes_no_network_is_left_out(text, tmp_path, caplog):
    save_state(tmp_path / "net.pth", MSRResNet(num_feat=4, num_block=1).state_dict())
    (tmp_path / "net.json").write_text(text)
    assert find_model(tmp_path / "net.pth").architecture == "MSRResNet"
    assert "net.json: does not describe a network and is ignored" in caplog.text


@pytest.mark.parametrize("name", ["MSRResNett", "SpyNet", "basicsr.SpyNet", "DFDNet", "BasicVSR", "EDVR"])
def test_a_checkpoint_may_name_generators_of_single_images_alone(name, tmp_path):
    """SpyNet and others unpickle a file that an argument names."""
    save_state(tmp_path / "net.pth", MSRResNet(num_feat=4, num_block=1).state_dict())
    describe(tmp_path / "net.json", name, load_path=str(tmp_path / "code.pth"))
    with pytest.raises(
        CheckpointError, match=f"'{name}' is not a network that .* may name ECBSR, EDSR, MSRResNet"
    ):
        find_model(tmp_path / "net.pth")


def test_no_generator_that_a_checkpoint_may_name_takes_the_path_of_a_file():
    from srcx.basicsr_compat.parts import GENERATORS, AllParts

    if importlib.util.find_spec("basicsr") is None:
        pytest.skip("BasicSR is not installed")
    for name in GENERATORS:
        arguments = inspect.signature(AllParts().network(name)).parameters
        assert not [one for one in arguments if one.endswith(("path", "file"))], name


def test_arguments_that_build_nothing_are_one_sentence(tmp_path):
    save_state(tmp_path / "net.pth", MSRResNet(num_feat=4, num_block=1).state_dict())
    describe(tmp_path / "net.json", "MSRResNet", num_feat=-5)
    with pytest.raises(CheckpointError, match=r"net\.pth: a MSRResNet cannot be built with these arguments"):
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


@pytest.mark.parametrize(
    "text",
    [
        "services: {web: {image: nginx}}\n",
        "a: [\n",
        "network_g: {type: MSRResNet, num_feat: 9, num_block: 1, upscale: 2}\n",
    ],
)
def test_an_unrelated_yml_above_a_folder_of_models_is_left_out(text, tmp_path):
    save_state(tmp_path / "models" / "net.pth", MSRResNet(num_feat=4, num_block=1, upscale=2).state_dict())
    (tmp_path / "docker-compose.yml").write_text(text)
    assert find_model(tmp_path / "models" / "net.pth").scale == 2


def test_for_unknown_weights_the_error_is_the_option_file_s_misfit(tmp_path):
    save_state(tmp_path / "models" / "net.pth", {"w": torch.zeros(3)})
    (tmp_path / "other.yml").write_text("network_g: {type: MSRResNet, num_feat: 9, num_block: 1}\n")
    with pytest.raises(CheckpointError, match="these weights do not fit MSRResNet"):
        find_model(tmp_path / "models" / "net.pth")


def test_loading_leaves_torch_s_random_numbers_alone(tmp_path):
    save_state(tmp_path / "own.pth", MSRResNet(num_feat=4, num_block=1).state_dict())
    save_state(tmp_path / "other.pth", span().state_dict())
    save_state(tmp_path / "described.pth", MSRResNet(num_feat=4, num_block=1).state_dict())
    describe(tmp_path / "described.json", "MSRResNet", num_feat=4, num_block=1)
    before = torch.get_rng_state()
    for name in ("own.pth", "other.pth", "described.pth"):
        find_model(tmp_path / name)
        assert torch.equal(torch.get_rng_state(), before), name


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_named(value, tmp_path):
    net = MSRResNet(num_feat=4, num_block=1)
    net.conv_first.bias.data[2] = value
    save_state(tmp_path / "net.pth", net.state_dict())
    with pytest.raises(
        CheckpointError, match=r"1 of \d+ weights hold NaN or infinite numbers.*'conv_first.bias'"
    ):
        find_model(tmp_path / "net.pth")


def test_other_channels_than_one_or_three_are_named(tmp_path):
    save_state(tmp_path / "own.pth", MSRResNet(4, 4, num_feat=4, num_block=1).state_dict())
    save_state(tmp_path / "other.pth", span(channels=4).state_dict())
    for name in ("own.pth", "other.pth"):
        with pytest.raises(
            CheckpointError, match="takes images of 4 channels; srcx upscales by networks of 1 or 3"
        ):
            find_model(tmp_path / name)


ODD = [
    {"head.0.weight": torch.zeros(4), "tail.weight": torch.zeros(3)},
    {"head.0.weight": torch.zeros(0, 3, 9, 9), "tail.weight": torch.zeros(3, 0, 9, 9)},
    {"head.0.weight": torch.zeros(4, 3, 9, 9), "tail.weight": torch.tensor(1.0)},
    {"model.0.weight": torch.zeros(4), "model.1.sub.0.RDB1.conv1.0.weight": torch.zeros(4)},
    {},
]


@pytest.mark.parametrize("state", ODD)
def test_odd_weights_are_one_sentence(state, tmp_path):
    torch.save({"params": state}, tmp_path / "odd.pth")
    with pytest.raises(CheckpointError, match=r"odd\.pth: "):
        find_model(tmp_path / "odd.pth")


def span(channels: int = 3) -> nn.Module:
    private = importlib.import_module("spandrel.architectures.SPAN.__arch.span")
    return private.SPAN(num_in_ch=channels, num_out_ch=channels, feature_channels=8, upscale=2)


def test_the_digest_is_that_of_the_weights_that_were_read(tmp_path, monkeypatch):
    """A training run may replace the file while it is read."""
    from srcx.inference import architecture

    old, new = (MSRResNet(num_feat=4, num_block=1).state_dict() for _ in range(2))
    save_state(tmp_path / "new.pth", new)
    save_state(tmp_path / "net.pth", old)
    digest = hashlib.sha256((tmp_path / "net.pth").read_bytes()).hexdigest()
    real = architecture.network_of

    def replace_then_build(*args):
        (tmp_path / "new.pth").replace(tmp_path / "net.pth")
        return real(*args)

    monkeypatch.setattr(architecture, "network_of", replace_then_build)
    found = find_model(tmp_path / "net.pth")
    assert found.sha256 == digest
    assert found.net is not None
    assert torch.equal(found.net.state_dict()["conv_first.weight"], old["conv_first.weight"])


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
    with pytest.raises(CheckpointError, match=r"cannot be used to upscale: .*, which is not a whole factor"):
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


def test_the_folder_of_a_run_stands_for_its_latest_weights(tmp_path):
    states = {}
    for seed, label in enumerate(("900", "1000", "best_Set5", "latest")):
        torch.manual_seed(seed)
        states[label] = MSRResNet(num_feat=4, num_block=1).state_dict()
        save_state(tmp_path / f"mine/models/net_g_{label}.pth", states[label])

    def is_of(label: str, name: str) -> None:
        found = find_model(tmp_path / "mine")
        assert (found.name, found.path) == (name, tmp_path / f"mine/models/net_g_{label}.pth")
        assert found.net is not None
        assert torch.equal(found.net.state_dict()["conv_first.weight"], states[label]["conv_first.weight"])

    is_of("latest", "mine")
    (tmp_path / "mine/models/net_g_latest.pth").unlink()
    is_of("1000", "mine-net_g_1000")
    for label in ("900", "1000"):
        (tmp_path / f"mine/models/net_g_{label}.pth").unlink()
    with pytest.raises(
        CheckpointError, match=r"mine: expected the folder of a training run, .*: name a checkpoint"
    ):
        find_model(tmp_path / "mine")


@pytest.mark.parametrize(
    ("mean", "std"), [([0.45, 0.4, 0.5], [0.2, 0.3, 0.25]), ([0.5], None), (None, [0.5])]
)
def test_a_network_of_normalised_images_takes_and_makes_plain_ones(mean, std, tmp_path):
    """By `mean` and `std` of the training set; before, it was given pixels that were not normalised."""
    net = MSRResNet(num_feat=4, num_block=1, upscale=2).eval()
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.2)
    (run := tmp_path / "run" / "models").mkdir(parents=True)
    save_state(run / "net_g_latest.pth", {"params": net.state_dict()})
    options = {
        "network_g": {"type": "MSRResNet", "num_feat": 4, "num_block": 1, "upscale": 2},
        "datasets": {"train": {"mean": mean, "std": std}},
    }
    (run.parent / "run.yml").write_text(json.dumps(options))
    lq, gt_levels = torch.rand(1, 3, 6, 5), Levels(mean=mean, std=std)
    pixels = (lq * 255).round().byte()
    normalised = gt_levels(pixels.permute(0, 2, 3, 1).numpy())
    with torch.no_grad():
        expected = gt_levels.image(net(normalised))
        plain = to_image(net(pixels / 255))
    model = find_model(run.parent)
    assert model.net is not None
    found = to_image(model.net(pixels / 255))
    assert abs(found.astype(int) - expected).max() <= 1
    assert abs(plain.astype(int) - expected).max() > 1  # the network does not commute with them
    export(model, format="safetensors", out=tmp_path / "out.safetensors")
    again = find_model(tmp_path / "out.safetensors").net
    assert again is not None
    torch.testing.assert_close(again(pixels / 255), model.net(pixels / 255))


@pytest.mark.parametrize("mean", [[0.5, 0.5], "half", [[1], [2]], {"r": 1}])
def test_a_mean_that_does_not_fit_the_channels_is_refused(mean, tmp_path):
    (run := tmp_path / "run" / "models").mkdir(parents=True)
    save_state(run / "net_g_latest.pth", MSRResNet(num_feat=4, num_block=1).state_dict())
    options = {"network_g": {"type": "MSRResNet", "num_feat": 4, "num_block": 1}}
    (run.parent / "run.yml").write_text(json.dumps(options | {"datasets": {"train": {"mean": mean}}}))
    with pytest.raises(
        CheckpointError, match=r"net_g_latest\.pth: the mean and std .* expected lists of 1 number"
    ):
        find_model(run.parent)


@pytest.mark.parametrize("text", ["3", "[1]", "nothing"])
def test_metadata_that_is_no_mean_and_std_is_refused(text, tmp_path):
    path = tmp_path / "net.safetensors"
    save_state(path, MSRResNet(num_feat=4, num_block=1).state_dict(), metadata={"normalisation": text})
    with pytest.raises(
        CheckpointError, match=r"net\.safetensors: expected \[mean, std\] as its normalisation"
    ):
        find_model(path)

import json

import pytest
from torch import nn
from torch.testing import assert_close

from srcx.archs import MSRResNet, SRResNet, SRVGGNetCompact
from srcx.errors import CheckpointError, UsageError
from srcx.inference.average import average
from srcx.inference.models import find_model
from srcx.weights import load_state, save_state
from srcx.weights.files import read_metadata


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Three checkpoints of one network in the current folder: a.pth, b.safetensors, c.pth."""
    monkeypatch.chdir(tmp_path)
    for name in ("a.pth", "b.safetensors", "c.pth"):
        save_state(name, MSRResNet(num_feat=4, num_block=1, upscale=2).state_dict())
    return tmp_path


def test_the_mean_has_the_weights_asked_for_and_says_how_it_was_made(folder):
    said = average(["a.pth", "b.safetensors", "c.pth"], folder / "mean.safetensors", weights=[1, 3, 4])
    assert said == [("a", 0.125), ("b", 0.375), ("c", 0.5)]
    a, b, c, mean = (load_state(name) for name in ("a.pth", "b.safetensors", "c.pth", "mean.safetensors"))
    for name, weight in mean.items():
        assert_close(weight, (a[name] + 3 * b[name] + 4 * c[name]) / 8)
    words = read_metadata("mean.safetensors")
    assert json.loads(words["network"])["args"]["num_block"] == 1
    recipe = json.loads(words["average"])
    assert [(one["name"], one["share"]) for one in recipe] == said
    assert recipe[0]["sha256"] == find_model("a.pth").sha256
    assert find_model("mean.safetensors").scale == 2


def test_without_weights_all_count_alike(folder):
    average(["a.pth", "c.pth"], folder / "mean.safetensors")
    a, c, mean = (load_state(name)["conv_last.weight"] for name in ("a.pth", "c.pth", "mean.safetensors"))
    assert_close(mean, (a + c) / 2)


def test_a_negative_weight_leads_away_from_its_checkpoint(folder):
    said = average(["a.pth", "c.pth"], folder / "beyond.safetensors", weights=[1.5, -0.5])
    assert said == [("a", 1.5), ("c", -0.5)]
    a, c, beyond = (load_state(name)["conv_last.weight"] for name in ("a.pth", "c.pth", "beyond.safetensors"))
    assert_close(beyond, a + (a - c) / 2)


def test_words_that_all_checkpoints_agree_on_stay(folder):
    for name, licence in {"x": "Apache-2.0", "y": "Apache-2.0", "z": "other"}.items():
        net = MSRResNet(num_feat=4, num_block=1)
        save_state(f"{name}.safetensors", net.state_dict(), metadata={"licence": licence, "author": "me"})
    average(["x.safetensors", "y.safetensors"], folder / "mean.safetensors")
    assert read_metadata("mean.safetensors")["licence"] == "Apache-2.0"
    average(["x.safetensors", "z.safetensors"], folder / "mean.safetensors")
    words = read_metadata("mean.safetensors")
    assert "licence" not in words
    assert words["author"] == "me"


def test_counters_are_those_of_the_first(folder):
    for name, count in {"one.pth": 3, "two.pth": 5}.items():
        net = SRResNet(num_feat=4, num_block=1, upscale=2)
        for norm in net.modules():
            if isinstance(norm, nn.BatchNorm2d):
                norm.num_batches_tracked.fill_(count)
        save_state(name, net.state_dict())
    average(["one.pth", "two.pth"], folder / "mean.safetensors")
    counts = {int(value) for name, value in load_state("mean.safetensors").items() if "num_batches" in name}
    assert counts == {3}


def test_the_description_of_a_network_may_leave_out_its_defaults(folder):
    (folder / "a.json").write_text(
        json.dumps({"network": {"type": "MSRResNet", "args": {"num_feat": 4, "num_block": 1, "upscale": 2}}})
    )
    assert average(["a.pth", "c.pth"], folder / "mean.safetensors")


OTHERS = [
    (SRResNet(num_feat=4, num_block=1, upscale=2), r"got SRResNet x2 with [\d,]+ weights"),
    (MSRResNet(num_feat=4, num_block=2, upscale=2), r"got MSRResNet x2 with [\d,]+ weights"),
    (SRVGGNetCompact(num_feat=4, num_conv=1, upscale=3), r"got SRVGGNetCompact x3 with 1,2\d\d weights"),
]


@pytest.mark.parametrize(("net", "said"), OTHERS, ids=lambda one: type(one).__name__)
def test_another_network_is_named(folder, net, said):
    save_state("other.pth", net.state_dict())
    with pytest.raises(
        CheckpointError, match=rf"other\.pth: expected the network of a\.pth, MSRResNet x2 .*; {said}"
    ):
        average(["a.pth", "other.pth"], folder / "mean.safetensors")
    assert not (folder / "mean.safetensors").exists()


def test_equal_shapes_with_other_activations_are_another_network(folder):
    for name, act_type in {"relu": "relu", "leaky": "leakyrelu"}.items():
        args = {"num_feat": 4, "num_conv": 1, "upscale": 2, "act_type": act_type}
        save_state(f"{name}.pth", SRVGGNetCompact(**args).state_dict())
        network = {"network": {"type": "SRVGGNetCompact", "args": args}}
        (folder / f"{name}.json").write_text(json.dumps(network))
    with pytest.raises(CheckpointError, match=r"leaky\.pth: expected the network of relu\.pth"):
        average(["relu.pth", "leaky.pth"], folder / "mean.safetensors")


@pytest.mark.parametrize(
    ("checkpoints", "out", "weights", "said"),
    [
        (["a.pth"], "m.safetensors", None, "average: expected two checkpoints or more, got 1"),
        (
            ["a.pth", "c.pth"],
            "m.safetensors",
            [1.0],
            "weights: expected one for each of 2 checkpoints, got 1",
        ),
        (["a.pth", "c.pth"], "m.safetensors", [0.0, 0.0], "weights: expected numbers whose sum is above 0"),
        (["a.pth", "c.pth"], "m.safetensors", [1.0, -2.0], r"got \[1.0, -2.0\]"),
        (["a.pth", "c.pth"], "m.safetensors", [1e308, 1e308], r"and finite; got \[1e\+308, 1e\+308\]"),
        (["a.pth", "c.pth"], "m.safetensors", [1.0, float("inf")], r"got \[1.0, inf\]"),
        (["a.pth", "c.pth"], "m.safetensors", [1.0, float("nan")], r"got \[1.0, nan\]"),
        (["a.pth", "c.pth"], "m.pth", None, r"m\.pth: the name of this file must end with \.safetensors"),
        (["a.pth", "bicubic"], "m.safetensors", None, "bicubic: has no network: it is an interp"),
    ],
)
def test_what_cannot_be_averaged_is_named(folder, checkpoints, out, weights, said):
    with pytest.raises(UsageError, match=said):
        average(checkpoints, folder / out, weights=weights)


def test_a_checkpoint_is_not_replaced_by_the_mean(folder):
    average(["a.pth", "c.pth"], folder / "mean.safetensors")
    before = (folder / "mean.safetensors").read_bytes()
    with pytest.raises(UsageError, match="is one of the checkpoints; name another file"):
        average([folder / "mean.safetensors", "c.pth"], folder / "mean.safetensors")
    assert (folder / "mean.safetensors").read_bytes() == before

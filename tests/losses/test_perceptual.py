import importlib
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from srcx.errors import ImageError, OptionsError, WeightsError
from srcx.features.extractor import FeatureExtractor
from srcx.losses.perceptual import GramLoss, PerceptualLoss, gram_matrix
from srcx.weights.checkpoint import save_state

LAYERS = {"conv1_2": 0.1, "relu2_2": 0.5, "pool2": 0.2, "conv3_4": 1.0, "conv5_4": 2.0}


@pytest.fixture(scope="module")
def vgg19() -> FeatureExtractor:
    return FeatureExtractor.random("vgg19")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory, vgg19: FeatureExtractor) -> Path:
    path = tmp_path_factory.mktemp("weights") / "made_up.safetensors"
    save_state(path, vgg19.state_dict())
    return path


@pytest.fixture(scope="module")
def alexnet_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "alexnet.safetensors"
    save_state(path, FeatureExtractor.random("alexnet").state_dict())
    return path


@pytest.fixture
def pair() -> tuple[Tensor, Tensor]:
    return torch.rand(2, 3, 32, 32), torch.rand(2, 3, 32, 32)


@pytest.fixture
def basicsr_loss(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, vgg19: FeatureExtractor) -> Any:
    """BasicSR's PerceptualLoss, its network filled with the same random weights."""
    if sys.version_info >= (3, 13):
        pytest.skip("BasicSR 1.4.2 cannot be installed on this Python")
    from srcx.basicsr_compat.importing import open_basicsr

    losses, arch = open_basicsr("basicsr.losses.basic_loss"), open_basicsr("basicsr.archs.vgg_arch")
    modules = [nn.ReLU(inplace=True) if isinstance(m, nn.ReLU) else m for m in vgg19.features]
    network = SimpleNamespace(features=nn.Sequential(*modules))
    monkeypatch.setattr(arch.vgg, "vgg19", lambda pretrained: network)
    monkeypatch.chdir(tmp_path)  # it searches for weights in the current folder
    return losses.PerceptualLoss


@pytest.mark.parametrize("criterion", ["l1", "fro"])  # its "l2" names a class that torch does not have
@pytest.mark.parametrize("norms", [{}, {"use_input_norm": False}, {"range_norm": True}])
def test_value_and_gradient_equal_those_of_basicsr(
    basicsr_loss: Any, weights: Path, pair: tuple[Tensor, Tensor], criterion: str, norms: dict[str, bool]
) -> None:
    theirs = basicsr_loss(LAYERS, perceptual_weight=1.0, style_weight=1.0, criterion=criterion, **norms)
    sr, gt = pair[0].requires_grad_(), pair[1]
    for ours, wanted in zip((PerceptualLoss, GramLoss), theirs(sr, gt), strict=True):
        value = ours(LAYERS, criterion=criterion, weights_path=weights, **norms)(sr, gt)
        assert_close(value, wanted, rtol=1e-4, atol=1e-7)
        slopes = [torch.autograd.grad(one, sr, retain_graph=True)[0] for one in (value, wanted)]
        assert_close(*slopes, rtol=1e-3, atol=1e-4 * slopes[1].abs().max().item())


def test_matches_the_formula_by_hand(
    vgg19: FeatureExtractor, weights: Path, pair: tuple[Tensor, Tensor]
) -> None:
    sr, gt = (vgg19(x, ["conv1_2", "relu3_1"]) for x in pair)
    differences = {name: sr[name] - gt[name] for name in sr}
    layers = {"conv1_2": 0.5, "relu3_1": 2.0}
    wanted = {
        "l1": sum(layers[name] * d.abs().mean() for name, d in differences.items()),
        "l2": sum(layers[name] * d.square().mean() for name, d in differences.items()),
        "fro": sum(layers[name] * d.square().sum().sqrt() for name, d in differences.items()),
    }
    for criterion, value in wanted.items():
        assert_close(PerceptualLoss(layers, criterion=criterion, weights_path=weights)(*pair), value)


@pytest.mark.parametrize("criterion", ["l1", "l2", "fro"])
def test_equal_images_give_zero_and_a_finite_gradient(weights: Path, criterion: str) -> None:
    sr = torch.rand(1, 3, 16, 16, requires_grad=True)
    value = PerceptualLoss({"conv2_2": 1}, criterion=criterion, weights_path=weights)(sr, sr.detach().clone())
    value.backward()
    assert value.item() == 0
    assert sr.grad is not None
    assert sr.grad.isfinite().all()


def test_layers_before_and_after_the_relu_differ(weights: Path, pair: tuple[Tensor, Tensor]) -> None:
    before, after = (
        PerceptualLoss({name: 1}, weights_path=weights)(*pair) for name in ("conv3_4", "relu3_4")
    )
    assert before > after > 0


def test_average_pooling_changes_the_loss(weights: Path, pair: tuple[Tensor, Tensor]) -> None:
    highest = PerceptualLoss({"conv2_1": 1}, weights_path=weights)(*pair)
    average = PerceptualLoss({"conv2_1": 1}, pooling="average", weights_path=weights)(*pair)
    assert not torch.isclose(highest, average)


def test_losses_of_the_same_network_share_it(weights: Path) -> None:
    first = PerceptualLoss({"conv3_4": 1}, weights_path=weights)
    assert GramLoss({"conv1_1": 1}, weights_path=weights).extractor is first.extractor


def test_different_shapes_are_refused(weights: Path) -> None:
    loss = PerceptualLoss({"conv1_1": 1}, weights_path=weights)
    with pytest.raises(ImageError, match="perceptual"):
        loss(torch.rand(1, 3, 16, 16), torch.rand(1, 3, 16, 18))


def test_wrong_arguments_are_named_before_the_search_for_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object, **__: object) -> Path:
        raise WeightsError("searched for weights")

    monkeypatch.setattr(importlib.import_module("srcx.features.extractor"), "find_weights", never)
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"layer_weights": {"conv3_5": 1}}, "vgg19: has no layer 'conv3_5'"),
        ({"layer_weights": {}}, "expected names of layers"),
        ({"layer_weights": "conv3_4"}, "PerceptualLoss: expected layer_weights as"),
        ({"layer_weights": {"conv3_4": 1}, "criterion": "l3"}, "expected l1, l2, fro as criterion, got 'l3'"),
        ({"layer_weights": {"conv3_4": 1}, "vgg_type": "vgg11"}, "expected one of vgg19, vgg16, alexnet"),
    ]
    for arguments, text in wrong:
        with pytest.raises(OptionsError, match=text):
            PerceptualLoss(**arguments)
    with pytest.raises(WeightsError, match="searched for weights"):
        PerceptualLoss({"conv3_4": 1})


def test_the_gram_matrix_is_the_formula_pair_by_pair() -> None:
    features = torch.randn(2, 3, 4, 5)
    gram = gram_matrix(features)
    for n in range(2):
        for a in range(3):
            for b in range(3):
                wanted = (features[n, a] * features[n, b]).sum() / (3 * 4 * 5)
                assert_close(gram[n, a, b], wanted)
    assert_close(gram, gram_matrix(features.contiguous(memory_format=torch.channels_last)))
    assert_close(gram, gram.transpose(1, 2))


def test_gradient_of_the_gram_matrix_equals_finite_differences() -> None:
    features = torch.randn(1, 2, 2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(gram_matrix, features)


def test_the_gram_loss_matches_the_formula_by_hand(alexnet_weights: Path) -> None:
    network = FeatureExtractor.random("alexnet")
    sr, gt = torch.rand(2, 3, 35, 35), torch.rand(2, 3, 35, 35)
    loss = GramLoss({"relu1": 2.0}, vgg_type="alexnet", criterion="l2", weights_path=alexnet_weights)
    grams = [gram_matrix(network(x, ["relu1"])["relu1"]) for x in (sr, gt)]
    assert_close(loss(sr, gt), 2 * (grams[0] - grams[1]).square().mean())
    assert loss(sr, sr).item() == 0


def test_the_gram_loss_does_not_depend_on_positions_and_size(alexnet_weights: Path) -> None:
    features = torch.randn(1, 4, 6, 6)
    moved = features.flatten(2)[:, :, torch.randperm(36)].view(1, 4, 6, 6)
    assert_close(gram_matrix(features), gram_matrix(moved))
    loss = GramLoss({"relu1": 1.0}, vgg_type="alexnet", weights_path=alexnet_weights)
    assert loss(torch.rand(1, 3, 35, 35), torch.rand(1, 3, 51, 40)).isfinite()

import gc
from pathlib import Path

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.testing import assert_close

from srcx.errors import CheckpointError, ImageError, OptionsError, WeightsError
from srcx.features.extractor import FeatureExtractor, L2Pool, check_layers, extractor
from srcx.weights.checkpoint import save_state
from srcx.weights.layout import NETWORKS
from srcx.weights.published import cache_folder

REAL_CACHE = cache_folder()


@pytest.fixture(scope="module")
def vgg19() -> FeatureExtractor:
    return FeatureExtractor.random("vgg19")


@pytest.fixture(scope="module")
def made_up(tmp_path_factory: pytest.TempPathFactory, vgg19: FeatureExtractor) -> Path:
    """A folder of made-up weights of the right shapes, as $SRCX_WEIGHTS may name one."""
    folder = tmp_path_factory.mktemp("weights")
    save_state(folder / "vgg19.safetensors", vgg19.state_dict())
    save_state(folder / "alexnet.pth", FeatureExtractor.random("alexnet").state_dict())
    return folder


@pytest.fixture
def weights(made_up: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("SRCX_WEIGHTS", str(made_up))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return made_up


def calls_of(network: FeatureExtractor, image: Tensor, layers: list[str]) -> list[int]:
    """Return the indices of the layers that were computed."""
    ran: list[int] = []
    hooks = [
        module.register_forward_hook(lambda *_, place=place: ran.append(place))
        for place, module in enumerate(network.features)
    ]
    network(image, layers)
    for hook in hooks:
        hook.remove()
    return ran


@pytest.mark.parametrize("network", NETWORKS)
def test_every_layer_equals_that_of_torchvision(network: str) -> None:
    ours = FeatureExtractor.random(network)
    with torch.device("meta"):
        theirs = getattr(torchvision.models, network)(weights=None).features
    theirs.load_state_dict(
        {k.removeprefix("features."): v for k, v in ours.state_dict().items()}, assign=True
    )
    image = torch.rand(2, 3, 67, 64)
    names = [layer.name for layer in NETWORKS[network]]
    found = ours(image, names)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    x = (image - mean.view(1, 3, 1, 1)) / std.view(1, 3, 1, 1)
    assert list(found) == names
    for name, module in zip(names, theirs, strict=True):
        x = module(x.clone())
        assert_close(found[name], x, rtol=1e-4, atol=1e-4)


def test_the_output_of_a_convolution_is_not_changed_by_its_relu(vgg19: FeatureExtractor) -> None:
    image = torch.rand(1, 3, 32, 32)
    alone = vgg19(image, ["conv3_4"])["conv3_4"]
    both = vgg19(image, ["conv3_4", "relu3_4"])
    assert alone.min() < 0, "before the ReLU, as BasicSR's conv3_4 is"
    assert_close(both["conv3_4"], alone)
    assert_close(both["relu3_4"], alone.clamp(min=0))


@pytest.mark.parametrize(
    ("layers", "deepest"), [(["conv1_1"], 0), (["pool1", "conv3_4"], 16), (["relu5_4"], 35)]
)
def test_nothing_runs_beyond_the_deepest_layer(
    vgg19: FeatureExtractor, layers: list[str], deepest: int
) -> None:
    assert calls_of(vgg19, torch.rand(1, 3, 16, 16), layers) == list(range(deepest + 1))


def test_average_pooling_is_an_average() -> None:
    image = torch.rand(1, 3, 32, 32)
    found = FeatureExtractor.random("vgg16", pooling="average")(image, ["relu1_2", "pool1"])
    assert_close(found["pool1"], nn.functional.avg_pool2d(found["relu1_2"], 2))
    found = FeatureExtractor.random("vgg16")(image, ["relu1_2", "pool1"])
    assert_close(found["pool1"], nn.functional.max_pool2d(found["relu1_2"], 2))


def test_l2_pooling_is_a_root_mean_square_under_a_hann_window() -> None:
    x = torch.rand(1, 3, 7, 8)
    found = L2Pool(2, 2)(x)
    assert found.shape == (1, 3, 4, 4)
    window = torch.tensor([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]]) / 16
    assert_close(found[0, 1, 1, 2], (window * x[0, 1, 1:4, 3:6] ** 2).sum().sqrt())
    assert_close(found[0, 2, 0, 0], (window[1:, 1:] * x[0, 2, :2, :2] ** 2).sum().sqrt())  # zeros outside
    black = torch.zeros(1, 3, 4, 4, requires_grad=True)
    L2Pool(2, 2)(black).sum().backward()
    assert black.grad is not None
    assert black.grad.isfinite().all()


def test_walk_gives_one_layer_at_a_time(vgg19: FeatureExtractor) -> None:
    image = torch.rand(1, 3, 16, 16)
    ran: list[str] = []
    with vgg19.features[2].register_forward_hook(lambda *_: ran.append("conv1_2")):
        walk = vgg19.walk(image, ["relu1_1", "relu1_2"])
        first = next(walk)
        assert (first[0], ran) == ("relu1_1", [])
        both = dict([first, *walk])
    assert ran == ["conv1_2"]
    assert_close(both, vgg19(image, ["relu1_1", "relu1_2"]))


@pytest.mark.parametrize("use_input_norm", [True, False])
@pytest.mark.parametrize("range_norm", [True, False])
def test_norms_by_hand(use_input_norm: bool, range_norm: bool) -> None:
    network = FeatureExtractor.random("alexnet", use_input_norm=use_input_norm, range_norm=range_norm)
    colour = torch.tensor([0.2, -0.4, 0.9]).view(1, 3, 1, 1).expand(1, 3, 35, 35)
    normalised = [0.6, 0.3, 0.95] if range_norm else [0.2, -0.4, 0.9]
    if use_input_norm:
        normalised = [
            (s - m) / d
            for s, m, d in zip(normalised, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), strict=True)
        ]
    kernel = network.features[0].weight.sum(dim=(2, 3))  # in a constant image each tap has the same colour
    found = network(colour, ["conv1"])["conv1"][0, :, 3, 3]
    assert_close(found, kernel @ torch.tensor(normalised), rtol=1e-4, atol=1e-4)


def test_the_image_gets_a_gradient_and_the_weights_get_none(vgg19: FeatureExtractor) -> None:
    image = torch.rand(1, 3, 16, 16, requires_grad=True)
    vgg19(image, ["conv2_2"])["conv2_2"].square().mean().backward()
    assert image.grad is not None
    assert image.grad.abs().sum() > 0
    assert not any(weight.requires_grad for weight in vgg19.parameters())


def test_gradient_equals_finite_differences() -> None:
    network = FeatureExtractor.random("alexnet").double()
    image = torch.rand(1, 3, 35, 35, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda x: network(x, ["conv2"])["conv2"].square().mean(), image, fast_mode=True
    )


def test_it_stays_in_evaluation_mode_and_channels_last(vgg19: FeatureExtractor) -> None:
    nn.Sequential(vgg19).train()
    assert not any(module.training for module in vgg19.modules())
    found = vgg19(torch.rand(2, 3, 16, 16), ["conv2_1"])["conv2_1"]
    assert found.is_contiguous(memory_format=torch.channels_last)


def test_it_runs_on_a_device(device: torch.device) -> None:
    network = FeatureExtractor.random("alexnet").to(device)
    assert network(torch.rand(1, 3, 35, 35, device=device), ["relu1"])["relu1"].device.type == device.type


def test_random_weights_are_always_the_same_and_keep_the_scale(vgg19: FeatureExtractor) -> None:
    again = FeatureExtractor.random("vgg19")
    assert_close(again.state_dict(), vgg19.state_dict(), rtol=0, atol=0)
    deep = vgg19(torch.rand(1, 3, 32, 32), ["conv5_4"])["conv5_4"]
    assert 0.01 < deep.std() < 100


def test_the_same_arguments_give_the_same_object(weights: Path) -> None:
    first = extractor("vgg19")
    assert extractor("vgg19") is first
    assert extractor("vgg19", pooling="average") is not first
    assert extractor("vgg19", range_norm=True) is not first
    assert extractor("vgg19", weights_path=weights / "vgg19.safetensors") is first


def test_an_unused_extractor_is_freed(weights: Path) -> None:
    from srcx.features.extractor import _made

    extractor("alexnet", weights_path=weights / "alexnet.pth")
    gc.collect()
    assert not [key for key in _made if key[0] == "alexnet"]


def test_weights_are_loaded_from_the_folder(weights: Path, vgg19: FeatureExtractor) -> None:
    image = torch.rand(1, 3, 16, 16)
    assert_close(extractor("vgg19")(image, ["conv3_4"]), vgg19(image, ["conv3_4"]), rtol=0, atol=0)
    assert extractor("vgg19").features[0].weight.dtype == torch.float32


def test_weights_of_another_network_are_refused(weights: Path) -> None:
    with pytest.raises(
        CheckpointError, match=r"weights of vgg16: .*'features\.14\.weight'|expected 'features"
    ):
        extractor("vgg16", weights_path=weights / "vgg19.safetensors")
    with pytest.raises(CheckpointError, match=r"expected 'features.0.weight' of shape \(64, 3, 3, 3\)"):
        extractor("vgg19", weights_path=weights / "alexnet.pth")
    with pytest.raises(WeightsError, match="is no file"):
        extractor("vgg19", weights_path=weights / "nowhere.pth")


@pytest.mark.parametrize("network", ["vgg20", "resnet18", "VGG19"])
def test_an_unknown_network_is_named(network: str) -> None:
    with pytest.raises(
        OptionsError, match=f"expected one of vgg19, vgg16, alexnet as network, got '{network}'"
    ):
        extractor(network)


def test_an_unknown_pooling_is_named() -> None:
    with pytest.raises(OptionsError, match="expected one of max, average, l2 as pooling, got 'mean'"):
        FeatureExtractor.random("alexnet", pooling="mean")


def test_an_unknown_layer_is_named_with_the_known_ones(vgg19: FeatureExtractor) -> None:
    with pytest.raises(
        OptionsError, match=r"vgg16: has no layer 'conv3_4'; it has conv1_1, relu1_1,"
    ) as error:
        check_layers("vgg16", ["conv3_3", "conv3_4"])
    assert "\n" not in str(error.value)
    for layers in ([], "conv3_4"):
        with pytest.raises(OptionsError, match="expected names of layers"):
            vgg19(torch.rand(1, 3, 16, 16), layers)


@pytest.mark.parametrize("shape", [(1, 1, 16, 16), (3, 16, 16), (1, 4, 16, 16)])
def test_only_rgb_images_are_accepted(vgg19: FeatureExtractor, shape: tuple[int, ...]) -> None:
    with pytest.raises(ImageError, match=r"expected RGB images of shape \(N, 3, H, W\), got \("):
        vgg19(torch.rand(shape), ["conv1_1"])


def test_an_image_too_small_for_a_layer_is_named(vgg19: FeatureExtractor) -> None:
    with pytest.raises(ImageError, match=r"pool3 needs 2 x 2 positions, got 1 x 2"):
        vgg19(torch.rand(1, 3, 7, 8), ["conv4_1"])
    assert vgg19(torch.rand(1, 3, 7, 8), ["conv3_4"])["conv3_4"].shape == (1, 256, 1, 2)
    with pytest.raises(ImageError, match=r"conv1 needs 11 x 11 positions, got 6 x 90"):
        FeatureExtractor.random("alexnet")(torch.rand(1, 3, 6, 90), ["conv1"])


def test_real_vgg16_features_have_the_expected_statistics(shared: Path) -> None:
    """In the trained network most of a deep ReLU is zero, and some channels are large."""
    if not (REAL_CACHE / "vgg16.safetensors").is_file():
        pytest.skip("needs real VGG16 weights in the cache: srcx weights fetch vgg16")
    import cv2

    network = extractor("vgg16", weights_path=REAL_CACHE / "vgg16.safetensors")
    image = cv2.imread(str(shared / "data" / "lpips_examples" / "ex_ref.png"))[..., ::-1].copy()
    x = torch.from_numpy(image).permute(2, 0, 1)[None] / 255
    found = network(x, ["relu1_1", "relu5_3"])
    zeros = {name: (value == 0).float().mean().item() for name, value in found.items()}
    assert zeros["relu5_3"] > 0.7 > zeros["relu1_1"]
    assert found["relu5_3"].max() > 10

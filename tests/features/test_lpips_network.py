from pathlib import Path

import cv2
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from srcx.errors import OptionsError
from srcx.features.extractor import FeatureExtractor
from srcx.features.lpips_network import BACKBONES, SMALLEST_PX, lpips_network
from srcx.weights.checkpoint import save_state
from srcx.weights.published import cache_folder

REAL_CACHE = cache_folder()


@pytest.fixture(scope="module")
def made_up(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made-up backbones, for the tests that are not about numbers."""
    folder = tmp_path_factory.mktemp("weights")
    for name in ("alexnet", "vgg16"):
        save_state(folder / f"{name}.safetensors", FeatureExtractor.random(name).state_dict())
    return folder


@pytest.fixture(autouse=True)
def _made_up_weights(made_up: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SRCX_WEIGHTS", str(made_up))


def example(shared: Path, name: str) -> Tensor:
    image = cv2.imread(str(shared / "data" / "lpips_examples" / f"ex_{name}.png"))[..., ::-1].copy()
    return torch.from_numpy(image).permute(2, 0, 1)[None] / 127.5 - 1


def real_weights(name: str, shared: Path) -> Path:
    places = [REAL_CACHE / f"{name}.safetensors", shared / "weights" / f"{name}_features.safetensors"]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        pytest.skip(f"needs real weights of {name} in the cache: srcx weights fetch {name}")
    return found


@pytest.mark.parametrize(
    ("net", "distances"),
    [
        ("alex", (0.7219, 0.1376)),  # issue 4; the package's README prints 0.722 and 0.138
        ("vgg", (0.569, 0.422)),  # the official model's, as quoted by a TensorFlow port
    ],
)
def test_the_example_pairs_have_their_published_distances(
    net: str, distances: tuple[float, float], shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = real_weights(BACKBONES[net], shared)
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / f"{BACKBONES[net]}.safetensors").symlink_to(real)
    monkeypatch.setenv("SRCX_WEIGHTS", str(tmp_path / "real"))
    network = lpips_network(net)
    got = [network(example(shared, "ref"), example(shared, name)).item() for name in ("p0", "p1")]
    assert_close(
        torch.tensor(got), torch.tensor(distances), rtol=0, atol=10 ** -len(str(distances[0])[2:]) / 2
    )


@pytest.mark.parametrize("net", BACKBONES)
def test_it_equals_the_formula_written_out(net: str) -> None:
    network, backbone = lpips_network(net), FeatureExtractor.random(BACKBONES[net], use_input_norm=False)
    shift = torch.tensor([-0.030, -0.088, -0.188]).view(1, 3, 1, 1)
    scale = torch.tensor([0.458, 0.448, 0.450]).view(1, 3, 1, 1)
    vgg_layers = ["relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_3"]
    layers = vgg_layers if net == "vgg" else [f"relu{i}" for i in range(1, 6)]
    a, b = torch.rand(2, 2, 3, 40, 48) * 2 - 1
    of_a, of_b = (backbone((x - shift) / scale, layers) for x in (a, b))
    wanted = torch.zeros(2)
    for number, layer in enumerate(layers):
        weight = network.state_dict()[f"lin{number}.model.1.weight"].view(1, -1, 1, 1)
        unit_a, unit_b = (
            x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10) for x in (of_a[layer], of_b[layer])
        )
        wanted += (weight * (unit_a - unit_b) ** 2).sum(1).mean((1, 2))
    assert_close(network(a, b).view(2), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("net", BACKBONES)
def test_equal_images_have_distance_zero_and_it_is_symmetric(net: str) -> None:
    network = lpips_network(net)
    a, b = torch.rand(2, 1, 3, 35, 35) * 2 - 1
    assert network(a, a).item() == 0
    assert network(a, b).shape == (1, 1, 1, 1)
    assert_close(network(a, b), network(b, a))


@pytest.mark.parametrize("net", BACKBONES)
def test_one_pixel_less_than_the_smallest_image_fails(net: str) -> None:
    smallest = SMALLEST_PX[net]
    assert lpips_network(net)(torch.rand(1, 3, smallest, smallest), torch.rand(1, 3, smallest, smallest)) > 0
    with pytest.raises(RuntimeError):
        lpips_network(net)(torch.rand(1, 3, smallest - 1, 90), torch.rand(1, 3, smallest - 1, 90))


def test_it_is_frozen_shared_and_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    network = lpips_network("alex")
    assert lpips_network("alex") is network
    assert not any(weight.requires_grad for weight in network.parameters())
    assert not any(module.training for module in network.modules())
    assert all(value.device.type == "cpu" for value in network.state_dict().values())
    assert capsys.readouterr().out == ""


def test_an_unknown_net_is_named() -> None:
    with pytest.raises(OptionsError, match="expected one of alex, vgg as net, got 'squeeze'"):
        lpips_network("squeeze")

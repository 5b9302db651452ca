import numpy as np
import pytest
import torch
from scipy.stats import wasserstein_distance
from torch import Tensor
from torch.testing import assert_close

from srcx.errors import ImageError, OptionsError
from srcx.features.extractor import FeatureExtractor
from srcx.losses.distributions import (
    FDLLoss,
    SlicedWassersteinLoss,
    random_directions,
    sliced_wasserstein,
)
from srcx.weights.checkpoint import save_state


@pytest.fixture(scope="module")
def alexnet() -> FeatureExtractor:
    return FeatureExtractor.random("alexnet")


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory, alexnet: FeatureExtractor) -> dict[str, object]:
    path = tmp_path_factory.mktemp("weights") / "alexnet.safetensors"
    save_state(path, alexnet.state_dict())
    return {"vgg_type": "alexnet", "weights_path": path}


@pytest.fixture
def pair() -> tuple[Tensor, Tensor]:
    return torch.rand(2, 3, 71, 67), torch.rand(2, 3, 71, 67)


def pieces(features: np.ndarray, side: int, step: int) -> list[np.ndarray]:
    """All squares of a map (C, H, W), cut out one by one."""
    height, width = features.shape[1:]
    return [
        features[:, top : top + side, left : left + side]
        for top in range(0, height - side + 1, step)
        for left in range(0, width - side + 1, step)
    ]


def slow(x: np.ndarray, y: np.ndarray, directions: np.ndarray) -> float:
    """The mean of scipy's one-dimensional distances, over samples and directions, of maps or windows."""
    return float(
        np.mean(
            [
                wasserstein_distance((d @ one.reshape(len(d), -1)), (d @ other.reshape(len(d), -1)))
                for one, other in zip(x, y, strict=True)
                for d in directions
            ]
        )
    )


def test_the_whole_map_gives_the_mean_of_scipys_distances():
    x, y = torch.rand(2, 2, 4, 5, 6, dtype=torch.float64)
    directions = random_directions(7, 4).double()
    expected = slow(x.numpy(), y.numpy(), directions[:, :, 0, 0].numpy())
    assert sliced_wasserstein(x, y, directions).item() == pytest.approx(expected, rel=1e-9)


def test_windows_give_the_mean_of_the_distances_of_each_pair_of_windows():
    x, y = torch.rand(2, 2, 4, 7, 6, dtype=torch.float64)
    directions = random_directions(5, 4).double()
    windows = [[w for sample in z.numpy() for w in pieces(sample, 3, 2)] for z in (x, y)]
    expected = slow(*windows, directions[:, :, 0, 0].numpy())
    found = sliced_wasserstein(x, y, directions, window=3, stride=2).item()
    assert found == pytest.approx(expected, rel=1e-9)


def test_patches_are_projected_as_vectors():
    x, y = torch.rand(2, 1, 3, 6, 7, dtype=torch.float64)
    directions = random_directions(4, 3, patch=2).double()
    vectors = [np.stack([p.ravel() for p in pieces(z[0].numpy(), 2, 2)], 1) for z in (x, y)]
    expected = slow(vectors[0][None], vectors[1][None], directions.flatten(1).numpy())
    assert sliced_wasserstein(x, y, directions, step=2).item() == pytest.approx(expected, rel=1e-9)


def test_features_in_another_order_are_equal_for_the_whole_map_and_not_for_windows():
    x = torch.rand(1, 3, 8, 8)
    directions = random_directions(6, 3)
    assert_close(sliced_wasserstein(x, x.flip(2), directions), torch.tensor(0.0))
    assert sliced_wasserstein(x, x.flip(2), directions, window=2, stride=2) > 0.05


def test_directions_are_unit_vectors_and_come_from_the_generator():
    directions = random_directions(50, 8, patch=3)
    assert_close(directions.flatten(1).norm(dim=1), torch.ones(50))
    again = [random_directions(3, 2, generator=torch.Generator().manual_seed(1)) for _ in range(2)]
    assert torch.equal(*again)


def test_gradient_equals_finite_differences():
    x, y = torch.rand(1, 2, 3, 4, dtype=torch.float64).requires_grad_(), torch.rand(1, 2, 3, 4).double()
    directions = random_directions(3, 2).double()
    assert torch.autograd.gradcheck(lambda x: sliced_wasserstein(x, y, directions), x)
    assert torch.autograd.gradcheck(lambda x: sliced_wasserstein(x, y, directions, window=2), x)


@pytest.mark.parametrize("form", ["local", "global"])
def test_the_loss_is_the_weighted_sum_over_layers_with_new_directions_at_each_call(
    network, alexnet, pair, form
):
    loss = SlicedWassersteinLoss({"relu1": 1.0, "conv3": 3.0}, form=form, windows_per_side=4, **network)
    torch.manual_seed(7)
    found, other = loss(*pair), loss(*pair)
    torch.manual_seed(7)
    layers = [alexnet(image, ["relu1", "conv3"]) for image in pair]
    expected = torch.tensor(0.0)
    for name, weight, channels, window in (("relu1", 1.0, 64, 4), ("conv3", 3.0, 384, 1)):
        directions = random_directions(channels // 2, channels)
        words = {"window": window, "stride": 2} if form == "local" else {}
        expected += weight * sliced_wasserstein(*(one[name] for one in layers), directions, **words)
    assert_close(found, expected)
    assert found != other


def test_fdl_is_the_distance_of_amplitudes_plus_that_of_phases(network, alexnet, pair):
    loss = FDLLoss({"conv1": 2.0}, phase_weight=0.5, directions=9, patch_size=3, stride=2, seed=4, **network)
    directions = random_directions(9, 64, patch=3, generator=torch.Generator().manual_seed(4))
    x, y = (np.fft.fft2(alexnet(image, ["conv1"])["conv1"].numpy()) for image in pair)
    expected = 2 * sum(
        weight * sliced_wasserstein(*(torch.from_numpy(part(z)).float() for z in (x, y)), directions, step=2)
        for weight, part in ((1, np.abs), (0.5, np.angle))
    )
    assert_close(loss(*pair), expected, rtol=1e-4, atol=1e-5)


def test_fdl_of_equal_images_is_zero_and_the_same_at_each_call(network, pair):
    loss = FDLLoss({"conv2": 1.0}, **network)
    assert loss(pair[0], pair[0]) == 0
    assert loss(*pair) == loss(*pair)
    assert loss(*pair) == FDLLoss({"conv2": 1.0}, **network)(*pair)
    assert loss(*pair) != FDLLoss({"conv2": 1.0}, seed=1, **network)(*pair)


def test_a_cyclic_shift_changes_the_phase_and_not_the_amplitude(network):
    loss = FDLLoss({"conv1": 1.0}, phase_weight=0.0, **network)
    features = torch.rand(1, 64, 12, 12)
    shifted = features.roll((2, 3), (2, 3))
    assert loss.compare({"conv1": features}, {"conv1": shifted}) == pytest.approx(0, abs=1e-4)
    loss.phase_weight = 1.0
    assert loss.compare({"conv1": features}, {"conv1": shifted}) > 0.01


def test_gradients_are_finite_for_black_and_equal_images(network):
    for loss in (FDLLoss({"relu2": 1.0}, **network), SlicedWassersteinLoss({"relu2": 1.0}, **network)):
        sr = torch.zeros(1, 3, 67, 67, requires_grad=True)
        loss(sr, torch.zeros(1, 3, 67, 67)).backward()
        assert torch.isfinite(sr.grad).all()


@pytest.mark.parametrize(
    ("kind", "args", "said"),
    [
        (SlicedWassersteinLoss, {"form": "middle"}, "form must be 'local' or 'global'; got 'middle'"),
        (SlicedWassersteinLoss, {"windows_per_side": 0}, "expected windows_per_side above 0, got 0"),
        (FDLLoss, {"patch_size": 0}, "expected patch_size above 0, got 0"),
        (FDLLoss, {"phase_weight": -1.0}, "expected phase_weight of at least 0, got -1.0"),
        (FDLLoss, {"layer_weights": {"conv9": 1.0}}, "alexnet: has no layer 'conv9'"),
    ],
)
def test_wrong_arguments_are_refused(network, kind, args, said):
    with pytest.raises(OptionsError, match=said):
        kind(**{"layer_weights": {"conv1": 1.0}, **network, **args})


def test_maps_smaller_than_a_patch_or_a_window_are_refused(network):
    small = torch.rand(1, 3, 35, 35)
    with pytest.raises(ImageError, match=r"needs features of 5 x 5 positions; got \(1, 192, 3, 3\)"):
        FDLLoss({"conv2": 1.0}, **network)(small, small)
    wide = torch.rand(1, 2, 9, 2)
    with pytest.raises(ImageError, match="needs features of 3 x 3 positions"):
        sliced_wasserstein(wide, wide, random_directions(1, 2), window=3)
    with pytest.raises(ImageError, match="share one shape"):
        sliced_wasserstein(wide, wide[..., :1], random_directions(1, 2))

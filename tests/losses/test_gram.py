from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from srcx.features.extractor import FeatureExtractor
from srcx.losses.perceptual import GramLoss, gram_matrix
from srcx.weights.checkpoint import save_state


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "made_up.safetensors"
    save_state(path, FeatureExtractor.random("alexnet").state_dict())
    return path


def test_the_matrix_is_the_formula_pair_by_pair() -> None:
    features = torch.randn(2, 3, 4, 5)
    gram = gram_matrix(features)
    for n in range(2):
        for a in range(3):
            for b in range(3):
                wanted = (features[n, a] * features[n, b]).sum() / (3 * 4 * 5)
                assert_close(gram[n, a, b], wanted)
    assert_close(gram, gram_matrix(features.contiguous(memory_format=torch.channels_last)))
    assert_close(gram, gram.transpose(1, 2))


def test_gradient_of_the_matrix() -> None:
    features = torch.randn(1, 2, 2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(gram_matrix, features)


def test_matches_the_formula_by_hand(weights: Path) -> None:
    network = FeatureExtractor.random("alexnet")
    sr, gt = torch.rand(2, 3, 35, 35), torch.rand(2, 3, 35, 35)
    loss = GramLoss({"relu1": 2.0}, vgg_type="alexnet", criterion="l2", weights_path=weights)
    grams = [gram_matrix(network(x, ["relu1"])["relu1"]) for x in (sr, gt)]
    assert_close(loss(sr, gt), 2 * (grams[0] - grams[1]).square().mean())
    assert loss(sr, sr).item() == 0


def test_style_does_not_care_where_things_are_nor_how_large_the_image_is(weights: Path) -> None:
    features = torch.randn(1, 4, 6, 6)
    moved = features.flatten(2)[:, :, torch.randperm(36)].view(1, 4, 6, 6)
    assert_close(gram_matrix(features), gram_matrix(moved))
    loss = GramLoss({"relu1": 1.0}, vgg_type="alexnet", weights_path=weights)
    assert loss(torch.rand(1, 3, 35, 35), torch.rand(1, 3, 51, 40)).isfinite()

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from srcx.errors import OptionsError
from srcx.features.extractor import FeatureExtractor
from srcx.losses.feature_loss import FeatureLoss


class Difference(FeatureLoss):
    """The mean square in the first of its layers."""

    def compare(self, sr_features: dict[str, Tensor], gt_features: dict[str, Tensor]) -> Tensor:
        assert not gt_features[self.layers[0]].requires_grad
        return (sr_features[self.layers[0]] - gt_features[self.layers[0]]).square().mean()


@pytest.fixture(scope="module")
def alexnet() -> FeatureExtractor:
    return FeatureExtractor.random("alexnet")


def test_the_target_gets_no_gradient(alexnet: FeatureExtractor) -> None:
    sr, gt = torch.rand(2, 3, 35, 35, requires_grad=True), torch.rand(2, 3, 35, 35, requires_grad=True)
    loss = Difference(alexnet, ["conv2"])
    value = loss(sr, gt)
    value.backward()
    assert_close(value, (alexnet(sr, ["conv2"])["conv2"] - alexnet(gt, ["conv2"])["conv2"]).square().mean())
    assert sr.grad is not None
    assert gt.grad is None


def test_an_unknown_layer_is_named_at_construction(alexnet: FeatureExtractor) -> None:
    with pytest.raises(OptionsError, match="alexnet: has no layer 'conv3_4'"):
        Difference(alexnet, ["conv3_4"])

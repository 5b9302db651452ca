import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from srcx.errors import OptionsError
from srcx.features.extractor import FeatureExtractor
from srcx.losses.feature_loss import FeatureLoss
from srcx.losses.weighted_sum import WeightedSum


class Difference(FeatureLoss):
    """The mean square in the first of its layers."""

    def compare(self, sr_features: dict[str, Tensor], gt_features: dict[str, Tensor]) -> Tensor:
        assert not gt_features[self.layers[0]].requires_grad
        return (sr_features[self.layers[0]] - gt_features[self.layers[0]]).square().mean()


@pytest.fixture(scope="module")
def alexnet() -> FeatureExtractor:
    return FeatureExtractor.random("alexnet")


def test_both_images_are_looked_at_and_the_target_without_gradient(alexnet: FeatureExtractor) -> None:
    sr, gt = torch.rand(2, 3, 35, 35, requires_grad=True), torch.rand(2, 3, 35, 35, requires_grad=True)
    loss = Difference(alexnet, ["conv2"])
    value = loss(sr, gt)
    value.backward()
    assert_close(value, (alexnet(sr, ["conv2"])["conv2"] - alexnet(gt, ["conv2"])["conv2"]).square().mean())
    assert sr.grad is not None
    assert gt.grad is None


def test_terms_of_one_network_share_one_pass_of_each_image(alexnet: FeatureExtractor) -> None:
    passes: list[int] = []
    hook = alexnet.features[0].register_forward_hook(lambda *_: passes.append(1))
    shallow, deep = Difference(alexnet, ["relu1"]), Difference(alexnet, ["conv3"])
    sr, gt = torch.rand(1, 3, 35, 35, requires_grad=True), torch.rand(1, 3, 35, 35)
    total, terms = WeightedSum({"a": (shallow, 2.0), "b": (deep, 1.0)})(sr, gt)
    hook.remove()
    assert len(passes) == 2
    assert_close(total, 2 * shallow(sr, gt) + deep(sr, gt))
    assert_close(terms["b"], deep(sr, gt))


def test_a_layer_that_is_not_there_is_named_at_once(alexnet: FeatureExtractor) -> None:
    with pytest.raises(OptionsError, match="alexnet: has no layer 'conv3_4'"):
        Difference(alexnet, ["conv3_4"])

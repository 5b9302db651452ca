import inspect

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from srcx.features.extractor import FeatureExtractor
from srcx.losses.feature_loss import FeatureLoss
from srcx.losses.locally_discriminative import LDLLoss
from srcx.losses.pixel import L1Loss, MSELoss
from srcx.losses.weighted_sum import WeightedSum
from srcx.registry import LOSSES


class LayerLoss(FeatureLoss):
    """Mean absolute difference of one layer."""

    def compare(self, sr_features, gt_features):
        return (sr_features[self.layers[0]] - gt_features[self.layers[0]]).abs().mean()


class Watched(FeatureExtractor):
    """Records the layers of each pass, and whether it had a gradient."""

    def forward(self, x, layers):
        self.passes.append((tuple(layers), torch.is_grad_enabled()))
        return super().forward(x, layers)


def watched():
    extractor = FeatureExtractor.random("vgg16")
    extractor.__class__ = Watched
    extractor.passes = []
    return extractor


def images():
    return torch.rand(1, 3, 16, 16, requires_grad=True), torch.rand(1, 3, 16, 16)


def test_terms_are_weighted_and_added_up():
    sr, gt = images()
    total, terms = WeightedSum({"pixel": (L1Loss(), 2.0), "square": (MSELoss(), 0.5)})(sr, gt)
    assert_close(terms["pixel"], 2 * (sr - gt).abs().mean())
    assert_close(total, terms["pixel"] + terms["square"])


@pytest.mark.parametrize(
    "name", [name for name, kind in LOSSES.items() if "reduction" in inspect.signature(kind).parameters]
)
def test_a_sum_over_parts_of_a_batch_is_that_over_the_batch(name):
    takes_features = "features" in inspect.signature(LOSSES[name]).parameters
    features = {"features": nn.AvgPool2d(2), "centering": "sample"} if takes_features else {}
    term = WeightedSum({"one": (LOSSES[name](reduction="sum", **features), 1.0)})
    sr, gt, ema = torch.rand(3, 4, 3, 16, 16).unbind()
    whole, _ = term(sr, gt, sr_ema=ema)
    term.parts = 2
    halves = [
        term(*pair[:2], sr_ema=pair[2])[0]
        for pair in zip(sr.chunk(2), gt.chunk(2), ema.chunk(2), strict=True)
    ]
    assert_close(sum(halves) / 2, whole)


def test_no_terms_cost_nothing():
    total, terms = WeightedSum({})(*images())
    assert total == 0
    assert terms == {}


def test_terms_of_one_network_share_one_pass_per_image_and_gt_has_no_gradient():
    extractor = watched()
    shallow, deep = LayerLoss(extractor, ["relu1_1"]), LayerLoss(extractor, ["conv2_2"])
    sr, gt = images()
    WeightedSum({"shallow": (shallow, 1.0), "deep": (deep, 1.0)})(sr, gt)
    assert extractor.passes == [(("conv2_2", "relu1_1"), False), (("conv2_2", "relu1_1"), True)]


def test_sharing_changes_neither_values_nor_gradients():
    extractor = FeatureExtractor.random("vgg16")
    losses = {"shallow": LayerLoss(extractor, ["relu1_1"]), "deep": LayerLoss(extractor, ["conv2_2"])}
    sr, gt = images()
    total, terms = WeightedSum({name: (loss, 1.0) for name, loss in losses.items()})(sr, gt)
    (shared,) = torch.autograd.grad(total, sr)
    alone = {name: loss(sr, gt) for name, loss in losses.items()}
    (separate,) = torch.autograd.grad(sum(alone.values()), sr)
    assert_close(terms, alone)
    assert_close(shared, separate)


def test_terms_against_lq_compare_with_it_and_share_the_pass_of_sr():
    extractor = watched()
    sr, gt = images()
    lq = torch.rand(1, 3, 16, 16)
    terms = {
        "target": (LayerLoss(extractor, ["relu1_1"]), 1.0),
        "source": (LayerLoss(extractor, ["conv2_2"]), 1.0),
        "pixel": (L1Loss(), 1.0),
    }
    _, found = WeightedSum(terms, against={"source": "lq", "pixel": "lq"})(sr, gt, lq)
    assert extractor.passes == [
        (("relu1_1",), False),
        (("conv2_2",), False),
        (("conv2_2", "relu1_1"), True),
    ]
    assert_close(found["pixel"], (sr - lq).abs().mean())
    assert_close(found["target"], terms["target"][0](sr, gt))
    assert_close(found["source"], terms["source"][0](sr, lq))


def test_each_term_compares_with_the_image_named_for_it():
    sr, gt = images()
    lq, gt_sharp = torch.rand(2, 1, 3, 16, 16)
    terms = {"target": (L1Loss(), 1.0), "source": (L1Loss(), 1.0), "sharp": (L1Loss(), 1.0)}
    objective = WeightedSum(terms, against={"source": "lq", "sharp": "gt_sharp"})
    _, found = objective(sr, gt, lq, gt_sharp)
    for name, other in (("target", gt), ("source", lq), ("sharp", gt_sharp)):
        assert_close(found[name], (sr - other).abs().mean())


def test_the_loss_on_artifacts_gets_the_output_of_the_ema_network():
    (sr, gt), sr_ema = images(), torch.rand(1, 3, 16, 16)
    objective = WeightedSum({"ldl": (LDLLoss(), 2.0)})
    assert objective.needs_ema
    assert not WeightedSum({"pixel": (L1Loss(), 1.0)}).needs_ema
    assert_close(objective(sr, gt, sr_ema=sr_ema)[0], 2 * LDLLoss()(sr, gt, sr_ema))


def test_jitter_crops_lq_and_sr_alike():
    extractor = FeatureExtractor.random("vgg16")
    extractor.__class__, extractor.images = Seen, []
    sr, gt = images()
    objective = WeightedSum(
        {"source": (LayerLoss(extractor, ["relu1_1"]), 1.0)}, against={"source": "lq"}, jitter_px=4
    )
    _, terms = objective(sr, gt, sr)
    of_lq, of_sr = extractor.images
    assert of_lq.shape == (1, 3, 12, 12)
    assert torch.equal(of_lq, of_sr)
    assert terms["source"] == 0


class Seen(FeatureExtractor):
    """Records its input images."""

    def forward(self, x, layers):
        self.images.append(x)
        return super().forward(x, layers)


def test_jitter_crops_both_images_for_a_network_and_nothing_for_other_losses():
    extractor = FeatureExtractor.random("vgg16")
    extractor.__class__, extractor.images = Seen, []
    sr, gt = images()
    terms = {"features": (LayerLoss(extractor, ["relu1_1"]), 1.0), "pixel": (L1Loss(), 1.0)}
    objective = WeightedSum(terms, jitter_px=4)
    starts = set()
    for _ in range(100):
        extractor.images.clear()
        _, values = objective(sr, gt)
        of_gt, of_sr = extractor.images
        assert of_sr.shape == of_gt.shape == (1, 3, 12, 12)
        (start,) = [
            (top, left)
            for top in range(4)
            for left in range(4)
            if torch.equal(of_sr, sr[..., top : top + 12, left : left + 12])
        ]
        assert torch.equal(of_gt, gt[..., start[0] : start[0] + 12, start[1] : start[1] + 12])
        assert_close(values["pixel"], (sr - gt).abs().mean())
        starts.add(start)
    assert len(starts) > 12


def test_formulas_get_full_precision_inside_autocast():
    class Precision(nn.Module):
        def forward(self, sr, gt):
            assert not torch.is_autocast_enabled("cpu")
            return (sr @ gt.mT).mean()

    class OfFeatures(LayerLoss):
        def compare(self, sr_features, gt_features):
            assert sr_features["conv1_1"].dtype == torch.float32
            return super().compare(sr_features, gt_features)

    extractor = FeatureExtractor.random("vgg16")
    terms = {"product": (Precision(), 1.0), "features": (OfFeatures(extractor, ["conv1_1"]), 1.0)}
    with torch.autocast("cpu", dtype=torch.bfloat16):
        total, _ = WeightedSum(terms)(*images())
    assert total.dtype == torch.float32

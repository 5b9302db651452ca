"""Contextual losses on whatever gives features, with masks of images, and the names that other code has."""

from collections import OrderedDict
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from srcx.errors import ImageError, OptionsError
from srcx.features.extractor import FeatureExtractor
from srcx.losses.contextual import ContextualLoss, contextual_loss
from srcx.losses.contextual_bilateral import ContextualBilateralLoss, contextual_bilateral_loss
from srcx.losses.contextual_options import OTHER_NAMES
from srcx.losses.weighted_sum import WeightedSum
from srcx.weights.checkpoint import save_state

LOSSES = [ContextualLoss, ContextualBilateralLoss]


class Backbone(nn.Module):
    """Two maps and tokens, as a list or a dict."""

    def __init__(self, gives: str) -> None:
        super().__init__()
        self.gives = gives
        self.first, self.second = nn.Conv2d(3, 6, 3, 2, 1), nn.Conv2d(6, 8, 3, 2, 1)
        self.requires_grad_(False)

    def forward(self, image: Tensor) -> Any:
        first = self.first(image)
        second = self.second(first.relu())
        tokens = second.flatten(2).transpose(1, 2)
        if self.gives == "list":
            return [first, second]
        if self.gives == "map":
            return second
        return OrderedDict(first=first, tokens=tokens, masks=None)


def images() -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    return torch.rand(2, 3, 16, 20, requires_grad=True), torch.rand(2, 3, 20, 16)


def test_one_map_of_a_module_is_compared() -> None:
    sr, gt = images()
    backbone = Backbone("map")
    value = ContextualLoss(features=backbone)(sr, gt)
    expected = contextual_loss(backbone(sr), backbone(gt))
    assert torch.equal(value, expected)
    assert_close(torch.autograd.grad(value, sr), torch.autograd.grad(expected, sr))


def test_all_maps_of_a_list_are_summed_or_those_with_a_weight() -> None:
    sr, gt = images()
    backbone = Backbone("list")
    of_sr, of_gt = backbone(sr), backbone(gt)
    each = [contextual_loss(x, y) for x, y in zip(of_sr, of_gt, strict=True)]
    assert_close(ContextualLoss(features=backbone)(sr, gt), each[0] + each[1])
    weighted = ContextualLoss({1: 0.5}, features=backbone)  # type: ignore[dict-item]  # as a user has it
    assert_close(weighted(sr, gt), 0.5 * each[1])


def test_maps_and_tokens_of_a_dict_are_chosen_by_name() -> None:
    sr, gt = images()
    backbone = Backbone("dict")
    loss = ContextualLoss({"tokens": 2.0, "first": 1.0}, features=backbone, centering="sample")
    expected = sum(
        weight * contextual_loss(backbone(sr)[name], backbone(gt)[name], centering="sample")
        for name, weight in {"tokens": 2.0, "first": 1.0}.items()
    )
    assert_close(loss(sr, gt), expected)
    with pytest.raises(OptionsError, match="features gave no last but first, tokens, masks; name some"):
        ContextualLoss({"last": 1.0}, features=backbone)(sr, gt)
    with pytest.raises(ImageError, match="x must be a tensor; got NoneType"):
        ContextualLoss(features=backbone)(sr, gt)


def test_a_name_of_a_network_is_its_vgg_type(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path_factory.mktemp("weights")
    save_state(folder / "alexnet.safetensors", FeatureExtractor.random("alexnet").state_dict())
    monkeypatch.setenv("SRCX_WEIGHTS", str(folder))
    by_name, by_type = (
        ContextualLoss({"conv2": 1.0}, **{word: "alexnet"})  # type: ignore[arg-type]
        for word in ("features", "vgg_type")
    )
    assert by_name.extractor is by_type.extractor
    assert ContextualBilateralLoss(layer_weights={"conv2": 1.0}, features="alexnet").extractor is not None


def test_masks_of_images_become_masks_of_features() -> None:
    sr, gt = torch.rand(2, 3, 16, 16), torch.rand(2, 3, 16, 16)
    mask = torch.ones(2, 16, 16, dtype=torch.bool)
    mask[:, :5] = False
    loss = ContextualLoss(features=nn.AvgPool2d(4))
    small = torch.ones(2, 4, 4, dtype=torch.bool)
    small[:, :2] = False
    expected = contextual_loss(
        nn.functional.avg_pool2d(sr, 4), nn.functional.avg_pool2d(gt, 4), x_mask=small, y_mask=small
    )
    assert_close(loss(sr, gt, x_mask=mask, y_mask=mask), expected)
    assert_close(loss(sr, gt, mask[:, None], mask), expected)


def test_a_patch_counts_if_all_its_pixels_do() -> None:
    sr, gt = torch.rand(1, 3, 12, 12), torch.rand(1, 3, 12, 12)
    mask = torch.ones(1, 1, 12, 12, dtype=torch.bool)
    mask[..., 5, 5] = False
    loss = ContextualBilateralLoss("patches", patch_size=4, stride=2)
    small = torch.ones(1, 5, 5, dtype=torch.bool)
    small[:, 1:3, 1:3] = False  # the patches from 2 and 4 on hold pixel 5
    windows = (nn.functional.unfold(image, 4, stride=2).unflatten(2, (5, 5)) for image in (sr, gt))
    assert_close(loss(sr, gt, y_mask=mask), contextual_bilateral_loss(*windows, y_mask=small))


@pytest.mark.parametrize("loss", LOSSES)
def test_reduction_none_gives_each_sample_and_no_objective(loss: type[nn.Module]) -> None:
    sr, gt = torch.rand(3, 3, 12, 12), torch.rand(3, 3, 12, 12)
    pool = nn.AvgPool2d(2)
    each = loss(features=pool, reduction="none")
    assert each(sr, gt).shape == (3,)
    assert_close(each(sr, gt).sum(), loss(features=pool, reduction="sum")(sr, gt))
    with pytest.raises(OptionsError, match="cx: expected reduction mean or sum in an objective, got 'none'"):
        WeightedSum({"cx": (each, 1.0)})


def test_accumulated_parts_of_a_sum_are_the_sum_of_the_batch() -> None:
    sr, gt = torch.rand(4, 3, 12, 12), torch.rand(4, 3, 12, 12)
    loss = ContextualLoss(features=nn.AvgPool2d(2), reduction="sum", centering="sample")
    objective = WeightedSum({"cx": (loss, 1.0)})
    objective.parts = 2
    parts = [objective(sr[i : i + 2], gt[i : i + 2])[0] for i in (0, 2)]
    assert_close(torch.stack(parts).mean(), loss(sr, gt))


@pytest.mark.parametrize("word", OTHER_NAMES)
@pytest.mark.parametrize(
    "of", [ContextualLoss, ContextualBilateralLoss, contextual_loss, contextual_bilateral_loss]
)
def test_a_name_that_other_code_has_is_answered_with_ours(of: Any, word: str) -> None:
    if word == "weight_sp" and "bilateral" in of.__name__.lower():
        return  # it has that one
    images = () if isinstance(of, type) else (torch.rand(1, 3, 4, 4), torch.rand(1, 3, 4, 4))
    here = OTHER_NAMES[word].split("=")[0]
    with pytest.raises(
        OptionsError, match=f"{of.__name__}: expected its own arguments, got {word}; .*{here}"
    ):
        of(*images, **{word: 1})


def test_an_argument_that_nobody_has_is_an_error_too() -> None:
    with pytest.raises(OptionsError, match="ContextualLoss: expected its own arguments, got bandwith"):
        ContextualLoss(bandwith=0.1)  # type: ignore[arg-type]  # the mistake under test

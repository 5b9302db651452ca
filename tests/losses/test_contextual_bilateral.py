from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torch.testing import assert_close

from srcx.errors import ImageError, OptionsError
from srcx.features.extractor import FeatureExtractor
from srcx.losses import contextual_kernel
from srcx.losses.contextual import contextual_loss
from srcx.losses.contextual_bilateral import ContextualBilateralLoss, contextual_bilateral_loss
from srcx.weights.checkpoint import save_state

FORMS = ["sum", "mix"]


def cosine_distances(x: Tensor, y: Tensor) -> Tensor:
    mu = y.mean(dim=(0, 2, 3), keepdim=True)
    x, y = functional.normalize(x - mu, dim=1), functional.normalize(y - mu, dim=1)
    return (1 - x.flatten(2).transpose(1, 2) @ y.flatten(2)) / 2


def away_in_space(x: Tensor, y: Tensor) -> Tensor:
    """Distance of each position of x to each of y, (HW, H'W')."""

    def centres(features: Tensor) -> Tensor:
        height, width = features.shape[2:]
        rows = ((torch.arange(height).double() + 0.5) / height)[:, None].expand(height, width)
        columns = ((torch.arange(width).double() + 0.5) / width)[None].expand(height, width)
        return torch.stack([rows.flatten(), columns.flatten()], 1)

    return (centres(x)[:, None] - centres(y)[None]).square().sum(2).sqrt()


def affinities(d: Tensor, bandwidth: float, eps: float) -> Tensor:
    return torch.softmax((1 - d / (d.amin(-1, keepdim=True) + eps)) / bandwidth, -1)


def plain(x: Tensor, y: Tensor, *, form: str, weight: float, bandwidth: float, eps: float) -> Tensor:
    d, space = cosine_distances(x, y), away_in_space(x, y)
    if form == "sum":
        cx = affinities(d + weight * space, bandwidth, eps)
    else:
        cx = (1 - weight) * affinities(d, bandwidth, eps) + weight * affinities(space**2, bandwidth, eps)
    return -cx.amax(1).mean(1).log().mean()


@pytest.mark.parametrize("blocks", ["small", "large"])
@pytest.mark.parametrize("sizes", [(7, 9, 7, 9), (13, 11, 12, 15), (4, 40, 3, 3)])
@pytest.mark.parametrize(("weight", "bandwidth", "eps"), [(0.1, 0.1, 1e-5), (0.5, 0.5, 1e-3)])
@pytest.mark.parametrize("form", FORMS)
def test_agrees_with_the_plain_formula(
    monkeypatch: pytest.MonkeyPatch,
    form: Any,
    weight: float,
    bandwidth: float,
    eps: float,
    sizes: tuple[int, int, int, int],
    blocks: str,
) -> None:
    if blocks == "small":
        monkeypatch.setattr(contextual_kernel, "BLOCK_MIB", 0)
    x = torch.randn(2, 5, *sizes[:2], dtype=torch.double, requires_grad=True)
    y = torch.randn(2, 5, *sizes[2:], dtype=torch.double, requires_grad=True)
    ours = contextual_bilateral_loss(x, y, weight_sp=weight, bandwidth=bandwidth, eps=eps, form=form)
    theirs = plain(x, y, form=form, weight=weight, bandwidth=bandwidth, eps=eps)
    assert_close(ours, theirs, rtol=1e-10, atol=1e-10)
    expected = torch.autograd.grad(theirs, (x, y))
    for a, b in zip(torch.autograd.grad(ours, (x, y)), expected, strict=True):
        assert (a - b).abs().max() <= 1e-10 * b.abs().max()
    # If only x needs a gradient, other code computes it.
    alone = contextual_bilateral_loss(
        x, y.detach(), weight_sp=weight, bandwidth=bandwidth, eps=eps, form=form
    )
    assert (torch.autograd.grad(alone, x)[0] - expected[0]).abs().max() <= 1e-10 * expected[0].abs().max()


@pytest.mark.parametrize("y_wanted", [False, True])
def test_mixed_of_space_alone_has_no_gradient(y_wanted: bool) -> None:
    x, y = torch.randn(2, 4, 5, 5, requires_grad=True), torch.randn(2, 4, 5, 5, requires_grad=y_wanted)
    loss = contextual_bilateral_loss(x, y, weight_sp=1, form="mix")
    for of_one in torch.autograd.grad(loss, [x, y] if y_wanted else [x]):
        assert of_one.abs().max() < 1e-20


@pytest.mark.parametrize("form", FORMS)
def test_gradcheck(form: Any) -> None:
    x = torch.randn(1, 3, 3, 3, dtype=torch.double, requires_grad=True)
    y = torch.randn(1, 3, 2, 4, dtype=torch.double, requires_grad=True)

    def loss(x: Tensor, y: Tensor) -> Tensor:
        return contextual_bilateral_loss(x, y, bandwidth=0.5, eps=1e-2, weight_sp=0.3, form=form)

    assert torch.autograd.gradcheck(loss, (x, y))
    assert torch.autograd.gradcheck(lambda x: loss(x, y.detach()), (x,))


@pytest.mark.parametrize("form", FORMS)
def test_with_spatial_weight_zero_it_is_the_contextual_loss(form: Any) -> None:
    x, y = torch.randn(2, 6, 5, 7).double(), torch.randn(2, 6, 6, 4).double()
    ours = contextual_bilateral_loss(x, y, weight_sp=0, bandwidth=0.2, form=form)
    assert_close(ours, contextual_loss(x, y, bandwidth=0.2))


@pytest.mark.parametrize("form", FORMS)
def test_vectors_far_from_their_position_cost_more(form: Any) -> None:
    y = torch.randn(1, 16, 8, 8)
    near, far = (y.roll(shift, dims=3) + 0.8 * torch.randn_like(y) for shift in (1, 4))
    costs = [contextual_bilateral_loss(x, y, weight_sp=0.5, bandwidth=0.5, form=form) for x in (y, near, far)]
    assert costs[0] < costs[1] < costs[2]


@pytest.mark.parametrize("form", FORMS)
def test_constant_images_give_finite_values_and_gradients(form: Any) -> None:
    x = torch.full((1, 4, 5, 5), 0.3, requires_grad=True)
    for y in (torch.full((1, 4, 5, 5), 0.7), x.detach(), torch.zeros(1, 4, 6, 3)):
        value = contextual_bilateral_loss(x, y, form=form)
        assert value.isfinite()
        assert torch.autograd.grad(value, x)[0].isfinite().all()


def test_drawn_features_keep_their_positions() -> None:
    y = torch.randn(1, 16, 12, 12)
    # In the form "mix" with weight_sp 1 only positions count, and both draw the same ones.
    assert contextual_bilateral_loss(y, y, max_positions=20, form="mix", weight_sp=1.0) < 1e-4
    spread = contextual_bilateral_loss(torch.randn_like(y), y, max_positions=20, form="sum", weight_sp=1e4)
    assert spread < 1e-4


@pytest.mark.parametrize("form", FORMS)
def test_bf16_is_close(form: Any) -> None:
    x, y = torch.randn(1, 64, 12, 12), torch.randn(1, 64, 12, 12)
    full = contextual_bilateral_loss(x, y, form=form)
    coarse = contextual_bilateral_loss(x, y, form=form, product="bf16")
    assert_close(coarse, full, rtol=1e-2, atol=0)
    assert coarse != full


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"form": "product"}, "expected sum, mix as form, got 'product'"),
        ({"weight_sp": -0.1}, "expected weight_sp of at least 0"),
        ({"weight_sp": 1.5, "form": "mix"}, "at most 1 in the form 'mix'; got 1.5"),
        ({"bandwidth": 0}, "expected bandwidth above 0"),
        ({"product": "int8"}, "expected fp32, bf16 as product"),
    ],
)
def test_an_argument_out_of_range_is_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionsError, match=f"contextual_bilateral_loss: .*{message}"):
        contextual_bilateral_loss(torch.rand(1, 3, 4, 4), torch.rand(1, 3, 4, 4), **arguments)
    with pytest.raises(OptionsError, match=f"ContextualBilateralLoss: .*{message}"):
        ContextualBilateralLoss("patches", **arguments)


def test_patches_are_windows_of_the_image() -> None:
    sr, gt = torch.rand(2, 3, 14, 17, requires_grad=True), torch.rand(2, 3, 20, 12)
    loss = ContextualBilateralLoss("patches", patch_size=6, stride=2, weight_sp=0.2, form="mix")

    def windows(image: Tensor) -> Tensor:
        of_rows = image.unfold(2, 6, 2).unfold(3, 6, 2)  # (N, 3, h, w, 6, 6)
        return of_rows.permute(0, 1, 4, 5, 2, 3).flatten(1, 3)

    assert windows(sr).shape == (2, 108, 5, 6)
    expected = contextual_bilateral_loss(windows(sr), windows(gt), weight_sp=0.2, form="mix")
    value = loss(sr, gt)
    assert_close(value, expected)
    assert_close(torch.autograd.grad(value, sr), torch.autograd.grad(expected, sr))
    assert loss.extractor is None


def test_patches_overlap_by_half_by_default() -> None:
    sr, gt = torch.rand(1, 3, 30, 30), torch.rand(1, 3, 30, 30)
    half = ContextualBilateralLoss("patches", patch_size=10, stride=5)
    assert_close(ContextualBilateralLoss("patches")(sr, gt), half(sr, gt))


def test_an_image_smaller_than_a_patch_is_named() -> None:
    with pytest.raises(ImageError, match=r"at least 10 x 10 pixels, a patch; got \(1, 3, 9, 30\)"):
        ContextualBilateralLoss("patches")(torch.rand(1, 3, 9, 30), torch.rand(1, 3, 30, 30))


def test_an_unknown_space_is_named() -> None:
    with pytest.raises(OptionsError, match="expected features, patches as space, got 'rgb'"):
        ContextualBilateralLoss("rgb")  # type: ignore[arg-type]  # the mistake under test


def test_the_loss_on_features_is_the_weighted_loss_of_the_layers(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    path = tmp_path_factory.mktemp("weights") / "made_up.safetensors"
    save_state(path, FeatureExtractor.random("alexnet").state_dict())
    loss = ContextualBilateralLoss(
        layer_weights={"conv2": 2.0}, vgg_type="alexnet", weights_path=path, weight_sp=0.4, bandwidth=0.3
    )
    sr, gt = torch.rand(1, 3, 64, 64), torch.rand(1, 3, 48, 64)
    assert loss.extractor is not None
    features = (loss.extractor(image, ["conv2"])["conv2"] for image in (sr, gt))
    expected = 2 * contextual_bilateral_loss(*features, weight_sp=0.4, bandwidth=0.3)
    assert_close(loss(sr, gt), expected)

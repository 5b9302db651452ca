"""Masks, tokens, volumes, centring and reduction against the plain formula, sample by sample, in float64."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import normalize
from torch.testing import assert_close

from srcx.errors import ImageError, OptionsError
from srcx.losses import contextual_kernel
from srcx.losses.contextual import contextual_loss
from srcx.losses.contextual_bilateral import contextual_bilateral_loss
from srcx.losses.contextual_maps import mask_at

SHAPES = {"map": (2, 3), "tokens": (7,), "volume": (2, 2, 3)}


def as_vectors(features: Tensor) -> Tensor:
    """(N, P, C) of maps and volumes; tokens are that already."""
    return features if features.ndim == 3 else features.flatten(2).transpose(1, 2)


def affinities(d: Tensor, bandwidth: float) -> Tensor:
    return torch.softmax((1 - d / (d.amin(1, keepdim=True) + 1e-5)) / bandwidth, 1)


def plain(
    x: Tensor,
    y: Tensor,
    x_mask: Tensor | None = None,
    y_mask: Tensor | None = None,
    *,
    bandwidth: float = 0.1,
    distance: str = "cosine",
    centering: str = "batch",
    symmetric: bool = False,
    space: tuple[str, float] | None = None,
) -> Tensor:
    """The loss of each sample, (N,); of masked features only those that count are ever looked at."""
    places = centres(x.shape[2:]), centres(y.shape[2:])
    x, y = as_vectors(x), as_vectors(y)
    xs = [one if x_mask is None else one[x_mask[i].flatten()] for i, one in enumerate(x)]
    ys = [one if y_mask is None else one[y_mask[i].flatten()] for i, one in enumerate(y)]
    losses = []
    for i, (a, b) in enumerate(zip(xs, ys, strict=True)):
        if not len(a) or not len(b):
            losses.append(x.new_zeros(()))
            continue
        if distance == "cosine":
            mean = torch.cat(ys).mean(0) if centering == "batch" else b.mean(0)
            d = (1 - normalize(a - mean, dim=1) @ normalize(b - mean, dim=1).T) / 2
        else:
            away = a[:, None] - b[None]
            d = away.square().sum(2) if distance == "l2" else away.abs().sum(2)
        if space is None:
            cx = affinities(d, bandwidth).amax(0).mean()
            if symmetric:
                cx = (cx + affinities(d.T, bandwidth).amax(0).mean()) / 2
        else:
            p = places[0] if x_mask is None else places[0][x_mask[i].flatten()]
            q = places[1] if y_mask is None else places[1][y_mask[i].flatten()]
            squared = (p[:, None] - q[None]).square().sum(2)
            form, weight = space
            if form == "sum":
                both = affinities(d + weight * squared.sqrt(), bandwidth)
            else:
                both = (1 - weight) * affinities(d, bandwidth) + weight * affinities(squared, bandwidth)
            cx = both.amax(0).mean()
        losses.append(-cx.log())
    return torch.stack(losses)


def centres(sides: torch.Size) -> Tensor:
    grids = torch.meshgrid(*((torch.arange(n).double() + 0.5) / n for n in sides), indexing="ij")
    return torch.stack([grid.flatten() for grid in grids], 1)


def features(kind: str, batch: int, sides: tuple[int, ...], channels: int = 5) -> Tensor:
    shape = (batch, *sides, channels) if kind == "tokens" else (batch, channels, *sides)
    return torch.randn(shape, dtype=torch.double, requires_grad=True)


def assert_same(ours: Tensor, theirs: Tensor, *inputs: Tensor) -> None:
    """Values (N,) and the gradients of a weighted sum of them are equal."""
    assert_close(ours, theirs, rtol=1e-10, atol=1e-10)
    weights = torch.linspace(1, 2, len(ours), dtype=torch.double)
    expected = torch.autograd.grad(theirs @ weights, inputs, retain_graph=True)
    for a, b in zip(torch.autograd.grad(ours @ weights, inputs), expected, strict=True):
        assert (a - b).abs().max() <= 1e-9 * b.abs().max() + 1e-12


@given(data=st.data())
@settings(max_examples=60)
def test_masks_tokens_and_volumes_agree_with_the_plain_formula(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(list(SHAPES)), "kind")
    torch.manual_seed(data.draw(st.integers(0, 9999), "seed"))
    batch = data.draw(st.integers(1, 3), "batch")
    sides = [
        tuple(data.draw(st.integers(1, 6), "side") for _ in SHAPES[kind]) for _ in range(2)
    ]  # of x and y
    x, y = (features(kind, batch, of_one) for of_one in sides)
    share = data.draw(st.sampled_from([None, 0.2, 0.7, 1.0]), "share that counts")
    masks = [None if share is None else torch.rand(batch, *of_one) < share for of_one in sides]
    given_args: dict[str, Any] = {
        "bandwidth": data.draw(st.floats(0.05, 1), "bandwidth"),
        "centering": data.draw(st.sampled_from(["batch", "sample"]), "centering"),
        "distance": data.draw(st.sampled_from(["cosine", "l2", "l1"]), "distance"),
        "symmetric": data.draw(st.booleans(), "symmetric"),
    }
    theirs = plain(x, y, *masks, **given_args)
    given_args |= {"x_mask": masks[0], "y_mask": masks[1], "reduction": "none"}
    if theirs.requires_grad:
        assert_same(contextual_loss(x, y, **given_args), theirs, x, y)
        # If only x needs a gradient, other code computes it.
        assert_same(contextual_loss(x, y.detach(), **given_args), theirs, x)
    else:
        assert_close(contextual_loss(x, y, **given_args), theirs)


@pytest.mark.parametrize("blocks", ["small", "large"])
@pytest.mark.parametrize("kind", ["map", "volume"])
@pytest.mark.parametrize("form", ["sum", "mix"])
def test_the_bilateral_loss_takes_masks_and_volumes(
    monkeypatch: pytest.MonkeyPatch, form: Any, kind: str, blocks: str
) -> None:
    if blocks == "small":
        monkeypatch.setattr(contextual_kernel, "BLOCK_MIB", 0)
    sides = {"map": ((9, 7), (5, 8)), "volume": ((3, 4, 4), (2, 3, 5))}[kind]
    x, y = (features(kind, 2, of_one) for of_one in sides)
    masks = [torch.rand(2, *of_one) < 0.6 for of_one in sides]
    ours = contextual_bilateral_loss(
        x,
        y,
        form=form,
        weight_sp=0.3,
        x_mask=masks[0],
        y_mask=masks[1],
        centering="sample",
        reduction="none",
    )
    assert_same(ours, plain(x, y, *masks, space=(form, 0.3), centering="sample"), x, y)


def test_masked_features_may_hold_anything() -> None:
    x, y = torch.randn(2, 4, 5, 5), torch.randn(2, 4, 5, 5)
    mask = torch.rand(2, 5, 5) < 0.5
    expected = contextual_loss(x, y, x_mask=mask, y_mask=mask)
    for anything in (float("nan"), float("inf"), 1e30):
        a, b = (z.masked_fill(~mask[:, None], anything).requires_grad_() for z in (x, y))
        value = contextual_loss(a, b, x_mask=mask, y_mask=mask)
        assert_close(value, expected)
        for gradient in torch.autograd.grad(value, (a, b)):
            assert gradient.isfinite().all()
            assert not gradient.masked_select(~mask[:, None]).any()


def test_a_sample_without_a_position_that_counts_has_the_loss_zero() -> None:
    x = torch.randn(3, 4, 5, 5, requires_grad=True)
    y, mask = torch.randn(3, 4, 5, 5), torch.ones(3, 5, 5, dtype=torch.bool)
    mask[1] = False
    for masks in ({"x_mask": mask}, {"y_mask": mask}, {"x_mask": mask, "y_mask": mask}):
        losses = contextual_loss(x, y, reduction="none", **masks)
        assert losses[1] == 0
        assert losses[[0, 2]].min() > 0.1
        (gradient,) = torch.autograd.grad(losses.sum(), x)
        assert gradient.isfinite().all()
        assert not gradient[1].any()


def test_sample_centring_does_not_depend_on_the_batch_and_batch_centring_does() -> None:
    x, y = torch.randn(4, 3, 6, 6).double(), torch.randn(4, 3, 6, 6).double() + torch.randn(4, 3, 1, 1)
    for centering, same in (("sample", True), ("batch", False)):
        whole = contextual_loss(x, y, centering=centering, reduction="none")  # type: ignore[arg-type]
        parts = [
            contextual_loss(x[i : i + 2], y[i : i + 2], centering=centering, reduction="none")  # type: ignore[arg-type]
            for i in (0, 2)
        ]
        assert torch.allclose(whole, torch.cat(parts), rtol=1e-12) == same


def test_reductions_are_of_the_samples() -> None:
    x, y = torch.randn(3, 4, 5, 5), torch.randn(3, 4, 5, 5)
    each = contextual_loss(x, y, reduction="none")
    assert each.shape == (3,)
    assert_close(contextual_loss(x, y, reduction="sum"), each.sum())
    assert_close(contextual_loss(x, y), each.mean())


def test_drawn_positions_take_their_masks_along() -> None:
    y = torch.randn(2, 16, 10, 10)
    mask = torch.rand(2, 10, 10) < 0.5
    x = y.masked_fill(~mask[:, None], 1e3)
    assert contextual_loss(x, y, max_positions=30, x_mask=mask, y_mask=mask) < 1e-3


def test_a_mask_of_an_image_holds_for_a_feature_if_all_pixels_of_its_cell_count() -> None:
    mask = torch.ones(1, 8, 12, dtype=torch.bool)
    mask[0, 3, 4] = False
    expected = torch.ones(1, 2, 3, dtype=torch.bool)
    expected[0, 0, 1] = False
    for given_mask in (mask, mask[:, None]):
        assert torch.equal(mask_at("loss", given_mask, torch.rand(1, 5, 2, 3)), expected)  # type: ignore[arg-type]
    assert mask_at("loss", expected, torch.rand(1, 5, 2, 3)) is expected
    assert mask_at("loss", None, torch.rand(1, 5, 2, 3)) is None


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (torch.ones(1, 4, 4), r"got torch.float32 .* `weights > 0.5`"),
        (
            torch.ones(1, 4, 5, dtype=torch.bool),
            r"bool of shape \(1, 4, 4\), .* got torch.bool of shape \(1, 4, 5\)",
        ),
    ],
)
@pytest.mark.parametrize("role", ["x_mask", "y_mask"])
def test_a_mask_that_does_not_fit_is_named(role: str, mask: Tensor, message: str) -> None:
    with pytest.raises(ImageError, match=f"contextual_loss: {role} must be .*{message}"):
        contextual_loss(torch.rand(1, 3, 4, 4), torch.rand(1, 3, 4, 4), **{role: mask})  # type: ignore[arg-type]


def test_tokens_have_no_mask_of_an_image_and_no_place() -> None:
    tokens = torch.rand(1, 9, 4)
    with pytest.raises(ImageError, match=r"of the features, \(N, 9\); got torch.bool of shape \(1, 12, 12\)"):
        mask_at("loss", torch.ones(1, 12, 12, dtype=torch.bool), tokens)
    with pytest.raises(ImageError, match="whose places are known; got tokens"):
        contextual_bilateral_loss(tokens, tokens)


@pytest.mark.parametrize("word", ["centering", "reduction"])
def test_an_unknown_word_is_named(word: str) -> None:
    with pytest.raises(OptionsError, match=f"as {word}, got 'all'"):
        contextual_loss(torch.rand(1, 3, 4, 4), torch.rand(1, 3, 4, 4), **{word: "all"})  # type: ignore[arg-type]

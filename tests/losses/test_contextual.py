import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode

from srcx.errors import ImageError, OptionsError
from srcx.features.extractor import FeatureExtractor
from srcx.losses import contextual_kernel, contextual_scores
from srcx.losses.contextual import ContextualLoss, contextual_loss
from srcx.weights.checkpoint import save_state

DISTANCES = ["cosine", "l2", "l1"]


@pytest.fixture
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of 32 rows, so that small maps take many."""
    monkeypatch.setattr(contextual_kernel, "BLOCK_MIB", 0)


def distances(x: Tensor, y: Tensor, distance: str = "cosine") -> Tensor:
    """All distances of (N, C, H, W) to (N, C, H', W'), (N, HW, H'W')."""
    if distance == "cosine":
        mu = y.mean(dim=(0, 2, 3), keepdim=True)
        x, y = functional.normalize(x - mu, dim=1), functional.normalize(y - mu, dim=1)
        return (1 - x.flatten(2).transpose(1, 2) @ y.flatten(2)) / 2
    away = x.flatten(2).transpose(1, 2)[:, :, None] - y.flatten(2).transpose(1, 2)[:, None]
    return away.square().sum(3) if distance == "l2" else away.abs().sum(3)


def similarity(d: Tensor, bandwidth: float, eps: float = 1e-5) -> Tensor:
    relative = d / (d.min(dim=2, keepdim=True).values + eps)
    return torch.softmax((1 - relative) / bandwidth, dim=2).max(dim=1).values.mean(dim=1)


def plain(x: Tensor, y: Tensor, *, bandwidth: float = 0.1, distance: str = "cosine") -> Tensor:
    """The formula as tensors of all pairs, differentiated by autograd."""
    return -similarity(distances(x, y, distance), bandwidth).log().mean()


def with_gradients(loss: Callable[..., Tensor], x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    x, y = x.detach().requires_grad_(), y.detach().requires_grad_()
    value = loss(x, y)
    return value.detach(), *torch.autograd.grad(value, (x, y))


def gradient(loss: Callable[..., Tensor], x: Tensor, y: Tensor) -> Tensor:
    x = x.detach().requires_grad_()
    return torch.autograd.grad(loss(x, y), x)[0]


def assert_close_to_its_largest(ours: Tensor, theirs: Tensor, tolerance: float) -> None:
    assert (ours - theirs).abs().max() <= tolerance * theirs.abs().max() + 1e-10


def test_equals_the_formula_written_out_vector_by_vector() -> None:
    generated, target = torch.randn(1, 3, 2, 2).double(), torch.randn(1, 3, 2, 3).double()
    xs = generated[0].flatten(1).t().tolist()
    ys = target[0].flatten(1).t().tolist()
    mu = [sum(y[c] for y in ys) / len(ys) for c in range(3)]

    def unit(v: list[float]) -> list[float]:
        away = [a - m for a, m in zip(v, mu, strict=True)]
        length = math.sqrt(sum(a * a for a in away))
        return [a / length for a in away]

    cx = []
    for x in xs:
        d = [(1 - sum(a * b for a, b in zip(unit(x), unit(y), strict=True))) / 2 for y in ys]
        w = [math.exp((1 - d_j / (min(d) + 1e-5)) / 0.1) for d_j in d]
        cx.append([w_j / sum(w) for w_j in w])
    best = [max(row[j] for row in cx) for j in range(len(ys))]
    expected = -math.log(sum(best) / len(best))
    assert contextual_loss(generated, target).item() == pytest.approx(expected, rel=1e-12)


@given(data=st.data())
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.usefixtures("_small_blocks")
def test_agrees_with_the_plain_formula(data: st.DataObject) -> None:
    batch, channels = data.draw(st.integers(1, 3), "batch"), data.draw(st.integers(3, 20), "channels")
    sizes = [data.draw(st.integers(1, 14), "side") for _ in range(4)]
    bandwidth = data.draw(st.floats(0.05, 1), "bandwidth")
    torch.manual_seed(data.draw(st.integers(0, 9999), "seed"))
    y = torch.randn(batch, channels, *sizes[2:]).double()
    near = functional.interpolate(y, sizes[:2]) * data.draw(st.sampled_from([0.0, 1.0, 3.0]), "likeness")
    x = near + torch.randn(batch, channels, *sizes[:2]).double()
    for features in (x, y):  # some vectors twice
        flat = features.flatten(2)
        copies = data.draw(st.integers(0, flat.shape[2] // 2), "copies")
        flat[:, :, :copies] = flat[:, :, flat.shape[2] - copies :]

    ours = with_gradients(lambda x, y: contextual_loss(x, y, bandwidth=bandwidth), x, y)
    theirs = with_gradients(lambda x, y: plain(x, y, bandwidth=bandwidth), x, y)
    assert_close(ours[0], theirs[0], rtol=1e-10, atol=1e-10)
    for features, of_ours, of_theirs in zip((x, y), ours[1:], theirs[1:], strict=True):
        # Which of equal vectors is the nearest depends on the last bit; the sum of their gradients does not.
        assert_close_to_its_largest(of_equals(of_ours, features), of_equals(of_theirs, features), 1e-10)
    # If only x needs a gradient, other code computes it.
    alone = gradient(lambda x, y: contextual_loss(x, y, bandwidth=bandwidth), x, y)
    assert_close_to_its_largest(of_equals(alone, x), of_equals(theirs[1], x), 1e-10)


def of_equals(gradient: Tensor, features: Tensor) -> Tensor:
    """Gradients summed over equal vectors of each sample."""
    sums = []
    for one, vectors in zip(gradient.flatten(2), features.flatten(2), strict=True):
        _, group = vectors.unique(dim=1, return_inverse=True)
        sums.append(torch.zeros_like(one).index_add_(1, group, one))
    return torch.stack(sums)


@pytest.mark.usefixtures("_small_blocks")
@pytest.mark.parametrize("distance", DISTANCES)
def test_every_distance_agrees_with_its_plain_formula(distance: Any) -> None:
    x, y = torch.randn(2, 4, 9, 13).double(), torch.randn(2, 4, 12, 11).double()
    ours = with_gradients(lambda x, y: contextual_loss(x, y, distance=distance), x, y)
    theirs = with_gradients(lambda x, y: plain(x, y, distance=distance), x, y)
    for a, b in zip(ours, theirs, strict=True):
        assert_close_to_its_largest(a, b, 1e-10)
    alone = gradient(lambda x, y: contextual_loss(x, y, distance=distance), x, y)
    assert_close_to_its_largest(alone, theirs[1], 1e-10)


def test_symmetric_is_the_mean_of_both_directions() -> None:
    x, y = torch.randn(2, 4, 5, 6).double(), torch.randn(2, 4, 7, 4).double()

    def both(x: Tensor, y: Tensor) -> Tensor:
        d = distances(x, y)
        return -((similarity(d, 0.1) + similarity(d.transpose(1, 2), 0.1)) / 2).log().mean()

    ours = with_gradients(lambda x, y: contextual_loss(x, y, symmetric=True), x, y)
    for a, b in zip(ours, with_gradients(both, x, y), strict=True):
        assert_close_to_its_largest(a, b, 1e-10)
    alone = gradient(lambda x, y: contextual_loss(x, y, symmetric=True), x, y)
    assert_close_to_its_largest(alone, ours[1], 1e-10)


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("symmetric", [False, True])
def test_gradcheck(distance: Any, symmetric: bool) -> None:
    x = torch.randn(2, 3, 2, 3, dtype=torch.double, requires_grad=True)
    y = torch.randn(2, 3, 3, 3, dtype=torch.double, requires_grad=True)

    def loss(x: Tensor, y: Tensor) -> Tensor:
        return contextual_loss(x, y, bandwidth=0.5, distance=distance, symmetric=symmetric)

    assert torch.autograd.gradcheck(loss, (x, y))
    assert torch.autograd.gradcheck(lambda x: loss(x, y.detach()), (x,))
    assert torch.autograd.gradcheck(lambda y: loss(x.detach(), y), (y,))


@pytest.mark.usefixtures("_small_blocks")
@pytest.mark.parametrize("worth", [0, 1000])  # with and without a layout of factors for oneDNN
@pytest.mark.parametrize(
    ("channels", "sizes"), [(1, (1, 1, 1, 1)), (3, (9, 7, 13, 11)), (17, (12, 12, 1, 5))]
)
def test_float32_is_as_good_as_the_plain_formula(
    monkeypatch: pytest.MonkeyPatch, worth: int, channels: int, sizes: tuple[int, int, int, int]
) -> None:
    monkeypatch.setattr(contextual_scores, "PRODUCTS_WORTH_A_LAYOUT", worth)
    x, y = torch.randn(2, channels, *sizes[:2]), torch.randn(2, channels, *sizes[2:])
    ours = with_gradients(contextual_loss, x, y)
    exact = with_gradients(plain, x.double(), y.double())
    assert_close(ours[0].double(), exact[0], rtol=2e-5, atol=2e-6)
    if channels > 1:  # with one channel all directions are equal or opposite: no gradient but rounding
        assert_close_to_its_largest(ours[1].double(), exact[1], 1e-3)
        assert_close_to_its_largest(ours[2].double(), exact[2], 1e-3)


def test_gradient_stays_exact_where_the_loss_is_nearly_zero() -> None:
    y = torch.randn(1, 64, 8, 8)
    x = y + 0.5 * torch.randn_like(y)
    ours, exact = gradient(contextual_loss, x, y), gradient(plain, x.double(), y.double())
    assert exact.abs().max() < 1e-3
    assert (ours - exact).norm() < 1e-3 * exact.norm()


def degenerate(kind: str) -> tuple[Tensor, Tensor]:
    x, y = torch.randn(2, 6, 5, 5), torch.randn(2, 6, 5, 5)
    if kind == "zero vectors":
        x[:, :, 0], y[:, :, 1] = 0, 0
    elif kind == "vectors at the centre":
        x[:, :, 2] = y.mean(dim=(0, 2, 3))[:, None]
    elif kind == "equal images":
        x = y.clone()
    elif kind == "constant images":
        x, y = torch.full_like(x, 0.3), torch.full_like(y, 0.7)
    elif kind == "all zero":
        x, y = torch.zeros_like(x), torch.zeros_like(y)
    elif kind == "one position":
        x, y = x[:, :, :1, :1], y[:, :, :1, :1]
    return x, y


@pytest.mark.parametrize("product", ["fp32", "bf16"])
@pytest.mark.parametrize(
    "kind",
    [
        "zero vectors",
        "vectors at the centre",
        "equal images",
        "constant images",
        "all zero",
        "one position",
    ],
)
def test_degenerate_images_give_finite_values_and_gradients(kind: str, product: Any) -> None:
    for scale in (1.0, 1e-6, 1e4):
        x, y = (z * scale for z in degenerate(kind))
        value, *gradients = with_gradients(lambda x, y: contextual_loss(x, y, product=product), x, y)
        assert value.isfinite()
        assert all(g.isfinite().all() for g in (*gradients, gradient(contextual_loss, x, y)))


@pytest.mark.parametrize("distance", ["l2", "l1"])
def test_degenerate_images_are_safe_with_other_distances(distance: Any) -> None:
    for kind in ("equal images", "constant images", "all zero"):
        x, y = degenerate(kind)
        value, *gradients = with_gradients(lambda x, y: contextual_loss(x, y, distance=distance), x, y)
        assert value.isfinite()
        assert all(g.isfinite().all() for g in gradients)


def test_rounding_errors_of_a_constant_image_have_no_direction() -> None:
    y = torch.rand(1, 64, 1, 1).expand(2, 64, 5, 5).contiguous()
    assert (
        y - y.mean(dim=(0, 2, 3), keepdim=True)
    ).any()  # the mean of equal numbers may differ from that number
    value, of_x, of_y = with_gradients(contextual_loss, y, y)
    assert_close(value, torch.tensor(25.0).log())  # all targets are equally near
    assert not of_x.any()
    assert not of_y.any()


@pytest.mark.parametrize("at_once", [1, 2, 5])
@pytest.mark.parametrize("product", ["fp32", "bf16"])
@pytest.mark.parametrize("y_wanted", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_samples_computed_at_once_give_what_each_gives_alone(
    monkeypatch: pytest.MonkeyPatch, at_once: int, product: Any, y_wanted: bool, masked: bool
) -> None:
    x, y = torch.randn(5, 8, 9, 9), torch.randn(5, 8, 9, 9)
    x[1] = torch.randn(8, 1, 1)  # one row holds all maxima; in the other samples, many do
    x[3] = y[3] + 0.1 * x[3]
    masks = {role: torch.rand(5, 9, 9) < 0.8 if masked else None for role in ("x_mask", "y_mask")}

    def loss(samples: slice) -> tuple[Tensor, ...]:
        a, b = x[samples].clone().requires_grad_(), y[samples].clone().requires_grad_(y_wanted)
        of = {role: mask if mask is None else mask[samples] for role, mask in masks.items()}
        losses = contextual_loss(a, b, product=product, centering="sample", reduction="none", **of)
        return losses.detach(), *torch.autograd.grad(losses.sum(), [a, b] if y_wanted else [a])

    alone = [loss(slice(n, n + 1)) for n in range(5)]
    monkeypatch.setattr(contextual_kernel, "_division", lambda x, y: (81, _groups(len(x), at_once)))
    for together, parts in zip(loss(slice(0, 5)), zip(*alone, strict=True), strict=True):
        assert_close(together, torch.cat(parts), rtol=1e-4, atol=1e-6)


def test_only_rows_that_hold_a_maximum_are_multiplied_again(monkeypatch: pytest.MonkeyPatch) -> None:
    multiplied, pull = [], contextual_scores.InnerProducts.pull

    def recorded(self: Any, weights: Tensor, top: Tensor) -> Tensor:
        multiplied.append(weights.shape[1])
        return pull(self, weights, top)

    monkeypatch.setattr(contextual_scores.InnerProducts, "pull", recorded)
    x, y = torch.randn(2, 4, 1, 1).expand(2, 4, 5, 5), torch.randn(2, 4, 5, 5)  # the first of equal rows
    gradient(contextual_loss, x, y)
    assert multiplied == [1]


def _groups(samples: int, at_once: int) -> list[slice]:
    return [slice(first, first + at_once) for first in range(0, samples, at_once)]


@pytest.mark.usefixtures("_small_blocks")
def test_of_equal_vectors_the_first_gets_the_gradient() -> None:
    once, y = torch.randn(1, 4, 4, 8).double(), torch.randn(1, 4, 9, 9).double()
    x = torch.cat([once, once], dim=2)  # a block of 32 rows, twice
    of_x = gradient(contextual_loss, x, y)
    assert_close(of_x[:, :, :4], gradient(contextual_loss, once, y))
    assert not of_x[:, :, 4:].any()
    x[:, :, 0, 1:3] = x[:, :, 0, :1]  # and within a block
    assert not gradient(contextual_loss, x, y)[:, :, 0, 1:3].any()


def test_rounding_errors_do_not_make_a_distance_negative() -> None:
    y = torch.randn(1, 64, 12, 12)
    assert contextual_loss(y, y, eps=1e-9) < 1e-4


def test_is_zero_for_the_same_vectors_in_another_order() -> None:
    y = torch.randn(1, 16, 6, 6)
    shuffled = y.flatten(2)[:, :, torch.randperm(36)].view_as(y)
    assert contextual_loss(shuffled, y) < 1e-4
    assert contextual_loss(torch.randn_like(y), y) > 0.5


@pytest.mark.usefixtures("_small_blocks")
@pytest.mark.parametrize("place", [0, 4, 8])
def test_nan_is_preserved(place: int) -> None:
    x, y = torch.randn(1, 4, 9, 9), torch.randn(1, 4, 3, 3)
    x[0, 0, place, 1] = math.nan
    assert contextual_loss(x, y).isnan()
    assert contextual_loss(y, x).isnan()


@pytest.mark.parametrize("onednn", [True, False])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_converted_to_float32_and_autocast_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, onednn: bool
) -> None:
    if not onednn:  # other products would be cast
        monkeypatch.setattr(contextual_scores, "_onednn_serves", lambda x: False)
    x, y = torch.randn(1, 8, 6, 6).to(dtype), torch.randn(1, 8, 6, 6).to(dtype)
    expected = with_gradients(contextual_loss, x.float(), y.float())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = with_gradients(contextual_loss, x, y)
        alone = gradient(contextual_loss, x.float(), y.float())
    assert inside[0].dtype == torch.float32
    assert_close(inside[0], expected[0])
    assert_close(inside[1], expected[1].to(dtype))
    assert_close(alone, expected[1], rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("size", [(6, 7), (32, 32)])  # the latter has columns in one set of a CPU's cache
def test_gradient_of_channels_last_features_is_the_same(size: tuple[int, int]) -> None:
    x, y = torch.randn(2, 8, *size), torch.randn(2, 8, *size)
    last = gradient(
        contextual_loss,
        x.contiguous(memory_format=torch.channels_last),
        y.contiguous(memory_format=torch.channels_last),
    )
    assert_close(last, gradient(contextual_loss, x, y), rtol=1e-4, atol=1e-7)


def test_does_not_change_its_inputs() -> None:
    for layout in (torch.contiguous_format, torch.channels_last):
        x, y = (torch.randn(2, 8, 6, 7).contiguous(memory_format=layout) for _ in range(2))
        before = x.clone(), y.clone()
        with_gradients(contextual_loss, x, y)
        assert torch.equal(x, before[0])
        assert torch.equal(y, before[1])


class LargestTensor(TorchDispatchMode):
    """Records the largest number of elements that an operation returned."""

    elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, (tuple, list)) else [out]:
            if isinstance(tensor, Tensor):
                self.elements = max(self.elements, tensor.numel())
        return out


@pytest.mark.usefixtures("_small_blocks")
@pytest.mark.parametrize("arguments", [{}, {"symmetric": True}, {"distance": "l2"}, {"distance": "l1"}])
def test_memory_is_linear_in_the_positions(arguments: dict[str, Any]) -> None:
    x, y = torch.randn(1, 4, 40, 40, requires_grad=True), torch.randn(1, 4, 40, 40, requires_grad=True)
    with LargestTensor() as largest:
        contextual_loss(x, y, **arguments).backward()
    assert largest.elements < 1600 * 1600 / 20


def test_bf16_is_close_on_similar_images_and_safe_in_flat_regions() -> None:
    y = torch.randn(1, 64, 24, 24)
    y[:, :, :8] = y[:, :, :1, :1] + 1e-4 * torch.randn(1, 64, 8, 24)  # there distances are 1e-9
    x = y + 0.8 * torch.randn_like(y)
    x[:, :, :8] = y[:, :, :8] + 1e-4 * torch.randn(1, 64, 8, 24)
    full, coarse = (
        with_gradients(partial(contextual_loss, product=product), x, y) for product in ("fp32", "bf16")
    )
    assert_close(coarse[0], full[0], rtol=1e-2, atol=0)
    for rows in (slice(0, 8), slice(8, None)):
        a, b = full[1][:, :, rows].flatten(), coarse[1][:, :, rows].flatten()
        assert functional.cosine_similarity(a, b, dim=0) > 0.9
        assert not torch.equal(a, b)


def test_draws_the_same_positions_in_images_of_one_size() -> None:
    y = torch.randn(2, 16, 10, 10)
    assert contextual_loss(y, y, max_positions=20) < 1e-3
    assert contextual_loss(y, torch.randn(2, 16, 10, 11), max_positions=20) > 0.5


def test_drawing_follows_its_generator_and_uses_all_positions_of_small_maps() -> None:
    x, y = torch.randn(1, 4, 6, 6), torch.randn(1, 4, 6, 6)

    def drawn(seed: int) -> Tensor:
        return contextual_loss(x, y, max_positions=9, generator=torch.Generator().manual_seed(seed))

    assert torch.equal(drawn(1), drawn(1))
    assert not torch.equal(drawn(1), drawn(2))
    assert torch.equal(contextual_loss(x, y, max_positions=36), contextual_loss(x, y))


def test_samples_share_the_mean_and_nothing_else() -> None:
    x, y = torch.randn(3, 4, 5, 5).double(), torch.randn(3, 4, 5, 5).double()
    y -= y.mean(dim=(2, 3), keepdim=True)  # now every sample has the batch's mean
    alone = torch.stack([contextual_loss(x[i : i + 1], y[i : i + 1]) for i in range(3)])
    assert_close(contextual_loss(x, y), alone.mean())


def test_runs_the_same_on_a_device(device: torch.device) -> None:
    x, y = torch.randn(2, 8, 12, 12), torch.randn(2, 8, 10, 9)
    here = with_gradients(contextual_loss, x, y)
    for a, b in zip(with_gradients(contextual_loss, x.to(device), y.to(device)), here, strict=True):
        assert_close_to_its_largest(a.cpu(), b, 1e-3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"bandwidth": 0}, "expected bandwidth above 0, got 0"),
        ({"eps": -1.0}, "expected eps above 0"),
        ({"distance": "cos"}, "expected cosine, l2, l1 as distance, got 'cos'"),
        ({"product": "fp16"}, "expected fp32, bf16 as product, got 'fp16'"),
        ({"product": "bf16", "distance": "l2"}, "'bf16' is for the cosine distance, got 'l2'"),
        ({"max_positions": 0}, "expected a whole number of at least 1 or none as max_positions, got 0"),
        ({"max_positions": 2.5}, "expected a whole number of at least 1 or none as max_positions, got 2.5"),
        ({"bandwidth": "0.1"}, "expected bandwidth above 0, got '0.1'"),
    ],
)
def test_an_argument_out_of_range_is_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionsError, match=f"contextual_loss: .*{message}"):
        contextual_loss(torch.rand(1, 3, 4, 4), torch.rand(1, 3, 4, 4), **arguments)


@pytest.mark.parametrize("shape", [(1, 4, 4, 4), (2, 3, 4, 4), (3, 4, 4), (1, 3, 0, 4)])
def test_the_error_names_both_shapes_when_they_do_not_fit(shape: tuple[int, ...]) -> None:
    with pytest.raises(ImageError, match=r"x \(1, 3, 4, 4\) and y \("):
        contextual_loss(torch.rand(1, 3, 4, 4), torch.rand(shape))


@pytest.fixture(scope="module")
def alexnet(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Arguments for a network with random weights."""
    path = tmp_path_factory.mktemp("weights") / "made_up.safetensors"
    save_state(path, FeatureExtractor.random("alexnet").state_dict())
    return {"vgg_type": "alexnet", "weights_path": path}


def test_the_loss_on_images_is_the_weighted_loss_of_their_features(alexnet: dict[str, Any]) -> None:
    loss = ContextualLoss({"conv2": 2.0, "relu1": 0.5}, bandwidth=0.5, **alexnet)
    sr, gt = torch.rand(2, 3, 64, 64, requires_grad=True), torch.rand(2, 3, 56, 72)
    network = loss.extractor
    assert network is not None
    sr_features, gt_features = network(sr, ["conv2", "relu1"]), network(gt, ["conv2", "relu1"])
    expected = sum(
        weight * contextual_loss(sr_features[name], gt_features[name], bandwidth=0.5)
        for name, weight in {"conv2": 2.0, "relu1": 0.5}.items()
    )
    value = loss(sr, gt)
    assert_close(value, expected)
    value.backward()
    assert sr.grad is not None
    assert sr.grad.abs().sum() > 0
    assert not any(p.requires_grad for p in loss.parameters())


def test_the_loss_on_images_passes_on_every_argument(alexnet: dict[str, Any]) -> None:
    given: dict[str, Any] = {
        "bandwidth": 0.3,
        "eps": 1e-3,
        "distance": "l2",
        "symmetric": True,
        "max_positions": 7,
        "product": "fp32",
        "centering": "sample",
        "reduction": "sum",
    }
    loss = ContextualLoss({"conv2": 1.0}, **given, **alexnet)
    assert loss.formula.keywords == given


def test_the_loss_on_images_names_wrong_arguments(alexnet: dict[str, Any]) -> None:
    with pytest.raises(OptionsError, match=r"ContextualLoss: expected layer_weights as \{conv3_4: 1\}"):
        ContextualLoss("conv2", **alexnet)  # type: ignore[arg-type]  # the mistake under test
    with pytest.raises(OptionsError, match="conv9"):
        ContextualLoss({"conv9": 1.0}, **alexnet)
    with pytest.raises(OptionsError, match="ContextualLoss: expected bandwidth above 0"):
        ContextualLoss({"conv2": 1.0}, bandwidth=-1, **alexnet)


def test_optimising_features_lowers_the_loss_against_a_shifted_target() -> None:
    torch.manual_seed(0)
    target = torch.rand(1, 8, 8, 8)
    x = nn.Parameter(torch.rand(1, 8, 8, 8))
    optimizer = torch.optim.Adam([x], lr=0.05)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = contextual_loss(x, target.roll(1, dims=3))
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]

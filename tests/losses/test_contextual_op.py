"""The contextual losses under torch.compile and torch.func, and as they are computed on a GPU."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from srcx.errors import ImageError, OptionsError
from srcx.losses import contextual_kernel, contextual_scores
from srcx.losses.contextual import ContextualLoss, contextual_loss
from srcx.losses.contextual_bilateral import contextual_bilateral_loss
from srcx.losses.contextual_directions import _backward as directions_backward
from srcx.losses.contextual_directions import _directions
from srcx.losses.contextual_kernel import Formula
from srcx.losses.contextual_op import _backward, _similarity

WAYS: dict[str, Callable[..., Tensor]] = {
    "cosine": contextual_loss,
    "l2": partial(contextual_loss, distance="l2", bandwidth=0.5),
    "l1": partial(contextual_loss, distance="l1", bandwidth=0.5),
    "symmetric": partial(contextual_loss, symmetric=True),
    "sum": contextual_bilateral_loss,
    "mix": partial(contextual_bilateral_loss, form="mix"),
}


def inputs(
    *, y_wanted: bool = False, masked: bool = False
) -> tuple[tuple[Tensor, Tensor], dict[str, Tensor]]:
    x = torch.randn(3, 6, 7, 9, requires_grad=True)
    y = torch.randn(3, 6, 8, 5, requires_grad=y_wanted)
    masks = {"x_mask": torch.rand(3, 7, 9) < 0.7, "y_mask": torch.rand(3, 8, 5) < 0.7}
    return (x, y), masks if masked else {}


def value_and_gradients(loss: Callable[..., Tensor], pair: tuple[Tensor, Tensor], masks: Any) -> list[Tensor]:
    value = loss(*pair, **masks)
    return [value.detach(), *torch.autograd.grad(value, [z for z in pair if z.requires_grad])]


def assert_same_to_1e_6(ours: list[Tensor], theirs: list[Tensor]) -> None:
    for a, b in zip(ours, theirs, strict=True):
        assert (a - b).abs().max() <= 1e-6 * b.abs().max()


@pytest.mark.parametrize(
    ("x_alone", "products", "masked"),
    [(True, True, False), (True, True, True), (False, True, True), (False, False, False)],
)
@pytest.mark.filterwarnings("ignore:The .grad attribute")  # which opcheck looks at
def test_the_operators_keep_torchs_rules(x_alone: bool, products: bool, masked: bool) -> None:
    x, y = torch.randn(2, 7, 4, requires_grad=True), torch.randn(2, 5, 4, requires_grad=not x_alone)
    masks = [torch.rand(2, n) < 0.8 if masked else None for n in (7, 5)]
    of_x, of_y = (torch.rand(n, 2) if products else None for n in (7, 5))
    formula = Formula(0.5, 1e-5, products=products, space_weight=0.1 * products, prior_weight=0.2 * products)
    given = (x, y, *masks, of_x, of_y, *formula)
    tests = ("test_schema", "test_autograd_registration", "test_faketensor", "test_aot_dispatch_dynamic")
    torch.library.opcheck(_similarity, (*given, x_alone), test_utils=tests)
    with torch.no_grad():
        _, *saved = _similarity(*given, x_alone)
    given = (torch.rand(2), *(z if z is None else z.detach() for z in given[:6]), *saved, *formula)
    torch.library.opcheck(
        _backward, (*given, True, not x_alone), test_utils=("test_schema", "test_faketensor")
    )


@pytest.mark.filterwarnings("ignore:The .grad attribute")
def test_the_operators_of_directions_keep_torchs_rules() -> None:
    features, center = torch.randn(2, 4, 7, requires_grad=True), torch.randn(1, 1, 4, requires_grad=True)
    torch.library.opcheck(_directions, (features, center, 0.5))
    torch.library.opcheck(_directions, (features, torch.randn(2, 1, 4), 1.0))
    toward, scale = (z.detach() for z in _directions(features, center, 0.5))
    torch.library.opcheck(
        directions_backward,
        (torch.rand_like(toward), toward, scale, 0.5),
        test_utils=("test_schema", "test_faketensor"),
    )


@pytest.mark.parametrize(
    ("way", "y_wanted", "masked"), [*((way, False, False) for way in WAYS), ("cosine", True, True)]
)
def test_compiled_in_one_graph_it_is_the_same(way: str, y_wanted: bool, masked: bool) -> None:
    torch._dynamo.reset()
    compiled = torch.compile(WAYS[way], fullgraph=True, backend="aot_eager")
    pair, masks = inputs(y_wanted=y_wanted, masked=masked)
    expected = value_and_gradients(WAYS[way], pair, masks)
    assert_same_to_1e_6(value_and_gradients(compiled, pair, masks), expected)


@pytest.mark.slow
def test_compiled_by_inductor_the_loss_on_images_is_the_same() -> None:
    torch._dynamo.reset()
    loss = ContextualLoss(features=torch.nn.AvgPool2d(2))
    compiled = torch.compile(loss, fullgraph=True)
    pair = torch.rand(2, 3, 12, 16, requires_grad=True), torch.rand(2, 3, 12, 16)
    masks = {"y_mask": torch.rand(2, 12, 16) < 0.9}
    assert_same_to_1e_6(value_and_gradients(compiled, pair, masks), value_and_gradients(loss, pair, masks))


def test_torch_func_has_the_value_and_refuses_a_gradient_instead_of_a_wrong_one() -> None:
    (x, y), _ = inputs()
    with torch.no_grad():
        assert_close(
            torch.func.functional_call(ContextualLoss(features=torch.nn.Identity()), {}, (x, y)),
            contextual_loss(x, y),
        )
    with pytest.raises(RuntimeError, match="functorch transforms"):
        torch.func.grad(contextual_loss)(x.detach(), y)


def test_errors_are_the_same_inside_torch_func_and_torch_compile() -> None:
    x, y = torch.rand(1, 3, 4, 4), torch.rand(1, 5, 4, 4)
    for inside in (torch.func.grad, partial(torch.compile, backend="eager")):
        with pytest.raises(
            ImageError, match=r"contextual_loss: x and y .* got x \(1, 3, 4, 4\) and y \(1, 5"
        ):
            inside(contextual_loss)(x, y)
        with pytest.raises(OptionsError, match="expected bandwidth above 0, got 0"):
            inside(partial(contextual_loss, bandwidth=0))(x, x)


def test_a_second_derivative_is_refused() -> None:
    (x, y), _ = inputs()
    (first,) = torch.autograd.grad(contextual_loss(x, y), x, create_graph=True)
    with pytest.raises(RuntimeError, match=r"backward through srcx\..*no autograd formula"):
        first.sum().backward()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("y_wanted", [False, True])
def test_a_gpus_way_gives_the_same(way: str, y_wanted: bool) -> None:
    for masked in (False, True):
        pair, masks = inputs(y_wanted=y_wanted, masked=masked)
        pair = tuple(z.detach().double().requires_grad_(z.requires_grad) for z in pair)
        expected = value_and_gradients(WAYS[way], pair, masks)
        with pytest.MonkeyPatch.context() as patch:
            for module in (contextual_kernel, contextual_scores):
                patch.setattr(module, "on_cpu", lambda x: False)
            for block_mib in (0, 128):
                patch.setattr(contextual_kernel, "BLOCK_MIB_GPU", block_mib)
                ours = value_and_gradients(WAYS[way], pair, masks)
                for a, b in zip(ours, expected, strict=True):
                    assert_close(a, b, rtol=1e-9, atol=1e-11)


@pytest.mark.cuda
@pytest.mark.parametrize("way", WAYS)
def test_on_a_gpu_it_is_the_same_each_time_and_the_host_does_not_wait(way: str) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device here")
    (x, y), _ = inputs()
    pair = x.detach().cuda().requires_grad_(), y.cuda()
    expected = value_and_gradients(WAYS[way], pair, {})
    again = value_and_gradients(WAYS[way], pair, {})
    assert all(torch.equal(a, b) for a, b in zip(again, expected, strict=True))
    torch.cuda.synchronize()
    if way in ("cosine", "l2", "sum", "mix"):  # of the others the backward waits once
        torch.cuda.set_sync_debug_mode("error")
        try:
            value_and_gradients(WAYS[way], pair, {})
        finally:
            torch.cuda.set_sync_debug_mode("default")

"""The contextual similarity as an operator of torch, which `torch.compile` takes into its graph as it is.

It has no second derivative. The gradients of `torch.func` refuse it: torch has no rule for operators yet.
"""

from typing import Any

import torch
from torch import Tensor

from srcx.losses.contextual_kernel import Formula, Saved, backward, forward
from srcx.losses.contextual_scores import Space

__all__ = ["contextual_similarity"]

TENSORS = 6
GIVEN = "Tensor x, Tensor y, Tensor? x_mask, Tensor? y_mask, Tensor? of_x, Tensor? of_y"
# The fields of `Formula`.
CONSTANTS = "float bandwidth, float eps, bool products, float bias, bool bf16, float space, float prior"


def contextual_similarity(
    x: Tensor,
    y: Tensor,
    formula: Formula,
    *,
    x_mask: Tensor | None = None,
    y_mask: Tensor | None = None,
    of_x: Tensor | None = None,
    of_y: Tensor | None = None,
) -> Tensor:
    """Return CX of each sample, with a gradient for x and y.

    Args:
        x: Rows, (B, N, K).
        y: Targets, (B, M, K).
        formula: The constants.
        x_mask: True for the rows that count, (B, N); None for all.
        y_mask: True for the targets that count, (B, M); None for all.
        of_x: Positions of the rows, (N, D), for a formula with distances in space.
        of_y: Positions of the targets, (M, D).

    Returns:
        (B,), above 0 and at most 1; 1, without a gradient, where no row or no target counts.
    """
    # Only saves time: the gradients are right in any case.
    x_alone = torch.is_grad_enabled() and x.requires_grad and not y.requires_grad
    similarity: Tensor = _similarity(x, y, x_mask, y_mask, of_x, of_y, *formula, x_alone)[0]
    for mask in (x_mask, y_mask):
        if mask is not None:
            similarity = similarity.where(mask.any(1), 1)
    return similarity


@torch.library.custom_op(
    "srcx::contextual_similarity",
    mutates_args=(),
    schema=f"({GIVEN}, {CONSTANTS}, bool x_alone) -> ({', '.join(['Tensor'] * (1 + len(Saved._fields)))})",
)
def _similarity(
    x: Tensor,
    y: Tensor,
    x_mask: Tensor | None,
    y_mask: Tensor | None,
    of_x: Tensor | None,
    of_y: Tensor | None,
    *constants: Any,
) -> tuple[Tensor, ...]:
    """Return CX, (B,), and the fields of `Saved`."""
    *numbers, x_alone = constants
    formula = Formula(*numbers)
    with_others = x_alone and formula.products
    similarity, saved = forward(x, y, x_mask, y_mask, _space(of_x, of_y), formula, with_others=with_others)
    return similarity, *saved


@_similarity.register_fake
def _(x: Tensor, y: Tensor, *others: Any) -> tuple[Tensor, ...]:
    *_, products, _bias, _bf16, _space, _prior, x_alone = others
    return x.new_empty(len(x)), *Saved.empty(x, y, with_others=x_alone and products)


@torch.library.custom_op(
    "srcx::contextual_similarity_backward",
    mutates_args=(),
    schema=f"(Tensor grad, {GIVEN}, {', '.join(f'Tensor {name}' for name in Saved._fields)}, {CONSTANTS}, "
    "bool x_wanted, bool y_wanted) -> (Tensor, Tensor)",
)
def _backward(
    grad: Tensor,
    x: Tensor,
    y: Tensor,
    x_mask: Tensor | None,
    y_mask: Tensor | None,
    of_x: Tensor | None,
    of_y: Tensor | None,
    *others: Any,
) -> tuple[Tensor, Tensor]:
    """Return the gradients of x and y, empty where they are not wanted."""
    saved, (*numbers, x_wanted, y_wanted) = Saved(*others[: len(Saved._fields)]), others[len(Saved._fields) :]
    gradients = backward(
        grad,
        x,
        y,
        y_mask,
        _space(of_x, of_y),
        saved,
        Formula(*numbers),
        of_x=x_wanted,
        of_y=y_wanted,
    )
    of_rows, of_targets = (x.new_empty(0) if one is None else one for one in gradients)
    return of_rows, of_targets


@_backward.register_fake
def _(grad: Tensor, x: Tensor, y: Tensor, *others: Any) -> tuple[Tensor, Tensor]:
    x_wanted, y_wanted = others[-2:]
    of_rows, of_targets = (
        torch.empty_like(z) if wanted else z.new_empty(0) for z, wanted in ((x, x_wanted), (y, y_wanted))
    )
    return of_rows, of_targets


def _space(of_x: Tensor | None, of_y: Tensor | None) -> Space | None:
    return None if of_x is None or of_y is None else Space(of_x, of_y)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    tensors, ctx.constants = inputs[:TENSORS], inputs[TENSORS:-1]
    ctx.save_for_backward(*tensors, *output[1:])
    ctx.mark_non_differentiable(*output[1:])
    ctx.set_materialize_grads(False)


def _autograd(ctx: Any, grad: Tensor | None, *_: None) -> tuple[Tensor | None, ...]:
    nothing = (None,) * (TENSORS - 2 + len(Formula._fields) + 1)
    if grad is None:
        return None, None, *nothing
    wanted = ctx.needs_input_grad[:2]
    gradients = _backward(grad, *ctx.saved_tensors, *ctx.constants, *wanted)
    return *(one if want else None for one, want in zip(gradients, wanted, strict=True)), *nothing


_similarity.register_autograd(_autograd, setup_context=_setup_context)

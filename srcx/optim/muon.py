"""Muon: momentum whose step has equal singular values, for convolutions; Adam for what is not a matrix."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer

from srcx.errors import OptionsError

__all__ = ["Muon", "orthogonal"]

LEAST_SIDE = 32
"""Adam optimises matrices with fewer rows or columns (first and last convolutions), and vectors."""

LEAST_NORM = 1e-15
"""Smallest norm by which a momentum is divided. The momentum of a layer without a gradient, as behind dead
ReLUs, decays until the squares of its entries are 0 in float32; divided by that norm it would be infinite."""

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic iteration: five rounds bring singular values from 0.002 to 1 between 0.68 and 1.21."""


class Muon(Optimizer):
    """Orthogonalised momentum on the weights of convolutions and linear layers, Adam on all else.

    A kernel (out, in, h, w) is the matrix (out, in·h·w). Its step is the matrix nearest to the momentum
    whose singular values are all 1, scaled to the root mean square of Adam's usual step, so that learning
    rates chosen for Adam fit. The steps of Adam, on biases and small kernels, are scaled by the same factor:
    without it the biases change faster than the kernels, and more ReLUs die.

    Args:
        params: Weights, or groups of them.
        lr: Learning rate of both.
        momentum: Decay of the momentum of matrices; the step is Nesterov's.
        betas: Adam's two decay rates.
        eps: Adam's; added to the root of the second moment.
        weight_decay: Decoupled decay, as AdamW's: each step subtracts `lr` times this share of the weight, so
            that the decay falls to 0 with the learning rate.
        step_rms: Root mean square of a step, divided by `lr`.
        cautious: Decay only the weights that the step moves towards 0.

    Raises:
        OptionsError: an argument is out of range.

    References:
        Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024; the scale of the
        step is that of Liu et al., "Muon is Scalable for LLM Training", arXiv:2502.16982; `cautious` is
        Chen et al., "Cautious Weight Decay", arXiv:2510.12402.
        Differs from the first two: no bf16 inside, since the products are small beside a network's; and
        Adam's steps are scaled by `step_rms` too. Unscaled, 38 of MSRResNet's 1,024 ReLUs were dead after
        300 iterations at 1e-3; scaled, 17.
    """

    def __init__(
        self,
        params: Iterable[Parameter] | Iterable[dict[str, Any]],
        lr: float = 1e-3,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.99),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        step_rms: float = 0.2,
        cautious: bool = False,
    ) -> None:
        for name, number in {"momentum": momentum, "betas[0]": betas[0], "betas[1]": betas[1]}.items():
            if not 0 <= number < 1:
                raise OptionsError(f"Muon: expected {name} in [0, 1), got {number!r}")
        for name, number in {"lr": lr, "eps": eps, "step_rms": step_rms}.items():
            if not number > 0:
                raise OptionsError(f"Muon: expected {name} above 0, got {number!r}")
        if not isinstance(cautious, bool):
            raise OptionsError(f"Muon: expected cautious to be true or false, got {cautious!r}")
        if cautious and not weight_decay:
            raise OptionsError("Muon: cautious needs a decay; set weight_decay above 0")
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "betas": tuple(betas),
                "eps": eps,
                "weight_decay": weight_decay,
                "step_rms": step_rms,
                "cautious": cautious,
            },
        )

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                is_matrix = weight.ndim >= 2 and min(weight.flatten(1).shape) >= LEAST_SIDE
                update = self._orthogonal_step if is_matrix else self._adam_step
                update(weight, weight.grad, group)
        return loss

    def _orthogonal_step(self, weight: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[weight]
        if not state:
            state["momentum"] = torch.zeros_like(weight)
        momentum = state["momentum"].mul_(group["momentum"]).add_(gradient)
        ahead = gradient.add(momentum, alpha=group["momentum"])
        step = orthogonal(ahead.flatten(1)).view_as(ahead)
        _decay(weight, step, group)
        # Entries of a matrix with singular values 1 have a root mean square of 1 / sqrt(longer side).
        length = group["step_rms"] * max(ahead.flatten(1).shape) ** 0.5
        weight.add_(step, alpha=-group["lr"] * length)

    def _adam_step(self, weight: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[weight]
        if not state:
            state.update(step=0, mean=torch.zeros_like(weight), square=torch.zeros_like(weight))
        state["step"] += 1
        beta1, beta2 = group["betas"]
        mean = state["mean"].lerp_(gradient, 1 - beta1)
        square = state["square"].mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        root = (square / (1 - beta2 ** state["step"])).sqrt_().add_(group["eps"])
        _decay(weight, mean, group)
        rate = group["lr"] * group["step_rms"]
        weight.addcdiv_(mean, root, value=-rate / (1 - beta1 ** state["step"]))


def _decay(weight: Tensor, step: Tensor, group: dict[str, Any]) -> None:
    """Decay the weights from which `step`, times positive factors, is subtracted next."""
    share = group["lr"] * group["weight_decay"]
    if group["cautious"]:
        weight.sub_(weight * (weight * step >= 0), alpha=share)
    else:
        weight.mul_(1 - share)


def orthogonal(matrix: Tensor, rounds: int = 5) -> Tensor:
    """Return nearly the matrix with the same singular vectors whose singular values are all 1.

    Args:
        matrix: (rows, columns); the result of one whose norm is below `LEAST_NORM` is smaller, down to zero.
        rounds: Of the Newton-Schulz iteration. After five, singular values that were at least 0.002 of the
            norm lie between 0.68 and 1.21, which is close enough for a step; smaller ones stay smaller.

    Example:
        >>> values = torch.linalg.svdvals(orthogonal(torch.diag(torch.tensor([3.0, 1.0, 0.5]))))
        >>> bool((values > 0.6).all() and (values < 1.3).all())
        True
    """
    if matrix.shape[0] > matrix.shape[1]:
        return orthogonal(matrix.T, rounds).T
    a, b, c = COEFFICIENTS
    x = matrix / matrix.norm().clamp_min(LEAST_NORM)
    # Each round multiplies x from the left by a polynomial of square = x xᵀ, and all of these commute. So the
    # rounds run on (rows, rows) matrices, and two products have the long side, not two in each round.
    square = x @ x.T
    product = torch.eye(len(square), dtype=x.dtype, device=x.device)
    for _ in range(rounds):
        factor = torch.addmm(square, square, square, beta=b, alpha=c)
        factor.diagonal().add_(a)
        product = factor @ product
        square = factor @ square @ factor
    return product @ x

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
"""Matrices with fewer rows or columns (first and last convolutions) are taught by Adam, as vectors are."""

LEAST_NORM = 1e-15
"""Of a momentum that is a direction. That of a layer without a gradient, as behind units that died, fades
until the squares of its entries are no numbers of float32 any more: normed by them it would be infinite."""

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic iteration: they bring a singular value from anywhere in (0, 1] to about 1 in five rounds."""


class Muon(Optimizer):
    """Orthogonalised momentum on the weights of convolutions and linear layers, Adam on all else.

    A kernel (out, in, h, w) is taken as the matrix (out, in·h·w). Its momentum is replaced by the nearest
    matrix whose singular values are all 1, scaled to the root mean square of Adam's usual step, so that
    learning rates made for Adam are of the right size. Adam's own steps, on biases and thin kernels, are
    shortened as much: at full length they outrun the kernels, and more units fall silent for good.

    Args:
        params: Weights, or groups of them.
        lr: Learning rate of both.
        momentum: Decay of the momentum of matrices, taken with Nesterov's look ahead.
        betas: Adam's two decay rates.
        eps: Adam's; added to the root of the second moment.
        weight_decay: Decoupled decay, as AdamW's.
        step_rms: Root mean square of a step, in parts of `lr`.

    Raises:
        OptionsError: an argument is out of range.

    References:
        Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024; the scale of the
        step is that of Liu et al., "Muon is Scalable for LLM Training", arXiv:2502.16982.
        Differs from both: no bf16 inside, since the products are small beside a network's; and Adam's steps
        are scaled by `step_rms` too. With them at full length 38 of MSRResNet's 1,024 units were silent after
        300 iterations at 1e-3, with it 17.
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
    ) -> None:
        for name, number in {"momentum": momentum, "betas[0]": betas[0], "betas[1]": betas[1]}.items():
            if not 0 <= number < 1:
                raise OptionsError(f"Muon: expected {name} in [0, 1), got {number!r}")
        for name, number in {"lr": lr, "eps": eps, "step_rms": step_rms}.items():
            if not number > 0:
                raise OptionsError(f"Muon: expected {name} above 0, got {number!r}")
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "betas": tuple(betas),
                "eps": eps,
                "weight_decay": weight_decay,
                "step_rms": step_rms,
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
                weight.mul_(1 - group["lr"] * group["weight_decay"])
                teach = self._as_matrix if _is_matrix(weight) else self._as_vector
                teach(weight, weight.grad, group)
        return loss

    def _as_matrix(self, weight: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[weight]
        if not state:
            state["momentum"] = torch.zeros_like(weight)
        momentum = state["momentum"].mul_(group["momentum"]).add_(gradient)
        ahead = gradient.add(momentum, alpha=group["momentum"])
        step = orthogonal(ahead.flatten(1)).view_as(ahead)
        # Entries of a matrix with singular values 1 have a root mean square of 1 / sqrt(longer side).
        length = group["step_rms"] * max(ahead.flatten(1).shape) ** 0.5
        weight.add_(step, alpha=-group["lr"] * length)

    def _as_vector(self, weight: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[weight]
        if not state:
            state.update(step=0, mean=torch.zeros_like(weight), square=torch.zeros_like(weight))
        state["step"] += 1
        beta1, beta2 = group["betas"]
        mean = state["mean"].lerp_(gradient, 1 - beta1)
        square = state["square"].mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        root = (square / (1 - beta2 ** state["step"])).sqrt_().add_(group["eps"])
        rate = group["lr"] * group["step_rms"]
        weight.addcdiv_(mean, root, value=-rate / (1 - beta1 ** state["step"]))


def orthogonal(matrix: Tensor, rounds: int = 5) -> Tensor:
    """About the matrix with the same singular vectors whose singular values are all 1.

    Args:
        matrix: (rows, columns); one whose norm is below `LEAST_NORM` gives less, down to zero.
        rounds: Of the Newton-Schulz iteration; after five, values lie between 0.7 and 1.2, which is
            near enough for a step.

    Example:
        >>> values = torch.linalg.svdvals(orthogonal(torch.diag(torch.tensor([3.0, 1.0, 0.5]))))
        >>> bool((values > 0.6).all() and (values < 1.3).all())
        True
    """
    if matrix.shape[0] > matrix.shape[1]:
        return orthogonal(matrix.T, rounds).T
    a, b, c = COEFFICIENTS
    x = matrix / matrix.norm().clamp_min(LEAST_NORM)
    for _ in range(rounds):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return x


def _is_matrix(weight: Tensor) -> bool:
    return weight.ndim >= 2 and min(weight.flatten(1).shape) >= LEAST_SIDE

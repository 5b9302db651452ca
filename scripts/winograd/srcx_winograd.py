r"""The `srcx` command on a CPU without bf16, its 3 x 3 convolutions in half the time.

The kernel beside this file is compiled at the first start, which needs a C++ compiler, ninja and an x86
processor with AVX2 or AVX-512. The numbers are those of torch's convolution up to 1e-4 of the largest,
which is checked at every start.

    python scripts/winograd/srcx_winograd.py train -opt options/shipped/srresnet_x4.yml --auto_resume
"""

import sys
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils.cpp_extension import load

from srcx.cli import main

CHANNELS = 64
MOST_ERROR = 1e-4

# Lavin and Gray's G, which brings 3 weights to 6 places, in both directions: (36, 9).
G = torch.tensor([[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]]) / 24
PLACES = torch.kron(G, G)

kernel = load(
    "srcx_winograd",
    [str(Path(__file__).with_name("winograd.cpp"))],
    extra_cflags=["-O3", "-march=native", "-fno-math-errno"],
)


def packed(weight: Tensor) -> Tensor:
    """Weights (K, C, 3, 3) transformed, as the kernel reads them: (K / 64, C / 64, 36, 64, 64)."""
    k, c = weight.shape[:2]
    places = PLACES @ weight.permute(2, 3, 1, 0).reshape(9, c * k)
    groups = places.view(36, c // CHANNELS, CHANNELS, k // CHANNELS, CHANNELS)
    return groups.permute(3, 1, 0, 2, 4).contiguous()


def unpacked(gradient: Tensor) -> Tensor:
    """The gradient of the weights from that of the packed ones."""
    k, c = (CHANNELS * groups for groups in gradient.shape[:2])
    places = gradient.permute(2, 1, 3, 0, 4).reshape(36, c * k)
    return (PLACES.T @ places).view(3, 3, c, k).permute(3, 2, 0, 1)


def innermost(maps: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, H, W, C), contiguous; free where the memory is channels-last already."""
    return maps.permute(0, 2, 3, 1).contiguous()


class Winograd(torch.autograd.Function):
    """conv2d(x, weight, bias, padding=1) of 3 x 3 weights."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.has_bias = bias is not None
        return kernel.convolve(innermost(x), packed(weight), bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        gradient = innermost(gradients[0])
        of_x = of_weight = of_bias = None
        if ctx.needs_input_grad[0]:
            of_x = kernel.convolve(gradient, packed(weight.flip(2, 3).transpose(0, 1)), None)
        if ctx.needs_input_grad[1]:
            of_weight = unpacked(kernel.weight_gradient(innermost(x), gradient))
        if ctx.has_bias and ctx.needs_input_grad[2]:
            of_bias = gradient.sum((0, 1, 2))
        return of_x, of_weight, of_bias


class Faster(TorchFunctionMode):
    """Inside its `with` block, every convolution that the kernel can do is done by it."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is functional.conv2d and (known := _known(*args, **(kwargs or {}))):
            if torch.is_grad_enabled() and any(one is not None and one.requires_grad for one in known):
                return Winograd.apply(*known)
            x, weight, bias = known
            return kernel.convolve(innermost(x), packed(weight), bias)
        return func(*args, **(kwargs or {}))


def _known(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> tuple[Tensor, Tensor, Tensor | None] | None:
    """What the kernel needs of conv2d's arguments, or None where they are not for it."""
    fits = (
        weight.shape[2:] == (3, 3)
        and weight.shape[0] % CHANNELS == weight.shape[1] % CHANNELS == 0
        and groups == 1
        and all(given in (n, (n, n), [n, n]) for given, n in ((stride, 1), (padding, 1), (dilation, 1)))
        and input.dtype == weight.dtype == torch.float32
        and input.device.type == "cpu"
        and input.ndim == 4
        and not torch.is_autocast_enabled("cpu")
    )
    return (input, weight, bias) if fits else None


def check() -> None:
    """Compare values and gradients with torch's convolution, on maps that are no whole number of tiles.

    Raises:
        SystemExit: they differ by more than `MOST_ERROR` of the largest.
    """
    torch.manual_seed(0)
    given = [torch.randn(2, 64, 13, 9), torch.randn(128, 64, 3, 3), torch.randn(128)]
    of_output = torch.randn(2, 128, 13, 9)
    found: list[list[Tensor]] = []
    for convolve in (partial(functional.conv2d, padding=1), Winograd.apply):
        leaves = [one.clone().requires_grad_() for one in given]
        y = convolve(*leaves)
        found.append([y.detach(), *torch.autograd.grad(y, leaves, of_output)])
    for theirs, ours in zip(*found, strict=True):
        error = float((ours - theirs).abs().max() / theirs.abs().max())
        if not error < MOST_ERROR:
            sys.exit(f"{__file__}: the kernel is off by {error:.1e} of the largest value; do not use it")


if __name__ == "__main__":
    check()
    with Faster():
        sys.exit(main())

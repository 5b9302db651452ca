"""Time 3 x 3 convolutions, forward and backward, by the Winograd kernel against torch's, in fp32 and bf16.

The shapes are those of the shipped networks and of VGG16. Both ways take their turns, and medians are
printed. torch's weights are rounded to bf16 in each call, as autocast does it once a step. Run it on an idle
machine.

    python scripts/bench/convolution.py --threads 2 --runs 7
"""

import argparse
import statistics
from collections.abc import Callable
from functools import partial

import torch
from _bench import in_turn, load
from torch import Tensor
from torch.nn import functional

from srcx.winograd.convolution import winograd

SHAPES = [(16, 64, 64, 24), (8, 64, 64, 48), (16, 64, 256, 48), (16, 64, 64, 96), (8, 128, 128, 48)]
SHAPES += [(8, 256, 256, 24), (16, 512, 512, 12)]
"""Images, channels in, channels out, height and width."""


def by_torch(x: Tensor, weight: Tensor) -> Tensor:
    """Return torch's convolution in the number format of `x`."""
    return functional.conv2d(x, weight.to(x.dtype), padding=1)


def step(convolve: Callable[[Tensor, Tensor], Tensor], x: Tensor, weight: Tensor, of_y: Tensor) -> None:
    """Take one forward and backward pass."""
    convolve(x, weight).backward(of_y)
    x.grad = weight.grad = None


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=7)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print(f"{args.threads} threads, {args.runs} turns, {load()}")
    for n, c, k, side in SHAPES:
        weight = torch.randn(k, c, 3, 3).to(memory_format=torch.channels_last).requires_grad_()
        for dtype in (torch.float32, torch.bfloat16):
            x, of_y = (
                torch.randn(n, channels, side, side).to(dtype, memory_format=torch.channels_last)
                for channels in (c, k)
            )
            x.requires_grad_()
            ways = {"torch": by_torch, "winograd": winograd}
            works = {name: partial(step, way, x, weight, of_y) for name, way in ways.items()}
            times = {name: statistics.median(taken) for name, taken in in_turn(works, args.runs).items()}
            print(
                f"{n} x {c} -> {k} x {side} x {side} {str(dtype).removeprefix('torch.'):<9}"
                f" torch {1e3 * times['torch']:6.1f} ms, winograd {1e3 * times['winograd']:6.1f} ms,"
                f" {times['torch'] / times['winograd']:.2f} times as fast"
            )


if __name__ == "__main__":
    main()

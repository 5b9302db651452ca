"""Time the contextual loss, forward and backward, against the plain formula in torch, in one run.

All sides take their turns, so that whatever else the machine does meets them all; medians are printed, and of
the ratio to the bare products also the middle half of the turns. Freed memory is kept, as `srcx train` does.
Peak memory is what each side's rises by, in a process of its own. "bare" is one product of all pairs,
`torch.mm`, and r the share of rows that hold a maximum: a walk that multiplies winning rows again to
differentiate them would need 1 + 2r products. Run it on an idle machine.

    python scripts/bench/contextual.py --threads 2 --repeats 7
    python scripts/bench/contextual.py --error IMAGE...      what a bfloat16 product changes, instead
"""

import argparse
import resource
import statistics
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol

import torch
from _bench import in_turn
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn.functional import cosine_similarity, normalize

from srcx.features.extractor import extractor
from srcx.hardware import keep_freed_memory
from srcx.imaging.io import read_image
from srcx.imaging.resize import imresize
from srcx.imaging.tensors import to_tensor
from srcx.losses.contextual import contextual_loss


class Loss(Protocol):
    """Features x and y to a scalar."""

    def __call__(self, x: Tensor, y: Tensor, *, bandwidth: float = ...) -> Tensor: ...


def plain(x: Tensor, y: Tensor, *, bandwidth: float = 0.1, eps: float = 1e-5) -> Tensor:
    """The formula on tensors of all pairs, left to autograd."""
    center = y.mean(dim=(0, 2, 3), keepdim=True)
    x, y = normalize(x - center, dim=1).flatten(2), normalize(y - center, dim=1).flatten(2)
    distance = (1 - x.transpose(1, 2) @ y) / 2
    relative = distance / (distance.amin(dim=2, keepdim=True) + eps)
    return -torch.softmax((1 - relative) / bandwidth, dim=2).amax(dim=1).mean(dim=1).log().mean()


SIDES: dict[str, Loss] = {
    "plain": plain,
    "fp32": contextual_loss,
    "bf16": partial(contextual_loss, product="bf16"),
}


class Maps(NamedTuple):
    """A batch of square feature maps."""

    batch: int
    side: int
    channels: int
    with_plain: bool  # it fits into memory

    @property
    def name(self) -> str:
        return f"{self.batch} x {self.side} x {self.side} x {self.channels}"

    @property
    def sides(self) -> list[str]:
        """The sides that can be measured."""
        return [side for side in SIDES if self.with_plain or side != "plain"]

    def features(self) -> tuple[Tensor, Tensor]:
        """Features x, wanting a gradient, and y: noise, the same every time."""
        source = torch.Generator().manual_seed(0)
        shape = (self.batch, self.channels, self.side, self.side)
        x, y = (torch.randn(shape, generator=source) for _ in range(2))
        return x.requires_grad_(), y


MAPS = [Maps(1, 96, 256, True), Maps(16, 24, 256, True), Maps(1, 192, 256, False)]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="threads (all cores)")
    parser.add_argument("--repeats", type=int, default=7, help="turns of each side (7)")
    parser.add_argument("--maps", type=int, nargs="+", choices=range(len(MAPS)), help="which (all)")
    parser.add_argument("--error", type=Path, nargs="+", metavar="IMAGE", help="print errors, not times")
    parser.add_argument("--peak", nargs=2, help=argparse.SUPPRESS)  # side and map: this script calls itself
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.peak:
        print(peak_rise_mib(arguments.peak[0], MAPS[int(arguments.peak[1])]))
    elif arguments.error:
        print_errors(arguments.error)
    else:
        print_times(arguments.maps or list(range(len(MAPS))), arguments.repeats, arguments.threads)


def print_times(chosen: list[int], repeats: int, threads: int) -> None:
    """Measure the maps and print a row for each side."""
    keep_freed_memory()
    table = Table("maps", "side", "s", "times faster", "of (1 + 2r) bare", "extra MiB", "of plain's")
    # Memory first: a process starts with the peak of the one that started it.
    peaks = {i: {side: peak_in_own_process(side, i, threads) for side in MAPS[i].sides} for i in chosen}
    for index in chosen:
        maps, memory = MAPS[index], peaks[index]
        turns, share = measure(maps, repeats)
        times = {side: statistics.median(taken_s) for side, taken_s in turns.items()}
        table.add_row(maps.name, f"bare product, r = {share:.2f}", f"{times['bare']:.4f}")
        for side in maps.sides:
            table.add_row(
                "",
                side,
                f"{times[side]:.4f}",
                f"{times['plain'] / times[side]:.2f}" if maps.with_plain else "-",
                ratio_to_bare(turns[side], turns["bare"], share),
                f"{memory[side]:.0f}",
                f"{memory[side] / memory['plain']:.3f}" if maps.with_plain else "-",
            )
        table.add_section()
    Console(width=110).print(table)


def ratio_to_bare(taken_s: list[float], bare_s: list[float], share: float) -> str:
    """The ratio to 1 + 2r bare products of the same turn: its median and middle half."""
    ratios = [ours / (1 + 2 * share) / bare for ours, bare in zip(taken_s, bare_s, strict=True)]
    low, median, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
    return f"{median:.2f} ({low:.2f} to {high:.2f})"


def measure(maps: Maps, repeats: int) -> tuple[dict[str, list[float]], float]:
    """Seconds of each turn of each side and of the bare product, and the share of rows with a gradient."""
    x, y = maps.features()
    rows = [z.detach().flatten(2).transpose(1, 2).contiguous() for z in (x, y)]
    step = max(2**24 // rows[1].shape[1], 1)  # a part of the rows at a time, lest memory be what is measured

    def bare() -> None:
        for a, b in zip(*rows, strict=True):
            for part in a.split(step):
                torch.mm(part, b.t())

    works: dict[str, Callable[[], object]] = {
        s: partial(forward_backward, SIDES[s], x, y) for s in maps.sides
    }
    works["bare"] = bare
    turns = in_turn(works, repeats)
    winning = forward_backward(contextual_loss, x, y).abs().sum(dim=1) > 0
    return turns, winning.float().mean().item()


def forward_backward(loss: Loss, x: Tensor, y: Tensor) -> Tensor:
    """The gradient of x."""
    return torch.autograd.grad(loss(x, y), x)[0]


def peak_in_own_process(side: str, index: int, threads: int) -> float:
    """What `peak_rise_mib` says in a process that does nothing else."""
    command = [sys.executable, __file__, "--threads", str(threads), "--peak", side, str(index)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def peak_rise_mib(side: str, maps: Maps) -> float:
    """By how much one forward and backward raises the process's peak of resident memory."""
    forward_backward(SIDES[side], *MAPS[1]._replace(batch=1, side=4).features())  # loads what is to load
    x, y = maps.features()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    forward_backward(SIDES[side], x, y)
    rise = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return rise / (2**20 if sys.platform == "darwin" else 2**10)


def print_errors(images: list[Path]) -> None:
    """How far each side is from the plain formula in float64.

    On noise, and on AlexNet's conv2 of `images` and of their bicubic x4.
    """
    maps = {"noise": Maps(1, 48, 256, True).features()}
    network = extractor("alexnet")
    for path in images:
        gt = read_image(path)
        gt = gt[: gt.shape[0] // 4 * 4, : gt.shape[1] // 4 * 4]
        sr = imresize(imresize(gt, scale=1 / 4), scale=4)
        maps[path.name] = tuple(network(to_tensor(z), ["conv2"])["conv2"].detach() for z in (sr, gt))
    table = Table("features", "bandwidth", "side", "error of loss", "error of gradient", "cosine to exact")
    for name, (x, y) in maps.items():
        for bandwidth in (0.1, 0.5):
            for side in SIDES:
                errors = error_of(SIDES[side], x, y, bandwidth)
                table.add_row(
                    name, str(bandwidth), side, *(f"{e:.1e}" for e in errors[:2]), f"{errors[2]:.4f}"
                )
    Console(width=110).print(table)


def error_of(loss: Loss, x: Tensor, y: Tensor, bandwidth: float) -> tuple[float, float, float]:
    """Relative errors of value and gradient against the plain formula in float64, and their cosine."""
    exact_x, exact_y = x.detach().double().requires_grad_(), y.double()
    exact = plain(exact_x, exact_y, bandwidth=bandwidth)
    (exact_grad,) = torch.autograd.grad(exact, exact_x)
    x = x.detach().requires_grad_()
    value = loss(x, y, bandwidth=bandwidth)
    grad = torch.autograd.grad(value, x)[0].double()
    return (
        (abs(value - exact) / exact).item(),
        ((grad - exact_grad).norm() / exact_grad.norm()).item(),
        cosine_similarity(grad.flatten(), exact_grad.flatten(), dim=0).item(),
    )


if __name__ == "__main__":
    main()

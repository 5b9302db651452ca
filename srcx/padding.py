"""Padding to the sizes that a network takes: one for validation, tests, upscaling, benchmarks and export."""

import itertools
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

__all__ = ["NoSizeError", "pad_to_multiple", "run_padded", "size_multiple"]

MULTIPLES = (1, 2, 4, 8, 16, 32, 64)
LEAST_PROBE_PX = 17

# What a network raises when it is run on a size or number of channels it is not made for.
MISFIT = (RuntimeError, ValueError, AssertionError, IndexError)


class NoSizeError(ValueError):
    """A network runs on no size tried, or its output is not a whole factor larger."""


def pad_to_multiple(lq: Tensor, multiple_of: int) -> Tensor:
    """Mirror the right and lower border until height and width are multiples of a number.

    Args:
        lq: (..., H, W), of any size: a border wider than the image is mirrored again and again.
        multiple_of: At least 1.

    Returns:
        (..., H', W'), `lq` itself where nothing is to be added.

    References:
        The mirrored border (without the outermost pixel) of BasicSR's SwinIRModel, HAT and spandrel.

    Example:
        >>> pad_to_multiple(torch.tensor([[1, 2, 3]]), 5)[0]
        tensor([1, 2, 3, 2, 1])
    """
    for dim in (-2, -1):
        side = lq.shape[dim]
        if side % multiple_of:
            period = max(2 * (side - 1), 1)
            place = torch.arange(side + -side % multiple_of, device=lq.device) % period
            lq = lq.index_select(dim, torch.minimum(place, period - place) if side > 1 else place)
    return lq


def run_padded(net: Callable[[Tensor], Tensor], lq: Tensor, multiple_of: int) -> Tensor:
    """Run a network on (N, C, H, W) of any size: pad to a multiple, and cut the result to H and W again."""
    padded = pad_to_multiple(lq, multiple_of)
    sr = net(padded)
    if padded is lq:
        return sr
    scale = sr.shape[-1] // padded.shape[-1]
    return sr[..., : lq.shape[-2] * scale, : lq.shape[-1] * scale]


@torch.inference_mode()
def size_multiple(net: nn.Module, channels: int) -> tuple[int, int]:
    """Find which sizes a network takes, and how many times larger its output is.

    A network that has an attribute `window_size` takes multiples of that. Of any other, the powers of two and
    the windows of its layers are tried, on black images.

    Args:
        net: In eval mode, on any device.
        channels: Channels it takes.

    Returns:
        The number that height and width must be multiples of, and the scale.

    Raises:
        NoSizeError: the network runs on no size tried, or its output is not a whole factor larger.
    """
    like = next(net.parameters(), torch.empty(0))
    own = getattr(net, "window_size", None)
    windows = {getattr(layer, "window_size", None) for layer in net.modules()}
    inner = {window for window in windows if isinstance(window, int) and window > 0}
    candidates = [own] if isinstance(own, int) else sorted({*MULTIPLES, *inner})
    reason = ""
    for multiple in candidates:
        side = _side_for(multiple, candidates)
        try:
            height, width = net(like.new_zeros(1, channels, side, side)).shape[-2:]
        except MISFIT as error:
            reason = reason or str(error).partition("\n")[0]
            continue
        if height == width and height % side == 0:
            return multiple, height // side
        reason = f"it makes {width} x {height} pixels of {side} x {side}, which is not a whole factor"
    raise NoSizeError(reason)


def _side_for(multiple: int, candidates: list[int]) -> int:
    """Return the least side worth trying that is a multiple of this candidate and of no larger one.

    Example:
        >>> _side_for(2, [1, 2, 4, 6])
        22
    """
    sides = itertools.count(multiple * math.ceil(LEAST_PROBE_PX / multiple), multiple)
    larger = [candidate for candidate in candidates if candidate > multiple]
    return next(side for side in sides if all(side % candidate for candidate in larger))

"""Which sizes of images a network takes, and what it needs for them."""

import copy
import logging
import math
from collections.abc import MutableMapping
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from srcx.archs.community import is_of_spandrel, recognise
from srcx.inference.tiling import MULTIPLES, find_multiple

__all__ = ["size_multiple", "values_per_pixel"]

log = logging.getLogger(__name__)

_SIZES: MutableMapping[nn.Module, tuple[int, int]] = WeakKeyDictionary()
"""Results of `size_multiple`."""


@torch.no_grad()  # not inference_mode: SPAN writes weights when it runs, and is trained on after it
def size_multiple(net: nn.Module, channels: int) -> tuple[int, int]:
    """Find which sizes a network takes, and how many times larger its output is.

    Of a network of spandrel, spandrel knows both. Another one that has an attribute `window_size` takes
    multiples of that. Of any other, the powers of two and the windows of its layers are tried, on black
    images. The answer is cached for as long as the network lives, as validation asks again and again.

    Args:
        net: In eval mode, on any device.
        channels: Channels it takes.

    Returns:
        The number that height and width must be multiples of, and the scale.

    Raises:
        NoSizeError: the network runs on no size tried, or its output is not a whole factor larger.
    """
    if net not in _SIZES:
        _SIZES[net] = _find_sizes(net, channels)
    return _SIZES[net]


def _find_sizes(net: nn.Module, channels: int) -> tuple[int, int]:
    if is_of_spandrel(net):
        try:
            descriptor = recognise(net.state_dict())
            return descriptor.size_requirements.multiple_of, descriptor.scale
        except Exception as error:  # noqa: BLE001 # of any kind
            log.info("spandrel does not recognise its own %s: %s", type(net).__name__, error)
    like = next(net.parameters(), torch.empty(0))
    own = getattr(net, "window_size", None)
    windows = {getattr(layer, "window_size", None) for layer in net.modules()}
    inner = {window for window in windows if isinstance(window, int) and window > 0}

    def output_of(side: int) -> tuple[int, int]:
        height, width = net(like.new_zeros(1, channels, side, side)).shape[-2:]
        return height, width

    return find_multiple(output_of, [own] if isinstance(own, int) else sorted({*MULTIPLES, *inner}))


@torch.inference_mode()
def values_per_pixel(net: nn.Module, channels: int, multiple_of: int) -> float:
    """Return the values that the largest layer reads and writes for one input pixel."""
    net = copy.deepcopy(net).eval()  # another thread's run of the same network would call the hooks too
    largest = 1

    def note(_layer: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        nonlocal largest
        tensors = [one for one in (*inputs, output) if isinstance(one, Tensor)]
        largest = max(largest, sum(one.numel() for one in tensors))

    for layer in net.modules():
        if not list(layer.children()):
            layer.register_forward_hook(note)
    side = math.ceil(16 / multiple_of) * multiple_of
    net(torch.zeros(1, channels, side, side))
    return largest / side**2

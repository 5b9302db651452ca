"""LPIPS: distance between a network's features of two images."""

import copy
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor, nn

from srcx.errors import ImageError
from srcx.features.lpips_network import SMALLEST_PX, lpips_network
from srcx.metrics.metric import batch_pair_metric


@batch_pair_metric(higher_is_better=False)
def lpips(sr: Tensor, gt: Tensor, /, *, net: Literal["alex", "vgg"] = "alex") -> Tensor:
    """Return the learned perceptual distance, version 0.1; on RGB, nothing shaved.

    Args:
        sr: Image to rate: uint8 or uint16 array (H, W, 3) RGB or (H, W) grey (taken as RGB), rounded to
            8 bits, or a float tensor (N, 3, H, W) in [0, 1], taken as it is.
        gt: Ground truth of the same kind and shape.
        net: "alex", as published tables have it, or "vgg".

    Returns:
        0 for equal images; a tensor (N,) for tensors.

    Raises:
        ImageError: the images differ in shape, are no images, or are too small for the network.
        WeightsError: the network's weights are not available.

    References:
        Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric", CVPR 2018,
        arXiv:1801.03924.
    """
    network = copy_on(lpips_network(net), sr.device)
    if min(sr.shape[2:]) < SMALLEST_PX[net]:
        raise ImageError(
            f"lpips: needs at least {SMALLEST_PX[net]} x {SMALLEST_PX[net]} pixels for net '{net}'; "
            f"got {sr.shape[3]} x {sr.shape[2]}"
        )
    with torch.no_grad():
        return network(2 * sr.float() - 1, 2 * gt.float() - 1).flatten()


@lru_cache(maxsize=4)
def copy_on(network: nn.Module, device: torch.device) -> nn.Module:
    """Return a copy on a device; the losses move the original, which `features` shares, to theirs."""
    return copy.deepcopy(network).to(device)

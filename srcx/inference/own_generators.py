"""srcx's own generators, known by the names and shapes of their weights."""

import math
from collections.abc import Mapping
from typing import Any, get_args

from torch import Tensor, nn

from srcx.archs.compact import SRVGGNetCompact
from srcx.archs.layers import Upscale
from srcx.archs.msrresnet import MSRResNet
from srcx.archs.srresnet import SRResNet
from srcx.inference.models import NetworkPart

__all__ = ["OWN", "own_generator"]

OWN: Mapping[str, type[nn.Module]] = {
    "MSRResNet": MSRResNet,
    "SRResNet": SRResNet,
    "SRVGGNetCompact": SRVGGNetCompact,
}
"""Generators of srcx that are recognised by their weights."""


def own_generator(state: Mapping[str, Tensor]) -> NetworkPart | None:
    """Return srcx's own generator that has weights of these names and shapes, with its arguments, or None.

    Example:
        >>> own_generator(SRResNet(num_feat=8, num_block=2, upscale=3).state_dict()).args["num_block"]
        2
    """
    if {"head.0.weight", "tail.weight"} <= state.keys():
        kind, first, last, block, stages = "SRResNet", "head.0", "tail", "layers.0.weight", "upsample."
    elif {"conv_first.weight", "conv_hr.weight", "conv_last.weight", "upconv1.weight"} <= state.keys():
        kind, first, last, block, stages = "MSRResNet", "conv_first", "conv_last", "conv1.weight", "upconv"
    elif {"conv_first.weight", "body.0.conv1.weight", "conv_last.weight"} <= state.keys():
        return direct(state)
    else:
        return compact(state)
    if any(state[f"{name}.weight"].ndim != 4 or 0 in state[f"{name}.weight"].shape for name in (first, last)):
        return None
    num_feat, num_in_ch = state[f"{first}.weight"].shape[:2]
    widths = [
        tensor.shape[0] for name, tensor in state.items() if name.startswith(stages) and tensor.ndim == 4
    ]
    scale = math.prod(math.isqrt(width // num_feat) for width in widths)
    upsampling: dict[str, Any] = {}
    if kind == "MSRResNet" and scale == 1:  # bilinear: one stage may stand for 2 or 3
        scale, upsampling = (2 ** len(widths) if len(widths) > 1 else 0), {"upsampling": "bilinear"}
    if scale not in get_args(Upscale):
        return None
    args = {
        "num_in_ch": num_in_ch,
        "num_out_ch": state[f"{last}.weight"].shape[0],
        "num_feat": num_feat,
        "num_block": sum(name.startswith("body.") and name.endswith(f".{block}") for name in state),
        "upscale": scale,
        **upsampling,
    }
    return NetworkPart(kind, args)


def direct(state: Mapping[str, Tensor]) -> NetworkPart | None:
    """Return the arguments of the MSRResNet with direct upsampling that has these weights, or None.

    Example:
        >>> net = MSRResNet(num_feat=8, num_block=2, upscale=3, upsampling="direct")
        >>> direct(net.state_dict()).args["upscale"]
        3
    """
    blocks = {name.split(".")[1] for name in state if name.startswith("body.")}
    convs = ["conv_first", "conv_last", *(f"body.{block}.conv{one}" for block in blocks for one in (1, 2))]
    names = {f"{conv}.{parameter}" for conv in convs for parameter in ("weight", "bias")}
    if state.keys() != names or any(state[f"{conv}.weight"].ndim != 4 for conv in convs):
        return None
    num_feat, num_ch = state["conv_first.weight"].shape[:2]
    upscale = subpixel_factor(state["conv_last.weight"], num_ch)
    if upscale not in get_args(Upscale):
        return None
    args = {"num_in_ch": num_ch, "num_out_ch": num_ch, "num_feat": num_feat, "num_block": len(blocks)}
    return NetworkPart("MSRResNet", {**args, "upscale": upscale, "upsampling": "direct"})


def subpixel_factor(weight: Tensor, num_ch: int) -> int:
    """Return the factor of the pixel shuffle after a convolution to `num_ch` channels; 0 if none fits."""
    subpixels, rest = divmod(weight.shape[0], max(num_ch, 1))
    factor = math.isqrt(subpixels)
    return factor if not rest and factor**2 == subpixels else 0


def compact(state: Mapping[str, Tensor]) -> NetworkPart | None:
    """Return the arguments of the SRVGGNetCompact with PReLU that has these weights, or None.

    Those with other activations have the same weights for two of them, so they must be described.

    Example:
        >>> compact(SRVGGNetCompact(num_feat=8, num_conv=2, upscale=3).state_dict()).args["upscale"]
        3
    """
    last = len(state) // 3 * 2  # a convolution has a weight and a bias, the PReLU after it a weight
    convs, slopes = range(0, last + 1, 2), range(1, last, 2)
    names = {f"body.{place}.weight" for place in (*convs, *slopes)} | {
        f"body.{place}.bias" for place in convs
    }
    if last < 2 or state.keys() != names or any(state[f"body.{place}.weight"].ndim != 4 for place in convs):
        return None
    num_feat, num_ch = state["body.0.weight"].shape[:2]
    upscale = subpixel_factor(state[f"body.{last}.weight"], num_ch)
    if not upscale:
        return None
    args = {"num_in_ch": num_ch, "num_out_ch": num_ch, "num_feat": num_feat, "num_conv": len(convs) - 2}
    return NetworkPart("SRVGGNetCompact", {**args, "upscale": upscale})

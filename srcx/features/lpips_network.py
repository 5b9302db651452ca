"""The network of LPIPS from the `lpips` package, with backbone weights from `srcx.weights`."""

import importlib.util
import warnings
import weakref
from pathlib import Path

import torch
from torch import Tensor, nn

from srcx.errors import OptionsError
from srcx.weights.checkpoint import load_state
from srcx.weights.fixed import find_weights

__all__ = ["SMALLEST_PX", "lpips_network"]

BACKBONES = {"alex": "alexnet", "vgg": "vgg16"}

SMALLEST_PX = {"alex": 31, "vgg": 16}
"""Smallest height and width that each backbone accepts."""

_made: "weakref.WeakValueDictionary[tuple[str, Path], nn.Module]" = weakref.WeakValueDictionary()


def lpips_network(net: str = "alex") -> nn.Module:
    """Return LPIPS, version 0.1; the same `net` returns the same frozen object while it is in use.

    Args:
        net: The backbone: "alex" (AlexNet) or "vgg" (VGG16).

    Returns:
        A module called with two batches, RGB in [-1, 1], (N, 3, H, W), that returns (N, 1, 1, 1): the
        distance of each pair, 0 for equal images.

    Raises:
        OptionsError: there is no such backbone.
        WeightsError: the backbone's weights are missing; the message says how to get them.

    References:
        Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric", CVPR 2018,
        arXiv:1801.03924. Formula and linear layers are the `lpips` package's. By itself the package would
        download the backbones from one server and without a checksum.
    """
    if net not in BACKBONES:
        raise OptionsError(
            f"lpips: expected one of {', '.join(BACKBONES)} as net, got {net!r}; name one of them"
        )
    path = find_weights(BACKBONES[net]).resolve()
    network = _made.get((net, path))
    if network is None:
        network = _made[net, path] = _make(net, load_state(path))
    return network


def _make(net: str, backbone: dict[str, Tensor]) -> nn.Module:
    network = _empty_network(net)
    state = dict(network.get_submodule("scaling_layer").state_dict(prefix="scaling_layer."))
    for name in network.get_submodule("net").state_dict():
        # slice2.3.weight is the features.3.weight of torchvision
        state[f"net.{name}"] = backbone[f"features.{name.split('.', 1)[1]}"]
    for name, weight in _linear_layers(net).items():
        state[name] = state[name.replace("lin", "lins.", 1)] = weight
    network.load_state_dict(state, assign=True)
    return network.requires_grad_(False).eval()


def _empty_network(net: str) -> nn.Module:
    """Return the network without values: 138 million random ones for VGG16 would only be replaced."""
    from lpips.lpips import LPIPS, ScalingLayer  # takes seconds to import, and most runs do not need it

    with warnings.catch_warnings(), torch.device("meta"):
        warnings.simplefilter("ignore")  # the package uses torchvision's deprecated arguments of 2021
        network: nn.Module = LPIPS(net=net, pretrained=False, pnet_rand=True, verbose=False)
    network.scaling_layer = ScalingLayer()
    return network


def _linear_layers(net: str) -> dict[str, Tensor]:
    spec = importlib.util.find_spec("lpips")
    assert spec is not None
    assert spec.origin is not None
    return load_state(Path(spec.origin).with_name("weights") / "v0.1" / f"{net}.pth")

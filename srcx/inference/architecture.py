"""Which network a checkpoint is of: as a file beside it says, or as its weights show."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, get_args

import torch
from torch import Tensor, nn

from srcx.archs.layers import Upscale
from srcx.archs.msrresnet import MSRResNet
from srcx.archs.srresnet import SRResNet
from srcx.errors import CheckpointError
from srcx.weights.checkpoint import read_metadata
from srcx.weights.fit import load_into

__all__ = ["Found", "network_of"]

ALL_DTYPES = frozenset({torch.float32, torch.bfloat16, torch.float16})
PROBE_MULTIPLES = (1, 2, 4, 8, 16, 32, 64)
PROBE_PX = 17

# What a network raises when it is run on a size or number of channels it is not made for.
MISFIT = (RuntimeError, ValueError, AssertionError, IndexError)


OWN: Mapping[str, type[nn.Module]] = {"MSRResNet": MSRResNet, "SRResNet": SRResNet}
"""Generators of srcx that are known by their weights."""


class NetworkPart(NamedTuple):
    """A network as an option file writes it."""

    type: str
    args: dict[str, Any]


@dataclass(frozen=True)
class Found:
    """A network with its weights, and what must be known to call it."""

    net: nn.Module
    architecture: str
    scale: int
    channels: int = 3
    multiple_of: int = 1
    dtypes: frozenset[torch.dtype] = ALL_DTYPES
    part: NetworkPart | None = None
    """Its type and arguments, where they are known."""


def network_of(path: Path, state: Mapping[str, Tensor]) -> Found:
    """Build the network of a checkpoint and fill it.

    Looks, in this order, at NAME.json beside the file ({"network": {"type": ..., "args": {...}}}), at what
    a .safetensors file says of itself under "network" (the same type and args), at the option file of the
    run folder it lies in, at the names and shapes of the weights for srcx's own generators, and asks
    spandrel, which knows the community's.

    Args:
        path: Where the weights came from.
        state: The weights.

    Raises:
        CheckpointError: the weights do not fit what the file beside them says, or nobody knows them.
    """
    own = own_generator(state)
    part = described(path) or own
    if part is None:
        return from_spandrel(path, state)
    net = OWN[part.type](**part.args) if part == own else build(part, source=path)
    load_into(net, state, source=path)
    net.eval().requires_grad_(False)
    first = next(parameter for parameter in net.parameters() if parameter.ndim == 4)
    channels = 1 if first.shape[1] == 1 else 3
    multiple_of, scale = measured(path, net, channels)
    return Found(net, part.type, scale, channels, multiple_of, part=part)


def described(path: Path) -> NetworkPart | None:
    """The network as the file, or one beside the checkpoint, describes it; None where none does."""
    beside = path.with_suffix(".json")
    if beside.is_file():
        return parse_description(beside.read_text("utf-8", errors="replace"), source=beside)
    own_words = read_metadata(path).get("network")
    if own_words:
        return parse_description(f'{{"network": {own_words}}}', source=path)
    run = path.resolve().parents[1]
    options = (
        [run / f"{run.name}.yml", *sorted(run.glob("*.yml"))]
        if path.resolve().parent.name == "models"
        else []
    )
    file = next((one for one in options if one.is_file()), None)
    return None if file is None else read_network_g(file)


def read_network_g(path: Path) -> NetworkPart:
    """Type and arguments of the generator of an option file; the rest of the file may be anything.

    Raises:
        OptionsError: the file cannot be read.
        CheckpointError: it describes no generator.
    """
    from srcx.config.yaml_reader import read_file

    part = read_file(path).get(("network_g",))
    if not isinstance(part, dict) or not isinstance(part.get("type"), str):
        raise CheckpointError(
            f"{path}: expected a network_g with a type, to know the network of the run's weights"
        )
    return NetworkPart(part["type"], {name: value for name, value in part.items() if name != "type"})


def parse_description(text: str, *, source: Path) -> NetworkPart:
    """The network that {"network": {"type": ..., "args": {...}}} describes.

    Raises:
        CheckpointError: the text is something else.
    """
    try:
        network = json.loads(text)["network"]
        return NetworkPart(str(network["type"]), dict(network.get("args", {})))
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f'{source}: expected {{"network": {{"type": "SRResNet", "args": {{...}}}}}}; '
            f"got something else ({type(error).__name__}): mend or remove it"
        ) from error


def build(part: NetworkPart, *, source: Path) -> nn.Module:
    """A network of the catalog or of BasicSR, with fresh weights.

    Raises:
        CheckpointError: there is no such network, or it does not take these arguments.
    """
    from srcx.bridge.parts import AllParts  # loads every part there is: half a second

    parts = AllParts()
    problems = parts.problems("network", part.type, part.args)
    if problems:
        raise CheckpointError(f"{source}: {'; '.join(message for _, message in problems)}")
    return parts.network(part.type)(**part.args)


def own_generator(state: Mapping[str, Tensor]) -> NetworkPart | None:
    """SRResNet or MSRResNet with the arguments that give weights of these names and shapes, else None.

    Example:
        >>> own_generator(SRResNet(num_feat=8, num_block=2, upscale=3).state_dict()).args["num_block"]
        2
    """
    if {"head.0.weight", "tail.weight"} <= state.keys():
        kind, first, last, block, stages = "SRResNet", "head.0", "tail", "layers.0.weight", "upsample."
    elif {"conv_first.weight", "conv_hr.weight", "conv_last.weight", "upconv1.weight"} <= state.keys():
        kind, first, last, block, stages = "MSRResNet", "conv_first", "conv_last", "conv1.weight", "upconv"
    else:
        return None
    num_feat, num_in_ch = state[f"{first}.weight"].shape[:2]
    grown = [
        tensor.shape[0] for name, tensor in state.items() if name.startswith(stages) and tensor.ndim == 4
    ]
    scale = math.prod(math.isqrt(width // num_feat) for width in grown)
    upsampling: dict[str, Any] = {}
    if kind == "MSRResNet" and scale == 1:  # bilinear: one stage may stand for 2 or 3
        scale, upsampling = (2 ** len(grown) if len(grown) > 1 else 0), {"upsampling": "bilinear"}
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


@torch.inference_mode()
def measured(path: Path, net: nn.Module, channels: int) -> tuple[int, int]:
    """Find by trying which sizes a network takes and how many times larger its output is.

    Returns:
        The number that height and width must be multiples of, and the scale.

    Raises:
        CheckpointError: the network runs on no size tried, or its output is not a whole factor larger.
    """
    kind = type(net).__name__
    reason = ""
    for multiple in PROBE_MULTIPLES:
        side = multiple * (math.ceil(PROBE_PX / multiple) | 1)  # an odd multiple: not of the next one too
        try:
            height, width = net(torch.zeros(1, channels, side, side)).shape[-2:]
        except MISFIT as error:
            reason = str(error).partition("\n")[0]
            continue
        if height != width or height % side:
            raise CheckpointError(
                f"{path}: this {kind} makes {width} x {height} pixels of {side} x {side}; "
                "srcx upscales by whole factors only"
            )
        return multiple, height // side
    raise CheckpointError(f"{path}: this {kind} runs on no picture size that was tried: {reason}")


class SpandrelNet(nn.Module):
    """A network as spandrel calls it: with the padding and clamping its architecture needs."""

    def __init__(self, descriptor: Any) -> None:
        super().__init__()
        self.model = descriptor.model
        self.descriptor = descriptor

    def forward(self, lq: Tensor) -> Tensor:
        return self.descriptor(lq)


def from_spandrel(path: Path, state: Mapping[str, Tensor]) -> Found:
    """Let spandrel tell the architecture and its arguments from the weights."""
    import spandrel

    try:
        descriptor = spandrel.ModelLoader().load_from_state_dict(dict(state))
    except (spandrel.UnsupportedModelError, KeyError, *MISFIT) as error:
        raise CheckpointError(
            f"{path}: no known network has weights of these names and shapes; put the option file's network "
            f'beside it as {path.with_suffix(".json").name}: {{"network": {{"type": ..., "args": {{...}}}}}}'
        ) from error
    if not isinstance(descriptor, spandrel.ImageModelDescriptor) or descriptor.input_channels not in (1, 3):
        raise CheckpointError(
            f"{path}: a {descriptor.architecture.name} network, which does not turn one picture into another"
        )
    descriptor.model.eval().requires_grad_(False)
    supported = {torch.bfloat16: descriptor.supports_bfloat16, torch.float16: descriptor.supports_half}
    dtypes = frozenset({torch.float32} | {dtype for dtype, works in supported.items() if works})
    multiple_of = descriptor.size_requirements.multiple_of
    return Found(
        SpandrelNet(descriptor),
        descriptor.architecture.name,
        descriptor.scale,
        descriptor.input_channels,
        multiple_of,
        dtypes,
    )

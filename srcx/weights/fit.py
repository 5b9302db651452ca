"""Putting loaded weights into a network, with a clear word where they do not fit."""

import logging
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from srcx.errors import CheckpointError

__all__ = ["load_into", "mix_states", "weights_difference"]

logger = logging.getLogger(__name__)

NAMED_AT_MOST = 3


def load_into(
    net: nn.Module, state: Mapping[str, Tensor], *, source: Path | str, strict: bool = True
) -> None:
    """Load `state` into `net`.

    Args:
        net: The network.
        state: Its weights by name.
        source: Where they come from, for messages.
        strict: Refuse any difference in names or shapes; otherwise load what fits and say what did not.

    Raises:
        CheckpointError: the weights do not fit, or not one of them does.
    """
    difference = weights_difference(net, state)
    if not difference:
        net.load_state_dict(dict(state))
        return
    own = net.state_dict()
    fitting = {name: value for name, value in state.items() if name in own and own[name].shape == value.shape}
    if strict or not fitting:
        raise CheckpointError(
            f"{source}: these weights do not fit {type(net).__name__}: {difference}; "
            "choose the network they were trained for, or set strict_load to false to load what fits"
        )
    logger.warning("%s: loaded %d of %d weights: %s", source, len(fitting), len(own), difference)
    net.load_state_dict(fitting, strict=False)


def weights_difference(net: nn.Module, state: Mapping[str, Tensor]) -> str:
    """Say which names and shapes of weights differ between `net` and `state`; empty where none does."""
    own = net.state_dict()
    missing = [name for name in own if name not in state or state[name].shape != own[name].shape]
    left = [name for name in state if name not in own or own[name].shape != state[name].shape]
    return f"{_names('not in it', missing, own)}{_names('not in the network', left, state)}".rstrip("; ")


def mix_states(
    one: Mapping[str, Tensor], other: Mapping[str, Tensor], share: float, *, source: Path | str
) -> dict[str, Tensor]:
    """Return (1 - share) * one + share * other in fp32; what is not floating is `one`'s.

    Args:
        one: Weights by name.
        other: Weights of the same names and shapes.
        share: From 0 to 1.
        source: Where `other` comes from, for messages.

    Raises:
        CheckpointError: names or shapes differ.

    Example:
        >>> import torch
        >>> mix_states({"a": torch.zeros(2)}, {"a": torch.ones(2)}, 0.25, source="b.pth")["a"]
        tensor([0.2500, 0.2500])
    """
    shapes, others = ({name: value.shape for name, value in state.items()} for state in (one, other))
    if shapes != others:
        missing = [name for name in one if others.get(name) != shapes[name]]
        left = [name for name in other if shapes.get(name) != others[name]]
        difference = f"{_names('not in it', missing, one)}{_names('only in it', left, other)}".rstrip("; ")
        raise CheckpointError(
            f"{source}: expected the names and shapes of the weights it is mixed with: {difference}; "
            "mix weights of one network"
        )
    return {
        name: (1 - share) * value.float() + share * other[name].float()
        if value.is_floating_point()
        else value
        for name, value in one.items()
    }


def _names(what: str, names: list[str], values: Mapping[str, Tensor]) -> str:
    if not names:
        return ""
    some = ", ".join(f"{name} {tuple(values[name].shape)}" for name in names[:NAMED_AT_MOST])
    more = f" and {len(names) - NAMED_AT_MOST} more" if len(names) > NAMED_AT_MOST else ""
    return f"{what}: {some}{more}; "

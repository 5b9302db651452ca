"""Putting loaded weights into a network, with a clear word where they do not fit."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor, nn

from srcx.errors import CheckpointError

__all__ = ["average_states", "load_into", "weights_difference"]

State = Mapping[str, Tensor]

logger = logging.getLogger(__name__)

NAMED_AT_MOST = 3


def load_into(net: nn.Module, state: State, *, source: Path | str, strict: bool = True) -> None:
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


def weights_difference(net: nn.Module, state: State) -> str:
    """Say which names and shapes of weights differ between `net` and `state`; empty where none does."""
    own = net.state_dict()
    missing = [name for name in own if name not in state or state[name].shape != own[name].shape]
    left = [name for name in state if name not in own or own[name].shape != state[name].shape]
    return f"{_names('not in it', missing, own)}{_names('not in the network', left, state)}".rstrip("; ")


def average_states(states: Sequence[tuple[Path | str, State]], shares: Sequence[float]) -> dict[str, Tensor]:
    """Return the sum of the weights times their shares in fp32; what is not floating is the first one's.

    Args:
        states: For each checkpoint where it comes from, for messages, and its weights by name.
        shares: One for each; their sum is 1 for a mean.

    Raises:
        CheckpointError: names or shapes differ from those of the first.

    Example:
        >>> import torch
        >>> states = ("a.pth", {"w": torch.zeros(2)}), ("b.pth", {"w": torch.ones(2)})
        >>> average_states(states, [0.75, 0.25])["w"]
        tensor([0.2500, 0.2500])
    """
    _, first = states[0]
    for source, other in states[1:]:
        shapes, others = ({name: value.shape for name, value in state.items()} for state in (first, other))
        if shapes != others:
            missing = [name for name in first if others.get(name) != shapes[name]]
            left = [name for name in other if shapes.get(name) != others[name]]
            difference = f"{_names('not in it', missing, first)}{_names('only in it', left, other)}"
            raise CheckpointError(
                f"{source}: expected the names and shapes of the weights it is mixed with: "
                f"{difference.rstrip('; ')}; mix weights of one network"
            )
    averaged = {
        name: value if not value.is_floating_point() else shares[0] * value.float()
        for name, value in first.items()
    }
    for (_, other), share in zip(states[1:], shares[1:], strict=True):
        for name, value in averaged.items():
            if value.is_floating_point():
                averaged[name] = value + share * other[name].float()
    return averaged


def _names(what: str, names: list[str], values: State) -> str:
    if not names:
        return ""
    some = ", ".join(f"{name} {tuple(values[name].shape)}" for name in names[:NAMED_AT_MOST])
    more = f" and {len(names) - NAMED_AT_MOST} more" if len(names) > NAMED_AT_MOST else ""
    return f"{what}: {some}{more}; "

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


def load_into(
    net: nn.Module, state: State, *, source: Path | str, strict: bool = True, option: str = ""
) -> None:
    """Load `state` into `net`.

    Args:
        net: The network.
        state: Its weights by name.
        source: Where they come from, for messages.
        strict: Refuse any difference in names or shapes; otherwise load what fits and say what did not.
        option: Name of the option that `strict` comes from, for messages.

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
        else_load = f", or set {option} to false to load what fits" if option and fitting else ""
        raise CheckpointError(
            f"{source}: these weights do not fit {type(net).__name__}: {difference}; "
            f"choose the network they were trained for{else_load}"
        )
    logger.warning("%s: loaded %d of %d weights: %s", source, len(fitting), len(own), difference)
    net.load_state_dict(fitting, strict=False)


def weights_difference(net: nn.Module, state: State) -> str:
    """Say which names and shapes of weights differ between `net` and `state`; empty where none does.

    Example:
        >>> import torch
        >>> weights_difference(nn.Linear(2, 1), {"weight": torch.zeros(1, 3), "bias": torch.zeros(1)})
        'of another shape: weight (1, 3), expected (1, 2)'
    """
    return _difference(net.state_dict(), state, left="not in the network")


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
            difference = _difference(first, other, left="only in it")
            raise CheckpointError(
                f"{source}: expected the names and shapes of the weights it is mixed with: "
                f"{difference}; mix weights of one network"
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


def _difference(own: State, state: State, *, left: str) -> str:
    """Say how `state` differs from `own`; `left` says of names that they are in `state` alone."""
    shared = [name for name in own if name in state and own[name].shape != state[name].shape]
    groups = {
        "of another shape": [
            f"{name} {tuple(state[name].shape)}, expected {tuple(own[name].shape)}" for name in shared
        ],
        "not in it": [f"{name} {tuple(own[name].shape)}" for name in own if name not in state],
        left: [f"{name} {tuple(state[name].shape)}" for name in state if name not in own],
    }
    return "; ".join(f"{what}: {_few(names)}" for what, names in groups.items() if names)


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED_AT_MOST} more" if len(names) > NAMED_AT_MOST else ""
    return ", ".join(names[:NAMED_AT_MOST]) + more

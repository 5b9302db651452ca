"""Putting loaded weights into a network, with a clear word where they do not fit."""

import logging
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from srcx.errors import CheckpointError

__all__ = ["load_into"]

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
    own = net.state_dict()
    fitting = {name: value for name, value in state.items() if name in own and own[name].shape == value.shape}
    missing = [name for name in own if name not in fitting]
    left = [name for name in state if name not in fitting]
    if not missing and not left:
        net.load_state_dict(dict(state))
        return
    difference = f"{_names('not in it', missing, own)}{_names('not in the network', left, state)}"
    if strict or not fitting:
        raise CheckpointError(
            f"{source}: these weights do not fit {type(net).__name__}: {difference.rstrip('; ')}; "
            "choose the network they were trained for, or set strict_load to false to load what fits"
        )
    logger.warning("%s: loaded %d of %d weights: %s", source, len(fitting), len(own), difference.rstrip("; "))
    net.load_state_dict(fitting, strict=False)


def _names(what: str, names: list[str], values: Mapping[str, Tensor]) -> str:
    if not names:
        return ""
    some = ", ".join(f"{name} {tuple(values[name].shape)}" for name in names[:NAMED_AT_MOST])
    more = f" and {len(names) - NAMED_AT_MOST} more" if len(names) > NAMED_AT_MOST else ""
    return f"{what}: {some}{more}; "

"""The networks of spandrel: by name for option files, and recognised by the names and shapes of weights."""

import importlib
import inspect
import logging
import warnings
from collections.abc import Mapping
from functools import cache
from typing import Any

from torch import Tensor, nn

from srcx.config.part_options import SPANDREL
from srcx.errors import OptionsError
from srcx.nearest import LIKE_AN_OPTION, nearest

__all__ = [
    "arguments_of",
    "community_network",
    "community_networks",
    "is_of_spandrel",
    "recognise",
    "renamed",
]

log = logging.getLogger(__name__)

OTHER_WORK = {"GFPGAN", "LaMa", "RestoreFormer"}
"""Networks for faces and to fill holes. GFPGAN also opens a file that an argument names."""


@cache
def community_networks() -> Mapping[str, type[nn.Module]]:
    """Return every network of spandrel from image to image, by its name with the prefix, sorted.

    Importing spandrel takes a second or two, so nothing calls this before such a name is met.

    Example:
        >>> community_networks()["spandrel.SPAN"].__name__
        'SPAN'
    """
    import spandrel

    found: dict[str, type[nn.Module]] = {}
    for support in spandrel.MAIN_REGISTRY.architectures():
        package = importlib.import_module(type(support.architecture).__module__)
        for name, part in vars(package).items():
            is_network = inspect.isclass(part) and issubclass(part, nn.Module)
            if is_network and hasattr(part, "hyperparameters") and name not in OTHER_WORK:
                found[SPANDREL + name] = part
    _copy_input(found[SPANDREL + "RCAN"])
    return dict(sorted(found.items()))


def _copy_input(part: type[nn.Module]) -> None:
    """Let a class leave its input as it is: spandrel's RCAN multiplies it in place, and lq is used again."""
    forward = part.forward

    def forward_copy(net: nn.Module, lq: Tensor) -> Tensor:
        sr: Tensor = forward(net, lq.clone())
        return sr

    part.forward = forward_copy


def community_network(type_name: str) -> type[nn.Module]:
    """Return the network of this name.

    Args:
        type_name: A name with the prefix, such as "spandrel.SPAN".

    Raises:
        OptionsError: spandrel has no such network; names the nearest.
    """
    known = community_networks()
    if type_name not in known:
        # By the name of its class too, which is the authors' own: ESRGAN is a RRDBNet.
        bare = {part.__name__: name for name, part in known.items()}
        bare |= {name.removeprefix(SPANDREL): name for name in known}
        near = nearest(type_name.removeprefix(SPANDREL), bare, least=LIKE_AN_OPTION)
        said = f"did you mean '{bare[near]}'?" if near else f"it has {', '.join(known)}"
        raise OptionsError(f"{type_name}: spandrel has no such network for images; {said}")
    warnings.filterwarnings("ignore", message="torch.meshgrid", category=UserWarning)  # SwinIR, when made
    return known[type_name]


def is_of_spandrel(net: nn.Module) -> bool:
    """Return whether a network is one of `community_networks`."""
    return type(net).__module__.startswith(SPANDREL)


def arguments_of(net: nn.Module) -> tuple[str, dict[str, Any]] | None:
    """Return the name and the arguments of a network of spandrel; arguments of their default are left out.

    None for a network that is not one of `community_networks`, such as GFPGAN.

    Example:
        >>> net = community_network("spandrel.SPAN")(num_in_ch=3, num_out_ch=3, upscale=2)
        >>> arguments_of(net)
        ('spandrel.SPAN', {'num_in_ch': 3, 'num_out_ch': 3, 'upscale': 2})
    """
    name = next((name for name, part in community_networks().items() if part is type(net)), None)
    if name is None:
        return None
    defaults = {key: one.default for key, one in inspect.signature(type(net)).parameters.items()}
    given: dict[str, Any] = net.hyperparameters  # type: ignore[assignment] # spandrel's own attribute
    return name, {
        key: list(given[key]) if isinstance(given[key], tuple) else given[key]
        for key, default in defaults.items()
        if key in given and given[key] != default
    }


def recognise(state: Mapping[str, Tensor]) -> Any:
    """Return spandrel's descriptor of the network that has these weights, with the weights in it.

    Raises:
        Exception: of any kind, where spandrel knows no such network.
    """
    import spandrel

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch about the code of architectures
        return spandrel.ModelLoader().load_from_state_dict(dict(state))


def renamed(net: nn.Module, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Return weights by the names that `net` gives them, if it is of spandrel; else as they are.

    Authors and forks name the weights of one network differently, and spandrel reads all of these names: a
    RRDBNet of Real-ESRGAN has "body.0.rdb1.conv1.weight" for "model.1.sub.0.RDB1.conv1.0.weight".
    """
    if not is_of_spandrel(net) or state.keys() == net.state_dict().keys():
        return state
    try:
        found = recognise(state).model
    except Exception as error:  # noqa: BLE001 # of any kind
        # Whoever loads them says what is wrong.
        log.info("spandrel does not recognise the weights: %s", error)
        return state
    return found.state_dict() if type(found) is type(net) else state

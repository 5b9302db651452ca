"""All parts an option file can name: srcx's own first, then BasicSR's."""

from collections.abc import Callable, Mapping
from typing import Any, cast

from torch import nn

from srcx import registry
from srcx.basicsr_compat.adapters import borrow, names
from srcx.basicsr_compat.arguments import argument_problems
from srcx.basicsr_compat.metrics import OLD_METRICS
from srcx.errors import BridgeError
from srcx.nearest import nearest

__all__ = ["GENERATORS", "AllParts"]

OWN: Mapping[str, Mapping[str, Callable[..., Any]]] = {
    "dataset": registry.DATASETS,
    "loss": registry.LOSSES,
    "metric": {**registry.METRICS, **OLD_METRICS},
    "network": registry.NETWORKS,
    "optimizer": registry.OPTIMIZERS,
    "scheduler": registry.SCHEDULES,
}
BORROWED = ("loss", "network")
GENERATORS = frozenset(
    {"ECBSR", "EDSR", "MSRResNet", "RCAN", "RIDNet", "RRDBNet", "SRResNet", "SRVGGNetCompact", "SwinIR"}
)
"""Networks of srcx and BasicSR that upscale single images, none of which takes the path of a file."""
WEIGHTS = {"PerceptualLoss": {"perceptual_weight", "style_weight"}}
"""Weights among a loss's arguments in an option file: `srcx.training.build` makes terms of them."""


class AllParts:
    """Finds parts by the names option files use; srcx's own win, `basicsr.Name` asks for BasicSR's.

    Nothing of BasicSR is imported until a name is asked for that is not srcx's.

    Example:
        >>> AllParts().network("SRResNet").__module__
        'srcx.archs.srresnet'
        >>> AllParts().problems("network", "SRResNet", {"num_fet": 64})
        [('num_fet', "unknown argument; did you mean 'num_feat'?")]
    """

    def part(self, kind: str, type_name: str) -> Callable[..., Any]:
        """The part of this name.

        Args:
            kind: "dataset", "loss", "metric", "network", "optimizer" or "scheduler".
            type_name: What stands behind `type:`.

        Raises:
            BridgeError: there is no such part, or it is BasicSR's and BasicSR cannot be had.
        """
        own = OWN[kind]
        if type_name in own:
            return own[type_name]
        if kind not in BORROWED:
            raise BridgeError(_unknown(kind, type_name, {"srcx": sorted(own)}))
        if type_name.startswith("basicsr.") or type_name in _borrowed_names(kind, type_name):
            return borrow(kind, type_name)
        known = {"srcx": sorted(own), "BasicSR": _borrowed_names(kind, type_name)}
        raise BridgeError(_unknown(kind, type_name, known))

    def network(self, type_name: str) -> type[nn.Module]:
        """The network class of this name; raises as `part` does."""
        return cast(type[nn.Module], self.part("network", type_name))

    def problems(self, kind: str, type_name: str, args: Mapping[str, object]) -> list[tuple[str | None, str]]:
        """What is wrong with a part an option file names; the part is not made.

        Args:
            kind: As for `part`.
            type_name: What stands behind `type:`.
            args: What stands beside it, by name.

        Returns:
            For each problem the argument's name, or None for the type itself, and what is wrong.
        """
        try:
            part = self.part(kind, type_name)
        except BridgeError as error:
            return [(None, str(error))]
        if kind == "dataset":  # its arguments are options of their own, checked with the others
            return []
        weights = WEIGHTS.get(type_name, set())
        own = {name: value for name, value in args.items() if name not in weights}
        # Annotations of optimizers allow tensors, and BasicSR's parts have none; a scheduler's values are
        # options, where 1e5 is a whole number.
        has_hints = type_name in OWN[kind] and kind not in ("optimizer", "scheduler")
        return list(argument_problems(part, own, check_values=has_hints))


def _borrowed_names(kind: str, type_name: str) -> list[str]:
    """BasicSR's names of a kind; where it cannot be had, an error that still says what srcx has."""
    try:
        return names(kind)
    except BridgeError as error:
        said = _unknown(kind, type_name, {"srcx": sorted(OWN[kind])})
        raise BridgeError(f"{said}{'' if said.endswith('?') else ';'} {error}") from error


def _unknown(kind: str, type_name: str, known: Mapping[str, list[str]]) -> str:
    near = nearest(type_name, [name for names in known.values() for name in names])
    if near is not None:
        return f"unknown {kind} '{type_name}'; did you mean '{near}'?"
    all_names = "; ".join(f"{house} has {', '.join(names)}" for house, names in known.items())
    return f"unknown {kind} '{type_name}'; {all_names}"

"""All parts an option file can name: srcx's own first, then BasicSR's; `spandrel.Name` is spandrel's."""

from collections.abc import Callable, Mapping
from typing import Any, cast

from torch import nn

from srcx import registry
from srcx.archs.community import PREFIX, community_network, community_networks
from srcx.basicsr_compat.adapters import BASICSR_METRICS, basicsr_names, basicsr_part
from srcx.errors import BasicSRError, OptionsError
from srcx.nearest import LIKE_A_PART, LIKE_AN_OPTION, nearest
from srcx.registry import argument_problems

__all__ = ["GENERATORS", "AllParts"]

OWN: Mapping[str, Mapping[str, Callable[..., Any]]] = {
    **registry.PARTS,
    "metric": {**registry.METRICS, **BASICSR_METRICS},
}
KINDS_OF_BASICSR = ("loss", "network")
GENERATORS = frozenset(
    {"ECBSR", "EDSR", "MSRResNet", "RCAN", "RIDNet", "RRDBNet", "SRResNet", "SRVGGNetCompact", "SwinIR"}
)
"""Networks of srcx and BasicSR that upscale single images, none of which takes the path of a file."""
WEIGHTS = {"PerceptualLoss": {"perceptual_weight", "style_weight"}}
"""Weights among a loss's arguments in an option file: `srcx.training.build` makes terms of them."""


class AllParts:
    """Finds parts by the names that option files use: srcx's part, else BasicSR's.

    `basicsr.Name` is always BasicSR's part, and `spandrel.Name` a network of spandrel. Nothing of either is
    imported before a name is looked up that is not srcx's.

    Example:
        >>> AllParts().network("SRResNet").__module__
        'srcx.archs.srresnet'
        >>> AllParts().problems("network", "SRResNet", {"num_fet": 64})
        [('num_fet', "unknown argument; did you mean 'num_feat'?")]
    """

    def part(self, kind: str, type_name: str) -> Callable[..., Any]:
        """Return the part of this name.

        Args:
            kind: "dataset", "loss", "metric", "network", "optimizer" or "scheduler".
            type_name: The value of `type:`.

        Raises:
            BasicSRError: there is no such part, or it is BasicSR's and BasicSR cannot be imported.
            OptionsError: spandrel has no such network.
        """
        own = OWN[kind]
        if type_name in own:
            return own[type_name]
        if kind == "network" and type_name.startswith(PREFIX):
            return community_network(type_name)
        known = {"srcx": sorted(own)}
        why = ""
        if kind in KINDS_OF_BASICSR:
            try:
                known["BasicSR"] = basicsr_names(kind)
            except BasicSRError as error:
                why = str(error)
        if type_name.startswith("basicsr.") or type_name in known.get("BasicSR", ()):
            return basicsr_part(kind, type_name)
        if kind == "network" and PREFIX + type_name in community_networks():
            raise BasicSRError(
                f"unknown network '{type_name}'; did you mean '{PREFIX}{type_name}'? {why}".rstrip()
            )
        # Names of metrics are short, as names of options are; the others end alike, as "...Loss".
        least = LIKE_AN_OPTION if kind == "metric" else LIKE_A_PART
        near = nearest(type_name, [name for names in known.values() for name in names], least=least)
        said = "; ".join(f"{library} has {', '.join(names)}" for library, names in known.items())
        hint = f"did you mean '{near}'? {why}".rstrip() if near else f"{said}; {why}".removesuffix("; ")
        raise BasicSRError(f"unknown {kind} '{type_name}'; {hint}")

    def network(self, type_name: str) -> type[nn.Module]:
        """Return the network class of this name; raises as `part` does."""
        return cast(type[nn.Module], self.part("network", type_name))

    def problems(self, kind: str, type_name: str, args: Mapping[str, object]) -> list[tuple[str | None, str]]:
        """Return what is wrong with a part that an option file names, without making the part.

        Args:
            kind: As for `part`.
            type_name: The value of `type:`.
            args: The part's arguments by name.

        Returns:
            For each problem the argument's name, or None for the type itself, and what is wrong.
        """
        try:
            part = self.part(kind, type_name)
        except (BasicSRError, OptionsError) as error:
            return [(None, str(error))]
        weights = WEIGHTS.get(type_name, set())
        own = {name: value for name, value in args.items() if name not in weights}
        # Annotations of optimizers allow tensors, and BasicSR's parts have no annotations.
        has_hints = (type_name in OWN[kind] or type_name.startswith(PREFIX)) and kind != "optimizer"
        return list(argument_problems(part, own, check_values=has_hints))

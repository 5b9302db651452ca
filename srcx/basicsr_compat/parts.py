"""All parts an option file can name: srcx's own first, then BasicSR's; `spandrel.Name` is spandrel's."""

from collections.abc import Callable, Mapping
from typing import Any, cast

from torch import nn

from srcx import registry
from srcx.archs.community import community_network, community_networks
from srcx.basicsr_compat.adapters import BASICSR_METRICS, basicsr_part
from srcx.basicsr_compat.checks import is_of_basicsr, part_problems, unknown_part
from srcx.config.part_options import SPANDREL
from srcx.errors import BasicSRError, OptionsError
from srcx.registry import known_arguments

__all__ = ["GENERATORS", "AllParts"]

OWN: Mapping[str, Mapping[str, Callable[..., Any]]] = {
    **registry.PARTS,
    "metric": {**registry.METRICS, **BASICSR_METRICS},
}
GENERATORS = frozenset(
    {"ECBSR", "EDSR", "MSRResNet", "RCAN", "RIDNet", "RRDBNet", "SRResNet", "SRVGGNetCompact", "SwinIR"}
)
"""Networks of srcx and BasicSR that upscale single images, none of which takes the path of a file."""


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
        if kind == "network" and type_name.startswith(SPANDREL):
            return community_network(type_name)
        if is_of_basicsr(kind, type_name):
            return basicsr_part(kind, type_name)
        of_spandrel = SPANDREL + type_name
        if kind == "network" and of_spandrel in community_networks():
            raise unknown_part(kind, type_name, own, meant=of_spandrel)
        raise unknown_part(kind, type_name, own)

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
        # Annotations of optimizers allow tensors, and BasicSR's parts have no annotations.
        has_hints = (type_name in OWN[kind] or type_name.startswith(SPANDREL)) and kind != "optimizer"
        known = known_arguments(part, eval_str=has_hints)
        return part_problems(type_name, part.__name__, known, args, check_values=has_hints)

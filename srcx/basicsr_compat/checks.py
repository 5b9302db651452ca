"""The check of the parts that an option file names, from source files: it imports torch only if it must."""

import importlib.util
import inspect
import re
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path

from srcx.basicsr_compat.importing import basicsr_names
from srcx.config.arguments import argument_problems, for_option_files
from srcx.config.part_options import SPANDREL
from srcx.config.values import Number
from srcx.errors import BasicSRError
from srcx.nearest import LIKE_A_PART, LIKE_AN_OPTION, nearest
from srcx.signatures import UnreadableError, entries, look_up, named, signature

__all__ = ["WEIGHTS", "PartChecks", "is_of_basicsr", "part_problems", "unknown_part"]

WEIGHTS = {"PerceptualLoss": {"perceptual_weight", "style_weight"}}
"""Weights among a loss's arguments in an option file: `srcx.training.build` makes terms of them."""
KINDS_OF_BASICSR = ("loss", "network")
OTHER_WORK = re.compile("BasicVSR|DFDNet|DUF|EDVR|HiFaceGAN|IconVSR|SPADE|SpyNet|StyleGAN|TOF")
"""Networks of BasicSR for video and faces, which no list of networks for images names."""
PREFIX = "calculate_"
"""Begins the names of BasicSR's metrics, and of forks' LPIPS and others that srcx has without it."""


class PartChecks:
    """Finds the problems that `AllParts` of `parts.py` finds, from source files where they say enough.

    They do not for the arguments of BasicSR's and spandrel's parts; these are imported.

    Example:
        >>> PartChecks().problems("network", "SRResNet", {"num_fet": 64})
        [('num_fet', "unknown argument; did you mean 'num_feat'?")]
    """

    def problems(self, kind: str, type_name: str, args: Mapping[str, object]) -> list[tuple[str | None, str]]:
        """Return what is wrong with a part that an option file names, without making the part.

        Args:
            kind: "dataset", "loss", "metric", "network", "optimizer" or "scheduler".
            type_name: The value of `type:`.
            args: The part's arguments by name.

        Returns:
            For each problem the argument's name, or None for the type itself, and what is wrong.
        """
        try:
            own = entries(entries(look_up("srcx.basicsr_compat.parts", "OWN"))[kind])
            if type_name in own:
                part = named(own[type_name])
                known = for_option_files(signature(part, annotated=() if kind == "optimizer" else args))
                return part_problems(type_name, part.node.name, known, args, check_values=True)
            of_spandrel = kind == "network" and _may_be_of_spandrel(type_name)
            if not of_spandrel and not is_of_basicsr(kind, type_name):
                return [(None, str(unknown_part(kind, type_name, own)))]
        except UnreadableError:
            pass
        from srcx.basicsr_compat.parts import AllParts

        return AllParts().problems(kind, type_name, args)


def part_problems(
    type_name: str,
    part: str,
    known: Mapping[str, inspect.Parameter],
    args: Mapping[str, object],
    *,
    check_values: bool,
) -> list[tuple[str | None, str]]:
    """Return the `argument_problems` of a part, whose weights among the arguments are not its own.

    Args:
        type_name: The value of `type:`.
        part: The name of its class or function.
        known: Its parameters.
        args: The arguments that the option file gives.
        check_values: Whether the values must fit the annotations.
    """
    weights = {
        name: inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=1.0, annotation=Number)
        for name in WEIGHTS.get(type_name, ())
    }
    return list(argument_problems(part, {**known, **weights}, args, check_values=check_values))


def unknown_part(
    kind: str, type_name: str, own: Collection[str], *, meant: str | None = None
) -> BasicSRError:
    """Return the error about a name that nobody has: with the one that was meant, or with all.

    Args:
        kind: "dataset", "loss", "metric", "network", "optimizer" or "scheduler".
        type_name: The name.
        own: srcx's names of this kind.
        meant: The name that was meant; None looks for the nearest.
    """
    known = {"srcx": sorted(own)}
    why = ""
    if kind in KINDS_OF_BASICSR:
        try:
            known["BasicSR"] = [name for name in basicsr_names(kind) if not OTHER_WORK.match(name)]
        except BasicSRError as error:
            why = str(error)
    # Names of metrics are short, as names of options are; the others end alike, as "...Loss".
    least = LIKE_AN_OPTION if kind == "metric" else LIKE_A_PART
    names = [name for of_library in known.values() for name in of_library]
    if kind == "metric":  # of two names of one metric, that which is written as the unknown name is
        names.sort(key=lambda name: name.startswith(PREFIX) == type_name.startswith(PREFIX))
    by_bare_name = {name.removeprefix(PREFIX): name for name in names}
    near = meant or by_bare_name.get(nearest(type_name.removeprefix(PREFIX), by_bare_name, least=least) or "")
    said = "; ".join(f"{library} has {', '.join(of_library)}" for library, of_library in known.items())
    if kind == "network":
        said += f"; spandrel has more, as {SPANDREL}NAME"
    hint = f"did you mean '{near}'? {why}".rstrip() if near else f"{said}; {why}".removesuffix("; ")
    return BasicSRError(f"unknown {kind} '{type_name}'; {hint}")


def is_of_basicsr(kind: str, type_name: str) -> bool:
    """Return whether a name that is not srcx's names a part of BasicSR."""
    if type_name.startswith("basicsr."):
        return True
    with suppress(BasicSRError):  # it is not installed
        return kind in KINDS_OF_BASICSR and type_name in basicsr_names(kind)
    return False


def _may_be_of_spandrel(type_name: str) -> bool:
    """Return False where spandrel surely has no network of this name, with or without its prefix."""
    spec = importlib.util.find_spec("spandrel")
    folders = [Path(folder) for folder in (spec and spec.submodule_search_locations) or []]
    word = re.compile(rf"\b{re.escape(type_name)}\b")
    files = (file for folder in folders for file in folder.glob("architectures/*/__init__.py"))
    return type_name.startswith(SPANDREL) or any(word.search(file.read_text("utf-8")) for file in files)

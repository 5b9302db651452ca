"""The arguments of a part, such as a network, that an option file gives: checked without making the part."""

import inspect
import json
from collections.abc import Iterator, Mapping

from pydantic import ConfigDict, TypeAdapter, ValidationError

from srcx.config.problems import in_words
from srcx.nearest import LIKE_AN_OPTION, nearest

__all__ = ["argument_problems", "for_option_files"]

GIVEN_BY_SRCX = {"gt", "params", "sr"}
"""Arguments that no option file gives: images of metrics, weights of optimizers."""
FORMER_NAMES = {"norm_img": "range_norm"}
"""Arguments in BasicSR's files of 2021 whose names of today are not like them."""
NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def for_option_files(signature: inspect.Signature) -> dict[str, inspect.Parameter]:
    """Return the parameters that an option file can give, without those only a `**kwargs` would take.

    Nor can a file give a class or a function, as networks take for their kind of normalisation.
    """
    return {
        name: parameter
        for name, parameter in signature.parameters.items()
        if parameter.kind in NAMED
        and name not in GIVEN_BY_SRCX
        and (parameter.default is inspect.Parameter.empty or not callable(parameter.default))
    }


def argument_problems(
    part: str, known: Mapping[str, inspect.Parameter], args: Mapping[str, object], *, check_values: bool
) -> Iterator[tuple[str | None, str]]:
    """Yield what is wrong with `args` as keyword arguments of a part.

    Arguments that only a `**kwargs` would take count as unknown: misspelt ones go there.

    Args:
        part: The part's name, for messages.
        known: Its parameters, from `for_option_files`.
        args: Arguments by name, with values as YAML gives them.
        check_values: Whether the values must fit the part's annotations, where it has some.

    Yields:
        The argument's name, or None where it is missing, and what is wrong.

    Example:
        >>> def blur(sr, *, sigma: float, size: int = 21): ...
        >>> known = for_option_files(inspect.signature(blur))
        >>> list(argument_problems("blur", known, {"sigm": 3}, check_values=True))
        [('sigm', "unknown argument; did you mean 'sigma'?"), (None, "blur needs the argument 'sigma'")]
        >>> list(argument_problems("blur", known, {"sigma": 3, "size": "21"}, check_values=True))
        [('size', "expected a whole number, got '21'")]
    """
    for name, value in args.items():
        if name not in known:
            former = FORMER_NAMES.get(name)
            near = former if former in known else nearest(name, known, least=LIKE_AN_OPTION)
            takes = f"takes {', '.join(known)}" if known else "takes no arguments"
            meant = f"did you mean '{near}'?" if near else f"{part} {takes}"
            yield name, f"unknown argument; {meant}"
        elif check_values and known[name].annotation is not inspect.Parameter.empty:
            adapter = TypeAdapter(known[name].annotation, config=ConfigDict(arbitrary_types_allowed=True))
            try:
                adapter.validate_json(json.dumps(value), strict=True)  # as JSON, a list is a tuple too
            except ValidationError as error:
                yield name, in_words(error.errors(include_url=False)[0], value)
    for name, parameter in known.items():
        if parameter.default is inspect.Parameter.empty and name not in args:
            yield None, f"{part} needs the argument '{name}'"

"""Whether a part takes the arguments an option file gives it, found out without making the part."""

import inspect
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from srcx.config.problems import EXPECTED, shown
from srcx.nearest import LIKE_AN_OPTION, nearest

__all__ = ["argument_problems"]

GIVEN = {"gt", "params", "sr"}  # arguments srcx itself gives: images to metrics, weights to optimizers
NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def argument_problems(
    part: Callable[..., Any], args: Mapping[str, object], *, check_values: bool
) -> Iterator[tuple[str | None, str]]:
    """What is wrong with `args` as keyword arguments of `part`.

    Arguments that would only be swallowed by a `**kwargs` count as unknown: that is where misspelt ones go.

    Args:
        part: A class or function.
        args: Arguments by name, with values as YAML gives them.
        check_values: Whether to hold values against the part's annotations too.

    Yields:
        The argument's name, or None where it is missing, and what is wrong.

    Example:
        >>> def blur(sr, *, sigma: float, size: int = 21): ...
        >>> list(argument_problems(blur, {"sigm": 3}, check_values=True))
        [('sigm', "unknown argument; did you mean 'sigma'?"), (None, "blur needs the argument 'sigma'")]
        >>> list(argument_problems(blur, {"sigma": 3, "size": "21"}, check_values=True))
        [('size', "expected a whole number, got '21'")]
    """
    known = {
        name: parameter
        for name, parameter in inspect.signature(part, eval_str=check_values).parameters.items()
        if parameter.kind in NAMED and name not in GIVEN
    }
    for name, value in args.items():
        if name not in known:
            yield name, _unknown(part, name, list(known))
        elif check_values:
            yield from _value_problems(name, known[name].annotation, value)
    for name, parameter in known.items():
        if parameter.default is inspect.Parameter.empty and name not in args:
            yield None, f"{part.__name__} needs the argument '{name}'"


def _unknown(part: Callable[..., Any], name: str, known: list[str]) -> str:
    near = nearest(name, known, least=LIKE_AN_OPTION)
    if near is not None:
        return f"unknown argument; did you mean '{near}'?"
    takes = f"takes {', '.join(known)}" if known else "takes no arguments"
    return f"unknown argument; {part.__name__} {takes}"


def _value_problems(name: str, annotation: Any, value: object) -> Iterator[tuple[str, str]]:
    try:
        # JSON, because strictly a list read from a file is no tuple, and in JSON it is.
        adapter = TypeAdapter(annotation, config=ConfigDict(arbitrary_types_allowed=True))
        adapter.validate_json(json.dumps(value), strict=True)
    except ValidationError as error:
        details = error.errors(include_url=False)[0]
        expected = EXPECTED.get(details["type"], details["msg"]).format(**details.get("ctx", {}))
        yield name, f"expected {expected}, got {shown(value)}"

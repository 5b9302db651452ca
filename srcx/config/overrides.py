"""Options changed from the command line: `--force_yml key:sub=value`."""

from collections.abc import Iterable
from typing import Any

from srcx.config.document import Document, Place
from srcx.config.yaml_reader import read_value
from srcx.errors import OptionsError

__all__ = ["apply_overrides"]


def apply_overrides(document: Document, overrides: Iterable[str]) -> list[str]:
    """Write each `key:sub=value` into `document`; return what is wrong with those that could not be.

    The value is read as a YAML value and never as code. BasicSR's `None` is taken as null, in any case.
    """
    problems = []
    for override in overrides:
        try:
            path, value = _split(override)
            _check_parents(document, override, path)
        except OptionsError as error:
            problems.extend(error.problems)
        else:
            document.put(path, value, Place.command_line())
    return problems


def _split(override: str) -> tuple[tuple[str, ...], Any]:
    keys, equals, text = override.partition("=")
    if equals and "." in keys and text.strip():
        raise OptionsError(
            f"--force_yml: {_one_line(override)}: colons separate keys; write "
            f"{_one_line(keys.replace('.', ':'))}={_one_line(text)}"
        )
    path = tuple(key.strip() for key in keys.split(":"))
    if not equals or not all(path) or not keys.isprintable() or not text.strip():
        raise OptionsError(f"--force_yml: {override!r} is not key=value; write train:ema_decay=0.999")
    return path, None if text.strip().lower() == "none" else read_value(
        text, f"--force_yml: {_one_line(override)}"
    )


def _check_parents(document: Document, override: str, path: tuple[str, ...]) -> None:
    for length in range(1, len(path)):
        section = document.get(path[:length])
        if section is not None and not isinstance(section, dict):
            name = ".".join(path[:length])
            raise OptionsError(f"--force_yml: {_one_line(override)}: '{name}' is a value, not a section")


def _one_line(override: str) -> str:
    return override if override.isprintable() else repr(override)

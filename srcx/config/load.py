"""From an option file to checked, frozen options; every mistake is found before anything else happens."""

import re
from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from os import PathLike
from pathlib import Path
from typing import Annotated, Any, Protocol

from pydantic import TypeAdapter, ValidationError

from srcx.config.checks import cross_problems
from srcx.config.degradation import DegradationOptions
from srcx.config.dialect import outside, translate
from srcx.config.document import Document, KeyPath, Place
from srcx.config.options import MODELS, Options
from srcx.config.part_options import LossTerm, Metric, Part
from srcx.config.problems import Problem, lines, schema_problems
from srcx.config.yaml_io import read_file, read_value
from srcx.errors import OptionsError
from srcx.nearest import nearest

__all__ = ["Parts", "degradation_names", "load_degradation", "load_options", "read_options"]

DEGRADATIONS = Path(__file__).parent / "degradations"
SCHEMA: TypeAdapter[Options] = TypeAdapter(Annotated[Options, MODELS])


class Parts(Protocol):
    """Checks parts by name: networks, losses, metrics and optimizers; see `srcx.basicsr_compat.parts`."""

    def problems(self, kind: str, type_name: str, args: Mapping[str, object]) -> list[tuple[str | None, str]]:
        """Return what is wrong with one part.

        Args:
            kind: "network", "loss", "metric" or "optimizer".
            type_name: The part's `type`.
            args: The part's own arguments.

        Returns:
            For each problem the argument's name, or None for the type itself, and a message.
        """
        ...


def load_options(
    path: str | PathLike[str], *, overrides: Iterable[str] = (), parts: Parts | None = None
) -> Options:
    """Read an option file of BasicSR's dialect.

    Args:
        path: The file.
        overrides: Changes from the command line, each `key:sub=value`.
        parts: Checks the names and arguments of networks, losses ...; None leaves them unchecked.

    Returns:
        The options with their places.

    Raises:
        OptionsError: the file cannot be read or is wrong; holds every mistake with its line.
    """
    document = read_file(Path(path))
    refused = _apply(overrides, document)
    if other_work := outside(document):
        raise OptionsError(lines([other_work], document))
    problems = translate(document)
    options, found = _validate(document)
    problems += [new for new in found if new.path not in {problem.path for problem in problems}]
    if parts is not None:
        known = {problem.path for problem in problems}
        problems += [new for new in _part_problems(document, parts) if new.path not in known]
    said = lines(problems, document) + refused
    if said or options is None:
        raise OptionsError(said)
    return options.written_in(document)


def read_options(text: str) -> dict[str, Any]:
    """Return the plain values of all options in a text of `Options.to_yaml`.

    Options that srcx has had only since the text was written have their defaults.

    Raises:
        OptionsError: the text is not of options, or of options that srcx no longer has.
    """
    try:
        options = SCHEMA.validate_python(read_value(text, "options"))
    except ValidationError as error:
        raise OptionsError(f"these are not options of this version of srcx: {error}") from error
    plain: dict[str, Any] = read_value(options.to_yaml(), "options")
    return plain


def degradation_names() -> list[str]:
    """Return the names of the degradations that come with srcx."""
    return sorted(path.stem for path in DEGRADATIONS.glob("*.yml"))


def load_degradation(name_or_path: str | PathLike[str]) -> DegradationOptions:
    """Read the description of a degradation.

    Args:
        name_or_path: One of `degradation_names`, or a .yml file with the content that an option file has
            under `degradation:`.

    Raises:
        OptionsError: there is no such name or file, or the file is wrong; holds every mistake with its line.
    """
    names, path = degradation_names(), Path(name_or_path)
    if str(name_or_path) in names:
        path = DEGRADATIONS / f"{name_or_path}.yml"
    elif path.suffix not in (".yml", ".yaml"):
        near = nearest(str(name_or_path), names, least=0.6)
        meant = f"did you mean '{near}'?" if near else "a file's name ends in .yml"
        raise OptionsError(f"unknown degradation '{name_or_path}'; known are {', '.join(names)}; {meant}")
    document = read_file(path)
    try:
        return DegradationOptions.model_validate(document.data)
    except ValidationError as error:
        raise OptionsError(lines(schema_problems(error, DegradationOptions), document)) from error


def _apply(overrides: Iterable[str], document: Document) -> list[str]:
    """Write each `key:sub=value` into `document`; return what is wrong with those that are refused.

    The value is read as a YAML value and never as code. BasicSR's `None` is null, in any case.
    """
    problems = []
    for override in overrides:
        keys, equals, text = override.partition("=")
        path = tuple(key.strip() for key in keys.split(":"))
        place = f"--force_yml: {_printable(override)}"
        if equals and "." in keys and text.strip():
            right = f"{_printable(keys.replace('.', ':'))}={_printable(text)}"
            problems.append(f"{place}: colons separate keys; write {right}")
            continue
        if not equals or not all(path) or not keys.isprintable() or not text.strip():
            said = f"{override!r} is not key=value; write train:ema_decay=0.999"
            problems.append(f"--force_yml: {said}")
            continue
        try:
            value = None if text.strip().lower() == "none" else read_value(text, place)
        except OptionsError as error:
            problems += error.problems
            continue
        parents = [path[:length] for length in range(1, len(path))]
        values = [name for name in parents if not isinstance(document.get(name), dict | None)]
        if values:
            problems.append(f"{place}: '{'.'.join(values[0])}' is a value, not a section")
        else:
            document.put(path, value, Place.command_line())
    return problems


def _printable(text: str) -> str:
    return text if text.isprintable() else repr(text)


def _validate(document: Document) -> tuple[Options | None, list[Problem]]:
    """Return the options as far as they can be read, and what is wrong with them."""
    options: Options | None
    problems: list[Problem] = []
    try:
        options = SCHEMA.validate_python(document.data)
    except ValidationError as error:
        problems = schema_problems(error, Options, MODELS)
        options = _corrected(document, problems)
    if options is not None:
        wrong = [problem.path for problem in problems]
        problems += [new for new in cross_problems(options) if not _follows(new, wrong)]
    return options, problems


def _corrected(document: Document, problems: list[Problem]) -> Options | None:
    """Return the options with right values for wrong ones, to check the others against each other too."""
    rest = Document(document.file, deepcopy(document.data))
    for problem in problems:
        items = [length for length, key in enumerate(problem.path) if isinstance(key, int)]
        path = problem.path[: items[0]] if items else problem.path
        section = rest.get(path[:-1])
        if isinstance(section, dict) and path[-1] in section:
            section.pop(path[-1])
        if isinstance(section, dict) and problem.right is not None:
            section[path[-1]] = problem.right
    try:
        return SCHEMA.validate_python(rest.data)
    except ValidationError:
        return None


def _follows(problem: Problem, wrong: list[KeyPath]) -> bool:
    """Return whether a problem may come from a wrong value that was left out: it lies there, or names it."""
    path, words = problem.path, set(re.findall(r"\w+", problem.message))
    names = {[key for key in one if isinstance(key, str)][-1] for one in wrong if one}
    return not names.isdisjoint(words) or any(
        path[: len(one)] == one or one[: len(path)] == path for one in wrong
    )


def _part_problems(document: Document, parts: Parts) -> Iterator[Problem]:
    """Yield what is wrong with the parts that the file names; wrong sections are the schema's matter."""
    named: list[tuple[KeyPath, str, type[Part]]] = [
        (("network_g",), "network", Part),
        (("network_d",), "network", Part),
    ]
    for key in _keys(document, ("train",)):
        if key in ("optim_g", "optim_d"):
            named.append((("train", key), "optimizer", Part))
        elif key.endswith("_opt"):
            named.append((("train", key), "loss", LossTerm))
    for key in _keys(document, ("val", "metrics")):
        named.append((("val", "metrics", key), "metric", Metric))
    for path, kind, part in named:
        value = document.get(path)
        if isinstance(value, dict) and isinstance(value.get("type"), str):
            args = {key: value[key] for key in value if key not in part.not_args}
            for name, message in parts.problems(kind, value["type"], args):
                yield Problem((*path, name or "type"), message)


def _keys(document: Document, path: KeyPath) -> list[Any]:
    section = document.get(path)
    return list(section) if isinstance(section, dict) else []

"""From an option file to checked, frozen options; every mistake is found before anything else happens."""

from collections.abc import Iterable
from copy import deepcopy
from difflib import get_close_matches
from os import PathLike
from pathlib import Path

from pydantic import ValidationError

from srcx.config.checks import cross_problems
from srcx.config.degradation import DegradationOptions
from srcx.config.document import Document, KeyPath
from srcx.config.old_words import modernise, outside
from srcx.config.options import Options
from srcx.config.overrides import apply_overrides
from srcx.config.parts import Parts, named_parts
from srcx.config.problems import Problem, schema_problems
from srcx.config.yaml_reader import read_file
from srcx.errors import OptionsError

__all__ = ["degradation_names", "load_degradation", "load_options"]

DEGRADATIONS = Path(__file__).parent / "degradations"


def load_options(
    path: str | PathLike[str], *, overrides: Iterable[str] = (), parts: Parts | None = None
) -> Options:
    """Read an option file of BasicSR's dialect.

    Args:
        path: The file.
        overrides: Changes from the command line, each `key:sub=value`.
        parts: Who knows networks, losses ... by name; None leaves their names and arguments unchecked.

    Returns:
        The options, which know where each was written.

    Raises:
        OptionsError: the file cannot be read or is wrong; holds every mistake with its line.
    """
    document = read_file(Path(path))
    refused = apply_overrides(document, overrides)
    if other_work := outside(document):
        raise OptionsError([other_work.line(document)])
    problems = modernise(document)
    options, found = _validate(document)
    problems += [new for new in found if new.path not in {problem.path for problem in problems}]
    if parts is not None:
        known = {problem.path for problem in problems}
        problems += [new for new in _part_problems(document, parts) if new.path not in known]
    lines = _in_order(problems, document) + refused
    if lines or options is None:
        raise OptionsError(lines)
    return options.written_in(document)


def degradation_names() -> list[str]:
    """Return the names of the degradations that come with srcx."""
    return sorted(path.stem for path in DEGRADATIONS.glob("*.yml"))


def load_degradation(name_or_path: str | PathLike[str]) -> DegradationOptions:
    """Read the description of a degradation.

    Args:
        name_or_path: One of `degradation_names`, or a .yml file that holds what an option file has
            under `degradation:`.

    Raises:
        OptionsError: there is no such name or file, or the file is wrong; holds every mistake with its line.
    """
    names, path = degradation_names(), Path(name_or_path)
    if str(name_or_path) in names:
        path = DEGRADATIONS / f"{name_or_path}.yml"
    elif path.suffix not in (".yml", ".yaml"):
        near = get_close_matches(str(name_or_path), names, n=1)
        meant = f"did you mean '{near[0]}'?" if near else "a file's name ends in .yml"
        raise OptionsError(f"unknown degradation '{name_or_path}'; known are {', '.join(names)}; {meant}")
    document = read_file(path)
    try:
        return DegradationOptions.model_validate(document.data)
    except ValidationError as error:
        problems = schema_problems(error, DegradationOptions)
        raise OptionsError(_in_order(problems, document)) from error


def _validate(document: Document) -> tuple[Options | None, list[Problem]]:
    """The options as far as they can be understood, and what is wrong with them."""
    options: Options | None
    problems: list[Problem] = []
    try:
        options = Options.model_validate(document.data)
    except ValidationError as error:
        problems = schema_problems(error)
        options = _without_wrong_values(document, problems)
    if options is not None:
        wrong = {problem.path for problem in problems}
        problems += [new for new in cross_problems(options) if not _inside(new, wrong)]
    return options, problems


def _without_wrong_values(document: Document, problems: list[Problem]) -> Options | None:
    """The options with wrong values left out, so that what depends on the others can be checked too."""
    rest = Document(document.file, deepcopy(document.data))
    for problem in problems:
        path = _whole_value(problem.path)
        section = rest.get(path[:-1])
        if isinstance(section, dict) and path[-1] in section:
            rest.take(path)
    try:
        return Options.model_validate(rest.data)
    except ValidationError:
        return None


def _whole_value(path: KeyPath) -> KeyPath:
    """The option a list item belongs to."""
    items = [length for length, key in enumerate(path) if isinstance(key, int)]
    return path[: items[0]] if items else path


def _inside(problem: Problem, wrong: set[KeyPath]) -> bool:
    """Whether the problem may only be the echo of a wrong value that was left out."""
    return any(
        problem.path[: len(path)] == path or path[: len(problem.path)] == problem.path for path in wrong
    )


def _part_problems(document: Document, parts: Parts) -> list[Problem]:
    found = []
    for path, kind, type_name, args in named_parts(document):
        for name, message in parts.problems(kind, type_name, args):
            found.append(Problem((*path, name or "type"), message))
    return found


def _in_order(problems: list[Problem], document: Document) -> list[str]:
    ordered = sorted(problems, key=lambda problem: problem.place(document).line)
    return list(dict.fromkeys(problem.line(document) for problem in ordered))

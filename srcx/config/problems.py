"""What is wrong with an option file, in words: the place, the option, what was expected and what came."""

from collections.abc import Iterator
from typing import Any, NamedTuple, get_args

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from srcx.config.document import Document, KeyPath, Place
from srcx.config.options import Options, Section, TrainOptions
from srcx.nearest import LIKE_AN_OPTION, nearest

__all__ = ["EXPECTED", "Problem", "schema_problems", "shown"]

USUAL_TERMS = ("pixel_opt", "perceptual_opt", "gan_opt", "contextual_opt", "low_frequency_opt")
"""Names of loss terms; any other `<name>_opt` will do, these only help with misspelt ones."""

MISSING = "this option is required and missing"

EXPECTED = {
    "int_type": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "string_type": "text",
    "model_type": "a section of 'key: value' lines",
    "model_attributes_type": "a section of 'key: value' lines",
    "dict_type": "a section of 'key: value' lines",
    "tuple_type": "a list",
    "greater_than": "a number above {gt}",
    "greater_than_equal": "a number from {ge} on",
    "less_than": "a number below {lt}",
    "less_than_equal": "a number up to {le}",
    "literal_error": "one of {expected}",
    "expected": "{expected}",
}


class Problem(NamedTuple):
    """One mistake: the option, and what is wrong with it."""

    path: KeyPath
    message: str
    meant: str | None = None
    """Of an unknown option, the one in the same section that was meant."""

    def place(self, document: Document) -> Place:
        return document.place(self.path)

    def line(self, document: Document) -> str:
        """The mistake as the user reads it."""
        return f"{self.place(document)}: {document.name(self.path)}: {self.message}"


def schema_problems(error: ValidationError, root: type[Section] = Options) -> list[Problem]:
    """Every mistake pydantic found in a file that is a `root`, in srcx's words."""
    problems = [_problem(details, root) for details in error.errors(include_url=False)]
    misspelt = {(*problem.path[:-1], problem.meant) for problem in problems if problem.meant}
    return [problem for problem in problems if problem.message != MISSING or problem.path not in misspelt]


def _problem(details: ErrorDetails, root: type[Section]) -> Problem:
    path = _as_written(details["loc"])
    if details["type"] == "extra_forbidden":
        section = _section_at(details["loc"][:-1], root)
        near = nearest(str(path[-1]), _keys(section), least=LIKE_AN_OPTION)
        return Problem(path, _unknown(str(path[-1]), near, section, root), near)
    return Problem(path, _message(details))


def _message(details: ErrorDetails) -> str:
    kind, came = details["type"], details["input"]
    if kind == "missing":
        return MISSING
    if kind == "sentence":
        return details["msg"]
    limits = {key: _bare(limit) for key, limit in details.get("ctx", {}).items()}
    expected = EXPECTED[kind].format(**limits) if kind in EXPECTED else details["msg"]
    return f"expected {expected}, got {shown(came)}{_quotes(kind, came) or _near_choice(details)}"


def _bare(limit: Any) -> Any:
    """1 for 1.0: limits of fractions read better so."""
    return int(limit) if isinstance(limit, float) and limit.is_integer() else limit


def _quotes(kind: str, came: Any) -> str:
    """Quotes make the difference between text and numbers, so they are the usual slip."""
    if kind == "string_type" and isinstance(came, int | float):
        return "; put it in quotes"
    if not isinstance(came, str):
        return ""
    plain = came.lower() in ("true", "false") if kind == "bool_type" else _reads_as_number(came)
    return "; write it without quotes" if plain and kind in ("int_type", "float_type", "bool_type") else ""


def _reads_as_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _unknown(key: str, near: str | None, section: type[Section], root: type[Section]) -> str:
    homes = [name for name, other in _all_sections("", root) if key in _keys(other)]
    if homes:
        return f"unknown option here; it belongs {' or '.join(homes)}"
    if near:
        return f"unknown option; did you mean '{near}'?"
    return f"unknown option; known here: {', '.join(_keys(section))}"


def _near_choice(details: ErrorDetails) -> str:
    """For a misspelt word out of a few, the one that was meant."""
    if details["type"] != "literal_error" or not isinstance(details["input"], str):
        return ""
    choices = [choice for choice in details["ctx"]["expected"].split("'") if choice.isidentifier()]
    near = nearest(details["input"], choices, least=LIKE_AN_OPTION)
    return f"; did you mean '{near}'?" if near else ""


def shown(value: Any) -> str:
    """A value as the file would write it, short."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, dict):
        return "a section" if value else "an empty section"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _as_written(loc: tuple[int | str, ...]) -> KeyPath:
    """The path in the file: the schema keeps losses and val sets in groups of their own."""
    if loc[:2] == ("train", "losses") and len(loc) > 2:
        return ("train", f"{loc[2]}_opt", *loc[3:])
    if loc[:1] == ("datasets",) and len(loc) > 2 and loc[1] in ("val", "test"):
        return ("datasets", *loc[2:])
    return loc


def _section_at(loc: tuple[int | str, ...], root: type[Section]) -> type[Section]:
    """The schema class of the section at `loc`."""
    section = root
    for key in loc:
        field = section.model_fields.get(str(key))
        if field is not None:
            section = _section_in(field.annotation) or section
    return section


def _section_in(annotation: Any) -> type[Section] | None:
    """The section class inside an annotation such as `dict[str, LossTerm] | None`."""
    inner = get_args(annotation)  # looked at first: to Python 3.10 dict[...] is a type itself
    if not inner:
        return annotation if isinstance(annotation, type) and issubclass(annotation, Section) else None
    return next((found for part in inner if (found := _section_in(part))), None)


def _keys(section: type[Section]) -> list[str]:
    keys = [name for name in section.model_fields if (section, name) != (TrainOptions, "losses")]
    return keys + list(USUAL_TERMS) if section is TrainOptions else keys


def _all_sections(name: str, section: type[Section]) -> Iterator[tuple[str, type[Section]]]:
    """Every section of the schema, with where it stands in words."""
    yield f"under '{name}'" if name else "at the top of the file", section
    for key, field in section.model_fields.items():
        inner = _section_in(field.annotation)
        if inner is not None:
            yield from _all_sections(f"{name}.{key}".removeprefix("."), inner)

"""Sentences about what is wrong in an option file: the place, the option, what was expected and what came."""

from collections.abc import Iterator
from typing import Any, NamedTuple, get_args

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from srcx.config.document import Document, KeyPath
from srcx.config.options import TrainOptions
from srcx.config.values import Kinds, Section, is_foreign
from srcx.nearest import LIKE_A_PART, LIKE_AN_OPTION, nearest

__all__ = ["Problem", "in_words", "lines", "schema_problems", "shown"]

USUAL_TERMS = ("pixel_opt", "perceptual_opt", "gan_opt", "contextual_opt", "low_frequency_opt")
"""Names of loss terms for `did you mean`; every other `<name>_opt` is right too."""

WORDS_OF_FORKS = {
    "accum_iter": "train.accumulate",
    "amp_bf16": "train.precision",
    "keep_ckpt_num": "logger.keep_last",
    "use_amp": "train.precision",
    "use_channels_last": "train.channels_last",
    "use_fp16": "train.precision",
}
"""Options of forks of BasicSR whose names are not like those of srcx, and the options of srcx."""

MISSING = "missing"
"""The end of the message about an option that is not there."""

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
    right: Any = None
    """A right value, to check other options with; None where the option may be left out."""
    meant: str | None = None
    """Of an unknown option, the one in the same section that was meant."""
    known: str = ""
    """End of the message: the options of the section; said once for each section."""


def lines(problems: list[Problem], document: Document) -> list[str]:
    """Return the mistakes as the user reads them, in the order of the file.

    An option that is there under a misspelt name is not also called missing.
    """
    misspelt = {(*one.path[:-1], one.meant) for one in problems if one.meant}
    given = [one for one in problems if one.path not in misspelt or not one.message.endswith(MISSING)]
    ordered = sorted(given, key=lambda problem: document.place(problem.path).line)
    texts: list[str] = []
    listed: set[KeyPath] = set()
    for one in ordered:
        known = "" if one.path[:-1] in listed else one.known
        if known:
            listed.add(one.path[:-1])
        texts.append(f"{document.place(one.path)}: {document.name(one.path)}: {one.message}{known}")
    return list(dict.fromkeys(texts))


def schema_problems(error: ValidationError, root: type[Section], kinds: Kinds | None = None) -> list[Problem]:
    """Return every mistake that pydantic found.

    Args:
        error: The error of `root`, or of the class that `kinds` chose instead.
        root: The class of the whole file.
        kinds: The kinds of files, if there are several.
    """
    return [_problem(details, _follow(details["loc"], root, kinds), root) for details in error.errors()]


def in_words(details: ErrorDetails, value: Any) -> str:
    """Return "expected ..., got ..." for one error of pydantic about `value`."""
    kind = details["type"]
    limits = {
        key: int(limit) if isinstance(limit, float) and limit.is_integer() else limit  # 1 for 1.0
        for key, limit in details.get("ctx", {}).items()
    }
    expected = EXPECTED[kind].format(**limits) if kind in EXPECTED else details["msg"]
    return f"expected {expected}, got {shown(value)}"


def shown(value: Any) -> str:
    """Return a value as the file would write it, short."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, dict):
        return "a section" if value else "an empty section"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


class _Location(NamedTuple):
    """One option in the schema."""

    path: KeyPath
    """Its keys, without the names of kinds."""
    section: type[Section]
    """The section that has the option, or refuses it."""
    field: FieldInfo | None
    """The option, if the section has it."""
    kinds: Kinds | None
    """The innermost union around the option."""
    kind: str
    """The name of the chosen kind in that union, or `Kinds.OTHER`."""
    inside: KeyPath
    """The path from the section of that kind to the one that has the option."""


def _follow(loc: tuple[int | str, ...], root: type[Section], kinds: Kinds | None) -> _Location:
    path: KeyPath = ()
    section, field, inner = root, None, root
    union, chosen, kind, start = kinds, None, Kinds.OTHER, 0
    for key in loc:
        if union is not None and (key in union.classes or key == Kinds.OTHER):
            chosen, kind, start = union, str(key), len(path)
            inner, union = union.classes.get(kind, union.other), None
            continue
        path = (*path, key)
        if isinstance(key, int):  # an item of the option before
            continue
        section, field = inner, inner.model_fields.get(key)
        if field is not None:
            deeper, union_inside = _inside(field)
            inner, union = deeper or inner, union_inside or union
    return _Location(path, section, field, chosen, kind, path[start:-1])


def _problem(details: ErrorDetails, at: _Location, root: type[Section]) -> Problem:
    path, came, kind = _as_written(at.path), details["input"], details["type"]
    right = _right(at.field.annotation) if at.field is not None and at.field.is_required() else None
    if kind == "missing":
        general = _section_at(at.inside, at.kinds.other) if at.kinds is not None else root
        field = general.model_fields.get(str(at.path[-1]))
        if at.kind != Kinds.OTHER and (field is None or not field.is_required()):
            return Problem(path, f"{at.kind} requires this option and it is {MISSING}", right)
        return Problem(path, f"this option is required and {MISSING}", right)
    if kind == "extra_forbidden" or (at.field is not None and is_foreign(at.field)):
        near = nearest(str(at.path[-1]), _keys(at.section), least=LIKE_AN_OPTION)
        hint = _hint(str(at.path[-1]), near, at, root)
        known = "" if hint else f"; known here: {', '.join(_keys(at.section))}"
        return Problem(path, hint or "unknown option", meant=near, known=known)
    if kind == "sentence":
        return Problem(path, details["msg"], right)
    message = in_words(details, came)
    if kind == "string_type" and isinstance(came, int | float):
        message += "; put it in quotes"
    elif kind == "literal_error" and isinstance(came, str):
        # Names of classes end alike, as "...Model"; other values are short, as names of options are.
        least = LIKE_A_PART if at.path[-1] in ("type", "model_type") else LIKE_AN_OPTION
        near = nearest(came, details["ctx"]["expected"].split("'")[1::2], least=least)
        right = near or right
        message += f"; did you mean '{near}'?" if near else ""
    elif isinstance(came, str) and (
        (kind in ("int_type", "float_type") and _reads_as_number(came))
        or (kind == "bool_type" and came.lower() in ("true", "false"))
    ):
        message += "; write it without quotes"
    return Problem(path, message, right)


def _right(annotation: Any) -> Any:
    """Return a right value of a needed text, number or list of numbers; None for a section."""
    parts = list(_parts(annotation))
    if str in parts:
        return "-"
    if int in parts:
        return [1] if Ellipsis in parts else 1
    return 1.0 if float in parts else None


def _reads_as_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _hint(key: str, near: str | None, at: _Location, root: type[Section]) -> str | None:
    """Return the message about an option unknown here but known elsewhere or nearly; None for others."""
    if at.kinds is not None and at.kind != Kinds.OTHER:
        classes = at.kinds.classes.items()
        others = [name for name, kind in classes if key in _keys(_section_at(at.inside, kind))]
        if others:
            has = (
                f"{', '.join(others[:-1])} and {others[-1]} have it" if others[1:] else f"{others[0]} has it"
            )
            return f"{at.kind} has no such option, {has}; " + (
                f"did you mean '{near}'?" if near else "remove this"
            )
    places = list(dict.fromkeys(name for name, other in _all_sections("", root) if key in _keys(other)))
    if places:
        return f"unknown option here; it belongs {' or '.join(places)}"
    if key in WORDS_OF_FORKS:
        return f"unknown option; srcx has '{WORDS_OF_FORKS[key]}' for this"
    if near:
        return f"unknown option; did you mean '{near}'?"
    return None


def _as_written(path: KeyPath) -> KeyPath:
    """Return the path in the file; the schema has losses and val sets in groups of their own."""
    if path[:2] == ("train", "losses") and len(path) > 2:
        return ("train", f"{path[2]}_opt", *path[3:])
    if path[:1] == ("datasets",) and len(path) > 2 and path[1] in ("val", "test"):
        return ("datasets", *path[2:])
    return path


def _section_at(keys: KeyPath, section: type[Section]) -> type[Section]:
    for key in keys:
        field = section.model_fields.get(str(key))
        section = (_inside(field)[0] if field is not None else None) or section
    return section


def _inside(field: FieldInfo) -> tuple[type[Section] | None, Kinds | None]:
    """Return the section and the union in an annotation such as `dict[str, LossTerm] | None`."""
    found = [*field.metadata, *_parts(field.annotation)]
    sections = (one for one in found if isinstance(one, type) and issubclass(one, Section))
    return next(sections, None), next((one for one in found if isinstance(one, Kinds)), None)


def _parts(annotation: Any) -> Iterator[Any]:
    inner = get_args(annotation)  # looked at first: to Python 3.10 dict[...] is a type itself
    if not inner:
        yield annotation
    for part in inner:
        yield from _parts(part)


def _keys(section: type[Section]) -> list[str]:
    keys = [name for name, field in section.model_fields.items() if not is_foreign(field)]
    if issubclass(section, TrainOptions):
        keys = [key for key in keys if key != "losses"] + list(USUAL_TERMS)
    return keys


def _all_sections(name: str, section: type[Section]) -> Iterator[tuple[str, type[Section]]]:
    """Yield every section of the schema with its place in words."""
    yield f"under '{name}'" if name else "at the top of the file", section
    for key, field in section.model_fields.items():
        inner, kinds = _inside(field)
        for kind in (inner, *(kinds.classes.values() if kinds else ())):
            if kind is not None:
                yield from _all_sections(f"{name}.{key}".removeprefix("."), kind)

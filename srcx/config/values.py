"""Sections of an option file and the values in them, read strictly: text is never taken for a number."""

import unicodedata
from contextlib import suppress
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PlainValidator,
    WithJsonSchema,
)
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from srcx.config.yaml_io import BACKSLASHES
from srcx.signatures import UnreadableError, docstrings, look_up

__all__ = [
    "FORMULA_SIGNS",
    "Count",
    "Defaulted",
    "FilePath",
    "Folders",
    "Fraction",
    "Kinds",
    "NameEnd",
    "Natural",
    "NonNegative",
    "NumGpu",
    "Number",
    "Positive",
    "RunName",
    "Section",
    "SetName",
    "Template",
    "Tuple",
    "Whole",
    "is_foreign",
    "is_run_name",
    "sentence",
    "wrong",
]

T = TypeVar("T")

CONTROL = ("Cc", "Zl", "Zp")
"""Unicode's categories of control characters and of separators of lines and paragraphs."""
FORMULA_SIGNS = "=+-@"
"""A spreadsheet takes a text for a formula that begins with one of these."""


class Section(BaseModel):
    """A mapping of the option file: frozen, strict, and closed to unknown keys.

    The docstring below an option is its description. Making these classes takes most of the time until a
    wrong file is refused, so the validators are made once, for the whole file.
    """

    model_config = ConfigDict(
        frozen=True, strict=True, extra="forbid", defer_build=True, protected_namespaces=()
    )

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Set the descriptions; pydantic can too, but reads the source file again for each class."""
        with suppress(UnreadableError):
            for name, text in docstrings(look_up(cls.__module__, cls.__name__)).items():
                if name in cls.model_fields:
                    cls.model_fields[name].description = text


def is_foreign(field: FieldInfo) -> bool:
    """Return whether a kind of section declares an option of other kinds, which may only have its default.

    Such a field is declared as None, or as a literal that equals its default. So null, and a file with all
    options written out, are right for every kind.
    """
    plain = field.annotation
    one_value = get_origin(plain) is Literal and get_args(plain) == (field.default,)
    return plain in (None, NoneType) or one_value


class Kinds:
    """Annotation of a section whose class follows from one of its keys: pydantic's discriminated union.

    A section of no known kind is checked as `other`, so that its other mistakes are found as well.

    Args:
        key: The key that names the kind.
        other: The class for a section of no known kind; refuses the name.
        classes: The classes; each declares `key` as the literal of its names.
    """

    OTHER = "other"

    def __init__(self, key: str, other: type[Section], *classes: type[Section]) -> None:
        self.key, self.other = key, other
        self.classes = {
            name: kind for kind in classes for name in get_args(kind.model_fields[key].annotation)
        }

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        choices = {name: handler.generate_schema(kind) for name, kind in self.classes.items()}
        choices[self.OTHER] = handler.generate_schema(self.other)
        return core_schema.tagged_union_schema(choices, discriminator=self._name_of)

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """Return the conditions "where `key` is this name, the section is of that class"."""
        refs = {name: handler(choice) for name, choice in schema["choices"].items()}
        names = [name for name in refs if name != self.OTHER]
        return {
            "type": "object",
            "required": [self.key],
            "properties": {self.key: {"enum": names}},
            "allOf": [
                {
                    "if": {"properties": {self.key: {"const": name}}, "required": [self.key]},
                    "then": refs[name],
                }
                for name in names
            ],
        }

    def _name_of(self, value: Any) -> str:
        name = value.get(self.key) if isinstance(value, dict) else getattr(value, self.key, None)
        return name if isinstance(name, str) and name in self.classes else self.OTHER


class OrNull:
    """Annotation for the JSON schema: the section may also be null."""

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"anyOf": [handler(schema), {"type": "null"}]}


def wrong(expected: str) -> PydanticCustomError:
    """Return an error that `problems.py` completes to "expected ..., got ..."."""
    return PydanticCustomError("expected", "{expected}", {"expected": expected})


def sentence(text: str) -> PydanticCustomError:
    """Return an error with this text."""
    return PydanticCustomError("sentence", "{text}", {"text": text})


def _whole(value: Any) -> Any:
    """Return 5000 for 5000.0, since BasicSR's files write counts as `5e3`; other values as they are."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _file_path(text: str) -> str:
    if not text or "\0" in text:
        raise wrong("a path")
    if any(unicodedata.category(sign) in CONTROL for sign in text):
        raise wrong(f"a path without control characters ({BACKSLASHES})")
    try:
        return str(Path(text).expanduser()) if text.startswith("~") else text
    except RuntimeError as error:
        raise wrong("a path whose '~' names a known user") from error


def _folders(value: Any) -> Any:
    given = value if isinstance(value, list | tuple) else [value]
    if not given or not all(isinstance(folder, str) for folder in given):
        raise wrong("a folder, or a list of folders")
    folders = tuple(_file_path(folder) for folder in given)
    return folders if isinstance(value, list | tuple) else folders[0]


def _num_gpu(value: Any) -> Any:
    value = _whole(value)
    if value == "auto" or (isinstance(value, int) and not isinstance(value, bool) and value >= 0):
        return value
    raise wrong("'auto', or a number of GPUs from 0 on")


def is_run_name(text: str) -> bool:
    """Return whether a run can have this name."""
    return (
        bool(text.strip()) and text not in (".", "..") and text.isprintable() and not set("/\\") & set(text)
    )


def _run_name(text: str) -> str:
    if not is_run_name(text):
        raise wrong("a name that can be a folder's name, without '/'")
    return text


def _set_name(text: str) -> str:
    if text[:1] in FORMULA_SIGNS:
        raise wrong(
            f"a name that no spreadsheet takes for a formula: without {' '.join(FORMULA_SIGNS)} in front"
        )
    return text


def _name_end(text: str) -> str:
    if any(sign in "/\\" or not sign.isprintable() for sign in text):
        raise wrong("the end of a file's name, without '/'")
    return text


def _template(text: str) -> str:
    if text.count("{}") != 1 or "{" in text.replace("{}", "") or "}" in text.replace("{}", ""):
        raise wrong("text with one '{}' where the file's name goes, such as '{}x4'")
    return text


Whole = Annotated[int, BeforeValidator(_whole), Field(ge=-(2**53), le=2**53)]
"""A whole number; 5e3 counts as one."""
Natural = Annotated[int, BeforeValidator(_whole), Field(ge=0, le=2**53)]
"""0, 1, 2, ..."""
Count = Annotated[int, BeforeValidator(_whole), Field(ge=1, le=2**53)]
"""1, 2, 3, ..."""
Number = Annotated[float, Field(allow_inf_nan=False)]
"""Any finite number."""
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
"""A finite number above 0."""
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
"""A finite number from 0 on."""
Fraction = Annotated[float, Field(ge=0, lt=1)]
"""A number in [0, 1)."""
Tuple = Annotated[tuple[T, ...], BeforeValidator(_tuple)]
"""A list, read as a tuple."""
Defaulted = Annotated[T, BeforeValidator(lambda value: {} if value is None else value), OrNull()]
"""A section that may be left empty, which takes its defaults."""
FilePath = Annotated[str, AfterValidator(_file_path)]
"""A path; a leading ~ becomes the home folder."""
Folders = Annotated[
    str | tuple[str, ...],
    PlainValidator(_folders),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}),
]
"""A folder, or a list of folders."""
NumGpu = Annotated[
    int | Literal["auto"],
    PlainValidator(_num_gpu),
    WithJsonSchema({"anyOf": [{"const": "auto"}, {"type": "integer", "minimum": 0}]}),
]
"""A number of GPUs, or "auto"."""
RunName = Annotated[str, AfterValidator(_run_name)]
"""Text that can be a folder's name."""
SetName = Annotated[RunName, AfterValidator(_set_name)]
"""Text that can be a folder's name and stand in a table."""
NameEnd = Annotated[str, AfterValidator(_name_end)]
"""Text that can stand at the end of a file's name."""
Template = Annotated[str, AfterValidator(_template)]
"""Text with one {}."""

"""The kinds of value an option can have, read strictly: nothing is guessed from text."""

import unicodedata
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator
from pydantic_core import PydanticCustomError

from srcx.config.yaml_reader import BACKSLASHES

__all__ = [
    "Count",
    "Defaulted",
    "FilePath",
    "Folders",
    "Fraction",
    "NameEnd",
    "Natural",
    "NonNegative",
    "NumGpu",
    "Number",
    "Positive",
    "RunName",
    "SetName",
    "Template",
    "Tuple",
    "Whole",
]

T = TypeVar("T")

CONTROL = ("Cc", "Zl", "Zp")
"""Unicode's categories of control characters and of separators of lines and paragraphs."""
FORMULA_SIGNS = "=+-@"


def _whole(value: Any) -> Any:
    """BasicSR's files write `5e3` for a count; 5000.0 is whole, 1.5 is not."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _wrong(expected: str) -> PydanticCustomError:
    """An error whose text `problems.py` completes with what came."""
    return PydanticCustomError("expected", "{expected}", {"expected": expected})


def _file_path(text: str) -> str:
    if not text or "\0" in text:
        raise _wrong("a path")
    if any(unicodedata.category(sign) in CONTROL for sign in text):
        raise _wrong(f"a path without control characters ({BACKSLASHES})")
    try:
        return str(Path(text).expanduser()) if text.startswith("~") else text
    except RuntimeError as error:
        raise _wrong("a path whose '~' names a known user") from error


def _folders(value: Any) -> Any:
    given = value if isinstance(value, list | tuple) else [value]
    if not given or not all(isinstance(folder, str) for folder in given):
        raise _wrong("a folder, or a list of folders")
    folders = tuple(_file_path(folder) for folder in given)
    return folders if isinstance(value, list | tuple) else folders[0]


def _num_gpu(value: Any) -> Any:
    value = _whole(value)
    if value == "auto" or (isinstance(value, int) and not isinstance(value, bool) and value >= 0):
        return value
    raise _wrong("'auto', or a number of GPUs from 0 on")


def _run_name(text: str) -> str:
    if (
        not text.strip()
        or text in (".", "..")
        or any(sign in "/\\" or not sign.isprintable() for sign in text)
    ):
        raise _wrong("a name that can be a folder's name, without '/'")
    return text


def _set_name(text: str) -> str:
    if text[:1] in FORMULA_SIGNS:
        raise _wrong(
            f"a name that no spreadsheet takes for a formula: without {' '.join(FORMULA_SIGNS)} in front"
        )
    return text


def _name_end(text: str) -> str:
    if any(sign in "/\\" or not sign.isprintable() for sign in text):
        raise _wrong("the end of a file's name, without '/'")
    return text


def _template(text: str) -> str:
    if text.count("{}") != 1 or "{" in text.replace("{}", "") or "}" in text.replace("{}", ""):
        raise _wrong("text with one '{}' where the file's name goes, such as '{}x4'")
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
"""A list that stays as it is."""
Defaulted = Annotated[T, BeforeValidator(lambda value: {} if value is None else value)]
"""A section that may be left empty, which takes its defaults."""
FilePath = Annotated[str, AfterValidator(_file_path)]
"""A path; a leading ~ becomes the home folder."""
Folders = Annotated[str | tuple[str, ...], PlainValidator(_folders)]
"""A folder, or a list of folders."""
NumGpu = Annotated[int | Literal["auto"], PlainValidator(_num_gpu)]
"""A number of GPUs, or "auto"."""
RunName = Annotated[str, AfterValidator(_run_name)]
"""Text that can be a folder's name."""
SetName = Annotated[RunName, AfterValidator(_set_name)]
"""Text that can be a folder's name and stand in a table."""
NameEnd = Annotated[str, AfterValidator(_name_end)]
"""Text that can stand at the end of a file's name."""
Template = Annotated[str, AfterValidator(_template)]
"""Text with one {}."""

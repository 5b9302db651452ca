"""Read and write option files: YAML 1.2, and yes, no, on and off of 1.1; nothing is ever run as code."""

import io
import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.representer import BaseRepresenter, SafeRepresenter

from srcx.config.document import Document, KeyPath, Place
from srcx.errors import OptionsError

__all__ = ["BACKSLASHES", "read_file", "read_value", "text_node", "to_text"]

logger = logging.getLogger(__name__)

MAX_BYTES = 256 * 1024
"""Largest option file read; BasicSR's are 3 KB."""
MAX_VALUES = 20_000
"""Most values a file may hold once its aliases are written out."""
MAX_DEPTH = 30
"""Deepest nesting; BasicSR's files need 4."""

OTHER_SUFFIXES = (".json", ".jsonc", ".toml")

BACKSLASHES = (
    "in double quotes a backslash begins an escape; write a Windows path in single quotes, or with /"
)
"""The advice for a path such as "D:\\new"."""

_TOO_DEEP = f"nested deeper than {MAX_DEPTH} levels, or an alias inside itself"
_TAG = "tag:yaml.org,2002:"
_WORDS_OF_YAML_1_1 = {"yes": True, "on": True, "no": False, "off": False}
"""The other booleans of YAML 1.1, by which BasicSR reads its files: small, capitalised or in capitals."""
_TEXT_TAGS = ("str", "timestamp", "value")


def read_file(path: Path) -> Document:
    """Read an option file.

    Raises:
        OptionsError: it cannot be read, is not YAML, or holds more than plain values; names each line.
    """
    text = _read_text(path)
    document = Document(str(path), {})
    other_format = (
        f"{path}: expected a YAML file in BasicSR's dialect; got a {path.suffix} file, as KAIR and neosr "
        "have them: write its options as YAML"
    )
    is_other = path.suffix.lower() in OTHER_SUFFIXES
    try:
        value = _Reader(str(path), document.places).read(text)
    except OptionsError as error:
        raise OptionsError(other_format if is_other else error.problems) from error
    if not isinstance(value, dict):
        if is_other:
            raise OptionsError(other_format)
        what = "is empty" if value is None else "does not hold 'key: value' lines"
        raise OptionsError(f"{path}:1: this option file {what}; start from one under options/")
    document.data = value
    return document


def read_value(text: str, source: str = "--force_yml") -> Any:
    """Read one value of the command line by the rules of a file.

    Args:
        text: The value.
        source: Its place in messages.

    Raises:
        OptionsError: it is not a YAML value.

    Example:
        >>> read_value("[0.9, 0.99]"), read_value("1e-4"), read_value("~")
        ([0.9, 0.99], 0.0001, None)
        >>> read_value("__import__('os')")
        "__import__('os')"
    """
    return _Reader(source, {}, numbered=False).read(text)


def text_node(representer: BaseRepresenter, text: str) -> ScalarNode:
    """Return the node of a text for ruamel, in quotes if it is None, yes, ?x ...: no text without quotes."""
    needs_quotes = text == "None" or text[:1] == "?" or _boolean_of_yaml_1_1(text) is not None
    node: ScalarNode = representer.represent_scalar(f"{_TAG}str", text, style="'" if needs_quotes else None)
    return node


class _Representer(SafeRepresenter):
    """Writes plain values."""


_Representer.add_representer(str, text_node)


def to_text(data: dict[str, Any]) -> str:
    """Write `data` as YAML: sections one key a line, lists of plain values in one line.

    Example:
        >>> print(to_text({"train": {"lr": 1e-4, "betas": (0.9, 0.99), "optim_d": None}}), end="")
        train:
          lr: 0.0001
          betas: [0.9, 0.99]
          optim_d: null
    """
    yaml = YAML(typ="safe", pure=True)
    yaml.Representer = _Representer
    yaml.default_flow_style = None
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]  # ruamel declares no type
    yaml.width = 10_000
    text = io.StringIO()
    yaml.dump(data, text)
    return text.getvalue()


def _read_text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise OptionsError(f"{path}: cannot read this option file: {error.strerror or error}") from error
    except ValueError as error:  # a NUL character in the name
        raise OptionsError(f"{str(path)!r}: cannot read this option file: {error}") from error
    if len(raw) > MAX_BYTES:
        raise OptionsError(f"{path}: larger than {MAX_BYTES // 1024} KiB, so not an option file")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise OptionsError(f"{path}:{line}: not UTF-8 text, so not an option file") from error
    if "\0" in text:
        raise OptionsError(f"{path}: a binary file, not an option file")
    return text


class _Reader:
    """The state of one reading: the source's name, the places and the mistakes so far."""

    def __init__(self, source: str, places: dict[KeyPath, Place], *, numbered: bool = True) -> None:
        self.source = source
        self.places = places
        self.numbered = numbered
        self.problems: list[tuple[int, str]] = []
        self.values = 0
        self.depth = 0

    def read(self, text: str) -> Any:
        root = self._compose(text)
        value = None if root is None else self._value(root, ())
        if self.problems:
            raise OptionsError([self._at(line, said) for line, said in sorted(set(self.problems))])
        return value

    def _compose(self, text: str) -> Node | None:
        yaml = YAML(typ="safe", pure=True)
        yaml.composer.warn_double_anchors = False
        try:
            return yaml.compose(text)
        except MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line = 1 if mark is None else mark.line + 1
            raise OptionsError(self._at(line, _plainly(error))) from error
        except (YAMLError, ValueError) as error:
            # Characters YAML forbids, and directives ruamel cannot read, come without a line.
            first = str(error).strip().splitlines()[0]
            raise OptionsError(self._at(1, f"not valid YAML: {first}")) from error
        except RecursionError as error:
            raise OptionsError(self._at(1, _TOO_DEEP)) from error

    def _at(self, line: int, said: str) -> str:
        return f"{self.source}:{line}: {said}" if self.numbered else f"{self.source}: {said}"

    def _wrong(self, node: Node, said: str) -> None:
        self.problems.append((node.start_mark.line + 1, said))

    def _value(self, node: Node, path: KeyPath) -> Any:
        """Return the value of one node; an alias is a copy, so all values are counted."""
        self.values += 1
        self.depth += 1
        if self.values > MAX_VALUES or self.depth > MAX_DEPTH:
            said = _TOO_DEEP if self.depth > MAX_DEPTH else "aliases that repeat too many values"
            raise OptionsError(self._at(node.start_mark.line + 1, said))
        value = self._plain(node, path)
        self.depth -= 1
        return value

    def _plain(self, node: Node, path: KeyPath) -> Any:
        tag = str(node.tag).removeprefix(_TAG)
        if isinstance(node, MappingNode) and tag == "map":
            return self._mapping(node, path)
        if isinstance(node, SequenceNode) and tag == "seq":
            items = []
            for index, item in enumerate(node.value):
                self.places[(*path, index)] = Place(item.start_mark.line + 1, self.source)
                items.append(self._value(item, (*path, index)))
            return items
        if isinstance(node, ScalarNode) and tag in _SCALARS:
            return self._scalar(node, tag)
        whole = str(node.tag)
        shown = "!!" + tag if whole.startswith(_TAG) else whole
        self._wrong(node, f"the tag {shown} is not allowed: option files hold plain values")
        return None

    def _mapping(self, node: MappingNode, path: KeyPath) -> dict[str, Any]:
        """Return a section: the values of `<<`, and over them its own."""
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if _is_merge(key_node):
                result = self._merged(value_node, path) | result
        first_lines: dict[str, int] = {}
        for key_node, value_node in node.value:
            key = None if _is_merge(key_node) else self._key(key_node)
            if key is None:
                continue
            value, line = self._value(value_node, (*path, key)), key_node.start_mark.line + 1
            if key not in first_lines:
                first_lines[key], result[key] = line, value
                self.places[(*path, key)] = Place(line, self.source)
                continue
            said = f"{_short(key)} is given twice; the first stands in line {first_lines[key]}"
            if repr(value) == repr(result[key]):
                logger.warning("%s", self._at(line, f"{said} and has the same value; remove one"))
            else:
                self._wrong(key_node, said)
        return result

    def _merged(self, node: Node, path: KeyPath) -> dict[str, Any]:
        """Return the values of `<<: *anchor` or `<<: [*anchor, *other]`; earlier anchors win."""
        result: dict[str, Any] = {}
        for source in node.value if isinstance(node, SequenceNode) else [node]:
            if not isinstance(source, MappingNode):
                self._wrong(node, "'<<' takes an alias of a section, or a list of them")
                return {}
            result = self._value(source, path) | result
        return result

    def _key(self, node: Node) -> str | None:
        """Return the key if it is text."""
        if not (isinstance(node, ScalarNode) and str(node.tag).removeprefix(_TAG) in _TEXT_TAGS):
            shown = node.value if isinstance(node, ScalarNode) else "a list or section"
            self._wrong(node, f"a key must be text, not {shown}; put it in quotes")
            return None
        key = str(node.value)
        if not key.isprintable():
            self._wrong(node, f"the key {_short(key)} holds characters that cannot be printed")
            return None
        return key

    def _scalar(self, node: ScalarNode, tag: str) -> Any:
        text = str(node.value)
        if text == "None" and not node.style:
            return None  # Python's null; 'None' in quotes is text, and so is none, a reduction of BasicSR
        if tag == "str" and not node.style and (boolean := _boolean_of_yaml_1_1(text)) is not None:
            return boolean
        if node.style == '"' and text[1:2] == ":" and text[2:3] and not text[2].isprintable():
            self._wrong(node, f"the path {_short(text)} holds control characters: {BACKSLASHES}")
        try:
            return _SCALARS[tag](text)
        except ValueError:
            self._wrong(node, f"{_short(text)} cannot be read as !!{tag}")
            return None


def _is_merge(node: Node) -> bool:
    return str(node.tag) == f"{_TAG}merge"


def _plainly(error: MarkedYAMLError) -> str:
    problem = str(error.problem or error.context or "cannot be read").strip().splitlines()[0]
    if "'\\t'" in problem:
        return "a tab where spaces are needed; YAML indents with spaces only"
    if "escape" in problem:
        return f"{problem}: {BACKSLASHES}"
    if "single document" in str(error.context):
        return "a second '---' document; an option file holds one"
    return f"not valid YAML: {problem}"


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:37] + "...")


def _text(text: str) -> str:
    text.encode()  # half of a surrogate pair, written as an escape, is not text: a ValueError
    return text


def _null(text: str) -> None:
    if text.lower() not in ("", "~", "null"):
        raise ValueError(text)


def _boolean_of_yaml_1_1(text: str) -> bool | None:
    is_written_so = text in (text.lower(), text.capitalize(), text.upper())
    return _WORDS_OF_YAML_1_1.get(text.lower()) if is_written_so else None


def _bool(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError(text)
    return text.lower() == "true"


def _int(text: str) -> int:
    digits = text.replace("_", "").lower()
    bare = digits.lstrip("+-")
    base = {"0x": 16, "0o": 8, "0b": 2}.get(bare[:2], 10)
    return int(digits, base)


def _float(text: str) -> float:
    digits = text.replace("_", "").lower()
    named = {".inf": math.inf, "+.inf": math.inf, "-.inf": -math.inf, ".nan": math.nan}
    return named[digits] if digits in named else float(digits)


_SCALARS: dict[str, Callable[[str], Any]] = {
    **dict.fromkeys(_TEXT_TAGS, _text),
    "null": _null,
    "bool": _bool,
    "int": _int,
    "float": _float,
}

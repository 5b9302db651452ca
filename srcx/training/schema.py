"""The JSON schema of option files, from the typed options and the signatures of the registered parts.

Editors with yaml-language-server complete and check option files by it. It knows srcx's own words: what
`srcx.config.dialect` translates from other projects is not in it, and parts of BasicSR take any argument.
Arguments of spandrel's networks that have no annotation are described by the kind of their default.
What one option demands of another is checked by `srcx train` alone.
"""

import inspect
import json
import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any

from pydantic import ConfigDict, PydanticUserError, TypeAdapter

from srcx.archs.community import community_networks
from srcx.basicsr_compat.checks import WEIGHTS
from srcx.basicsr_compat.parts import OWN
from srcx.config import Options
from srcx.config.options import MODELS
from srcx.config.values import Section
from srcx.registry import known_arguments, sentence

__all__ = ["schema_text"]

Schema = dict[str, Any]

DRAFT = "http://json-schema.org/draft-07/schema#"
SECTIONS = {"Part": "network", "LossTerm": "loss", "Metric": "metric", "Optimizer": "optimizer"}
"""Sections of the options that name a part of this kind."""
ARGUMENT = re.compile(r"^    (\w+): (.*(?:\n     +.*)*)", re.MULTILINE)
KINDS: Mapping[type, Schema] = {
    bool: {"type": "boolean"},
    int: {"type": "number"},
    float: {"type": "number"},
    str: {"type": "string"},
}
"""By the default of an argument without annotation; a whole default may stand for a fraction."""
LIMITS = {"ge": "minimum", "le": "maximum", "gt": "exclusiveMinimum", "lt": "exclusiveMaximum"}


def schema_text() -> str:
    """Return the schema as JSON.

    Example:
        >>> json.loads(schema_text())["properties"]["model_type"]["enum"][:2]
        ['SRModel', 'SwinIRModel']
    """
    _build(Section)  # pydantic writes a class that was not used before another way
    schema = TypeAdapter(Annotated[Options, MODELS]).json_schema()
    definitions = schema["$defs"]
    for section, kind in SECTIONS.items():
        own: dict[str, Callable[..., Any]] = dict(OWN[kind])
        own |= community_networks() if kind == "network" else {}
        definitions[section] = _any_of(definitions.pop(section), own)
        for name, part in own.items():
            definitions[f"{section} {name}"] = _named(name, part, definitions[section])
            condition = {"properties": {"type": {"const": name}}, "required": ["type"]}
            then = {"$ref": f"#/$defs/{section} {name}"}
            definitions[section]["allOf"].append({"if": condition, "then": then})
    return json.dumps({"$schema": DRAFT, **_plain(schema)}, indent=1, ensure_ascii=False) + "\n"


def _build(above: type[Section]) -> None:
    """Make the validators of every class below `above`."""
    for section in above.__subclasses__():
        section.model_rebuild()
        _build(section)


def _any_of(section: Schema, own: Mapping[str, Callable[..., Any]]) -> Schema:
    """Return a section that suggests srcx's parts and also takes BasicSR's."""
    of_type = {key: value for key, value in section["properties"]["type"].items() if key != "type"}
    suggested = {**of_type, "anyOf": [{"enum": list(own)}, {"type": "string"}]}
    return {**section, "properties": {**section["properties"], "type": suggested}, "allOf": []}


def _named(name_in_file: str, part: Callable[..., Any], section: Schema) -> Schema:
    """Return the section of one part: the options of all its kind, and the part's own arguments."""
    meanings = {name: " ".join(text.split()) for name, text in ARGUMENT.findall(inspect.getdoc(part) or "")}
    options, required = {**section["properties"], "type": {"const": name_in_file}}, ["type"]
    known = known_arguments(part, eval_str=True)
    # Options of all optimizers that not each of them has; null takes the default of the one at hand.
    optional = {name for name, option in options.items() if option.get("default", 0) is None}
    for name in optional - known.keys():
        del options[name]
    for name, parameter in known.items():
        if parameter.default is inspect.Parameter.empty:
            required.append(name)
        if name in optional:
            options[name] = options[name] | {"default": json.loads(json.dumps(parameter.default))}
        said = {"description": meanings[name]} if name in meanings else {}
        options.setdefault(name, _of_argument(part, parameter) | said)
    options |= {name: {"type": "number"} for name in sorted(WEIGHTS.get(name_in_file, ()))}
    required += [name for name in section.get("required", ()) if name not in required]
    return {
        "type": "object",
        "description": sentence(part),
        "properties": options,
        "required": required,
        "additionalProperties": False,
    }


def _of_argument(part: Callable[..., Any], parameter: inspect.Parameter) -> Schema:
    if part.__module__.startswith("torch."):
        return {}  # takes tensors for numbers
    if parameter.annotation is inspect.Parameter.empty:
        return next((kind for type_, kind in KINDS.items() if isinstance(parameter.default, type_)), {})
    try:
        return TypeAdapter(
            parameter.annotation, config=ConfigDict(arbitrary_types_allowed=True)
        ).json_schema()
    except PydanticUserError:  # a type that no file can give
        return {}


def _plain(value: Any) -> Any:
    """Return a schema without titles, which repeat the keys, and with JSON's words for limits."""
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if not isinstance(value, dict):
        return value
    plain = {key: _plain(one) for key, one in value.items() if not (key == "title" and isinstance(one, str))}
    for key, limit in LIMITS.items():
        if isinstance(plain.get(key), int | float):
            plain.setdefault(limit, plain.pop(key))
            plain.pop(key, None)
    return plain

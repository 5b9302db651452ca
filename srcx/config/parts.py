"""Parts an option file names by `type:` (networks, losses, metrics ...), and who judges them."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, Protocol

from srcx.config.document import Document, KeyPath
from srcx.config.options import LossTerm, Metric, Part

__all__ = ["Parts", "named_parts"]


class Parts(Protocol):
    """Knows the parts by name; `srcx.training.build` gives the real one."""

    def problems(self, kind: str, type_name: str, args: Mapping[str, object]) -> list[tuple[str | None, str]]:
        """What is wrong with one part.

        Args:
            kind: "network", "loss", "dataset", "metric", "optimizer" or "scheduler".
            type_name: The part's `type`.
            args: What stands beside `type` and is the part's own.

        Returns:
            For each problem the argument's name, or None for the type itself, and a message.
        """
        ...


class NamedPart(NamedTuple):
    """One mention of a part: where, what kind, its type and its own arguments."""

    path: KeyPath
    kind: str
    type: str
    args: dict[str, Any]


def named_parts(document: Document) -> Iterator[NamedPart]:
    """Every part the file names; sections of the wrong shape are left to the schema."""
    for path, kind, part in _mentions(document):
        value = document.get(path)
        if isinstance(value, dict) and isinstance(value.get("type"), str):
            # A data set's keys are all in the schema, so they are not its arguments.
            own = {} if kind == "dataset" else {key: value[key] for key in value if key not in part.not_args}
            yield NamedPart(path, kind, value["type"], own)


def _mentions(document: Document) -> Iterator[tuple[KeyPath, str, type[Part]]]:
    for network in ("network_g", "network_d"):
        yield (network,), "network", Part
    for key in _keys(document, ("datasets",)):
        yield ("datasets", key), "dataset", Part
    for key in _keys(document, ("train",)):
        if key in ("optim_g", "optim_d"):
            yield ("train", key), "optimizer", Part
        elif key == "scheduler":
            yield ("train", key), "scheduler", Part
        elif key.endswith("_opt"):
            yield ("train", key), "loss", LossTerm
    for key in _keys(document, ("val", "metrics")):
        yield ("val", "metrics", key), "metric", Metric


def _keys(document: Document, path: KeyPath) -> list[str]:
    section = document.get(path)
    return list(section) if isinstance(section, dict) else []

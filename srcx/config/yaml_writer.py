"""Plain values as the text of an option file."""

import io
from typing import Any

from ruamel.yaml import YAML

__all__ = ["to_text"]


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
    yaml.default_flow_style = None
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]  # ruamel declares no type
    yaml.width = 10_000
    text = io.StringIO()
    yaml.dump(data, text)
    return text.getvalue()

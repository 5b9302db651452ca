"""srcx: super-resolution training and inference with the contextual loss."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from srcx import losses, metrics
    from srcx.inference import load_model, upscale

__version__ = "0.1.0"

__all__ = ["load_model", "losses", "metrics", "upscale"]

_HOMES = {"load_model": "srcx.inference", "upscale": "srcx.inference"}


def __getattr__(name: str) -> Any:
    """Give a public name when it is first asked for: `import srcx` alone loads no torch."""
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    if name in __all__:
        return importlib.import_module(f"srcx.{name}")
    raise AttributeError(f"module 'srcx' has no attribute '{name}'")

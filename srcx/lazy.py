"""Public names of a package that are imported when they are first used: `import srcx` loads no torch."""

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["lazily"]


def lazily(package: str, homes: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return the functions `__getattr__` and `__dir__` of a package (PEP 562).

    Args:
        package: Its `__name__`.
        homes: Public name -> the module that holds it, or that it is.

    Example:
        >>> __getattr__, __dir__ = lazily("collections", {"dirname": "os.path", "path": "os.path"})
        >>> __getattr__("dirname")("a/b"), __getattr__("path").basename("a/b")
        ('a', 'b')
    """

    def getattr_(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module '{package}' has no attribute '{name}'")
        home = importlib.import_module(homes[name])
        return home if homes[name].endswith(f".{name}") else getattr(home, name)

    def dir_() -> list[str]:
        names = vars(sys.modules[package])
        return sorted({*names["__all__"], *(name for name in names if name.startswith("__"))})

    return getattr_, dir_

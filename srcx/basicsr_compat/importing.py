"""Import BasicSR, whose release 1.4.2 needs modules that torchvision and Python no longer have."""

import importlib
import importlib.util
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from srcx.errors import BasicSRError

__all__ = ["REGISTRIES", "basicsr_names", "open_basicsr"]

REGISTRIES = {"dataset": "DATASET_REGISTRY", "loss": "LOSS_REGISTRY", "network": "ARCH_REGISTRY"}
"""Kind of part -> BasicSR's table of it."""
REGISTERED = re.compile(r"^@(\w+)\.register\(.*\)\n(?:@.*\n)*(?:class|def) (\w+)", re.MULTILINE)
"""A class or function that is put into a table."""

LAST_PYTHON = (3, 12)  # setup.py of BasicSR 1.4.2 fails on later ones


def open_basicsr(module: str = "basicsr") -> Any:
    """Import BasicSR or one of its modules.

    Importing any module of BasicSR imports all of it, which takes a second. The installed package stays
    as it is: during the import, small modules replace those that torchvision and Python no longer have.
    Its warnings are silenced, because the user cannot act on them.

    Args:
        module: Full name, such as "basicsr.utils.registry".

    Returns:
        The module.

    Raises:
        BasicSRError: BasicSR is not installed, or cannot be imported; the text says why.
    """
    if not _exists("basicsr"):
        raise BasicSRError(_why_absent(sys.version_info[:2]))
    warnings.filterwarnings("ignore", message="torch.meshgrid", category=UserWarning)  # SwinIR, when made
    with warnings.catch_warnings(), _stand_ins():
        warnings.simplefilter("ignore")
        try:
            return importlib.import_module(module)
        except ImportError as error:
            raise BasicSRError(
                f"BasicSR is installed, but importing {module} fails ({error}); "
                "srcx was made with release 1.4.2: pip install basicsr==1.4.2"
            ) from error


def basicsr_names(kind: str) -> list[str]:
    """Return BasicSR's names of a kind, sorted; its files are read and nothing is imported.

    Args:
        kind: "network", "loss" or "dataset".

    Raises:
        BasicSRError: BasicSR is not installed.
    """
    spec = importlib.util.find_spec("basicsr") if _exists("basicsr") else None
    if spec is None:
        raise BasicSRError(_why_absent(sys.version_info[:2]))
    folders = [Path(folder) for folder in spec.submodule_search_locations or []]
    texts = (file.read_text("utf-8") for folder in folders for file in folder.glob("*/*.py"))
    registered = {found for text in texts for found in REGISTERED.findall(text)}
    return sorted(name for table, name in registered if table == REGISTRIES[kind])


def _why_absent(python: tuple[int, int]) -> str:
    if python > LAST_PYTHON:
        here, last = (".".join(map(str, version)) for version in (python, LAST_PYTHON))
        why = f"its release 1.4.2 cannot be built on Python {here}; take Python {last} or older"
    else:
        why = "pip install basicsr"
    return f"BasicSR is not installed: {why}. All parts of srcx work without it"


def _rgb_to_grayscale() -> Mapping[str, Callable[..., Any]]:
    from torchvision.transforms import functional

    return {"rgb_to_grayscale": functional.rgb_to_grayscale}


def _loose_version() -> Mapping[str, Callable[..., Any]]:
    from packaging.version import Version

    return {"LooseVersion": Version}


STAND_INS = {
    "torchvision.transforms.functional_tensor": _rgb_to_grayscale,  # gone since torchvision 0.17
    "distutils.version": _loose_version,  # gone since Python 3.12
}
"""Module that BasicSR imports and that may no longer exist -> the names that BasicSR needs of it."""


@contextmanager
def _stand_ins() -> Iterator[None]:
    """Put a module into `sys.modules` for each missing one, and remove it at the end."""
    missing = [name for name in STAND_INS if not _exists(name)]
    for name in missing:
        module = ModuleType(name, "Replaces a module that BasicSR imports.")
        vars(module).update(STAND_INS[name]())
        sys.modules[name] = module
    try:
        yield
    finally:
        for name in missing:
            del sys.modules[name]


def _exists(name: str) -> bool:
    try:
        return sys.modules.get(name) is not None or importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # its package is missing already
        return False

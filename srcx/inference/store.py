"""The networks of the models that come with srcx as other programs read them, in the user's cache.

torch writes them when such a program first runs a model. From then on the model starts without torch, whose
import takes longer than a small image.
"""

import hashlib
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import srcx
from srcx.atomic import atomic_path, make_folder
from srcx.errors import OutputError
from srcx.inference import bundled
from srcx.weights.published import cache_folder

if TYPE_CHECKING:
    from srcx.inference.models import Model

__all__ = ["describe", "discard", "is_stored", "made_once", "onnx_of", "read_description", "store_of"]

ABOUT = "about.json"
OUTDATED_S = 90 * 24 * 3600.0
KEPT = ("architecture", "scale", "channels", "multiple_of")


def store_of(checkpoint: Path, sha256: str) -> Path | None:
    """Return the folder for the files of a checkpoint; None for those that do not come with srcx.

    Other versions of srcx or torch have another folder; `describe` removes those that are `OUTDATED_S` old.

    Raises:
        OutputError: this user has no home folder.
    """
    if checkpoint.parent != bundled.BUNDLED:
        return None
    made_by = f"{sha256}, srcx {srcx.__version__}, torch {version('torch')}"
    key = hashlib.sha256(made_by.encode()).hexdigest()[:16]
    return cache_folder().parent / "networks" / checkpoint.stem / key


def read_description(store: Path) -> dict[str, Any] | None:
    """Return what `describe` wrote, as arguments of a model; None where there is nothing or it is damaged."""
    try:
        about = json.loads((store / ABOUT).read_text("utf-8"))
        return {
            **{name: about[name] for name in KEPT},
            "precisions": frozenset(map(str, about["precisions"])),
            "part": [about["part"]["type"], about["part"]["args"]],
            "of_largest_layer": float(about["values_per_pixel"]),
        }
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None


def describe(model: "Model") -> None:
    """Write what srcx must know of a network to run it without torch.

    Raises:
        OutputError: the folder cannot be written.
    """
    assert model.store is not None
    make_folder(model.store)
    for other in model.store.parent.iterdir():
        # Another environment of this user may have made it, and remove ours in turn.
        if other != model.store and _age_s(other) > OUTDATED_S:
            shutil.rmtree(other, ignore_errors=True)
    assert model.part is not None
    about = {name: getattr(model, name) for name in (*KEPT, "values_per_pixel")}
    about |= {"precisions": sorted(model.precisions), "part": model.part._asdict()}
    with atomic_path(model.store / ABOUT) as temporary:
        temporary.write_text(json.dumps(about, indent=1), "utf-8")


def _age_s(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except OSError:  # another process removed it
        return 0


def discard(model: "Model") -> bool:
    """Remove the files of a model, which may be damaged; return whether there were any."""
    if not is_stored(model):
        return False
    assert model.store is not None
    shutil.rmtree(model.store, ignore_errors=True)
    return True


def is_stored(model: "Model") -> bool:
    """Return whether a model has files in its store."""
    return model.store is not None and model.store.is_dir()


@contextmanager
def made_once(model: "Model", name: str, make: Callable[[Path], None]) -> Iterator[Path]:
    """Give the folder that `make` fills: one in the store of the model, made once, or a temporary one.

    Args:
        model: Has a network.
        name: Of the folder in the store.
        make: Writes its files.
    """
    if model.store is not None and (model.store / name).is_dir():
        yield model.store / name
        return
    with tempfile.TemporaryDirectory() as temporary:
        made = Path(temporary) / "made"
        made.mkdir()
        make(made)
        with suppress(OutputError, OSError):  # a cache that cannot be written stops nothing
            if model.store is not None:
                describe(model)
                _copy_whole(made, model.store / name)
        yield made


def _copy_whole(source: Path, target: Path) -> None:
    """Copy a folder so that another process sees it whole or not at all."""
    beside = Path(tempfile.mkdtemp(dir=target.parent))
    try:
        shutil.copytree(source, beside, dirs_exist_ok=True)
        beside.rename(target)  # fails where another process was faster
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def onnx_of(model: "Model") -> bytes:
    """Return a model's network in ONNX, as `to_onnx` makes it."""
    from srcx.inference.backends.base import to_onnx  # it imports this module

    def make(folder: Path) -> None:
        (folder / "net.onnx").write_bytes(to_onnx(model))

    with made_once(model, "onnx", make) as folder:
        return (folder / "net.onnx").read_bytes()

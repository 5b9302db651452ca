"""Weights in files: read without ever running what is in them, written whole or not at all."""

import io
import json
import logging
import pickle
import re
import struct
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as parse_safetensors
from safetensors.torch import save as safetensors_bytes
from torch import Tensor

from srcx.atomic import atomic_path, make_folder
from srcx.errors import CheckpointError

__all__ = ["load_state", "read_metadata", "save_state"]

State = Mapping[str, Tensor]
Sets = Mapping[str, State]

PICKLED_SUFFIXES = (".pth", ".pt")
SETS_BY_PREFERENCE = ("params_ema", "params")
LONGEST_HEAD = 100_000_000
"""Bytes, safetensors' own limit."""

# What torch.load raises on bytes that are no checkpoint; found by feeding it damaged files.
DAMAGE = (
    RuntimeError,
    EOFError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    AssertionError,
    MemoryError,
    OverflowError,
    struct.error,
    zipfile.BadZipFile,
)

MIB = 2**20

log = logging.getLogger(__name__)


def load_state(path: Path | str, *, key: str | None = None) -> dict[str, Tensor]:
    """Read a network's weights from a `.pth`, `.pt` or `.safetensors` file, onto the CPU.

    Nothing in the file is run: `.pth` files are read with `weights_only=True`, and one that holds anything
    besides tensors and plain values is refused. The `module.` that data-parallel training leaves before
    the names is taken off.

    Args:
        path: The file.
        key: Which set of a file in BasicSR's layout, such as "params"; None takes "params_ema" if it is
            there, then "params", then the file itself as one bare set. As in BasicSR, a set that is missing
            gives way to "params", and the log says so. A `.safetensors` file is one set and needs no key.

    Returns:
        Names and tensors, as `Module.load_state_dict` takes them.

    Raises:
        CheckpointError: the file is missing, damaged, unsafe, or holds no such set.
    """
    path = Path(path)
    content = _read(path)
    if not isinstance(content, Mapping):
        raise CheckpointError(
            f"{path}: expected named tensors, got {_describe(content)}; save the network's state_dict"
        )
    chosen = content if path.suffix == ".safetensors" else _choose_set(path, content, key)
    return {_own_name(path, name): _own_tensor(path, name, value) for name, value in chosen.items()}


def read_metadata(path: Path | str) -> dict[str, str]:
    """Words that a `.safetensors` file says about itself; none for other files.

    Raises:
        CheckpointError: the file is missing or damaged.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        return {}
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            # A longer head is none that safetensors would read either.
            words = json.loads(file.read(min(length, LONGEST_HEAD))).get("__metadata__", {})
            return {str(key): str(value) for key, value in words.items()}
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: there is no such file; check the path") from error
    except (OSError, struct.error, ValueError, AttributeError) as error:
        raise CheckpointError(f"{path}: {_damaged('.safetensors')}") from error


def save_state(path: Path | str, state: State | Sets, *, metadata: Mapping[str, str] | None = None) -> None:
    """Write weights to `path`, whole or not at all; the suffix chooses the format.

    Args:
        path: `.pth` and `.pt` are written in BasicSR's layout, {"params": ..., "params_ema": ...};
            `.safetensors` is flat: "params_ema" if it is there, else "params".
        state: Names and tensors, or such sets by name. A bare set is "params".
        metadata: What a `.safetensors` file is to say about itself.

    Raises:
        CheckpointError: the suffix names no format, or the set of a flat file is missing.
        OutputError: the file cannot be written.
    """
    path = Path(path)
    _check_suffix(path)
    sets = {
        key: {name: _packed(tensor) for name, tensor in one.items()} for key, one in _as_sets(state).items()
    }
    content = _safetensors(path, sets, metadata or {}) if path.suffix == ".safetensors" else _pickled(sets)
    make_folder(path.parent)
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def _read(path: Path) -> object:
    _check_suffix(path)
    if path.is_dir():
        raise CheckpointError(f"{path}: expected a file of weights, got a folder; name a file in it")
    try:
        if path.stat().st_size == 0:
            raise CheckpointError(f"{path}: the file is empty; download or save it again")
        return _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickled(path)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: there is no such file; check the path") from error
    except OSError as error:
        raise CheckpointError(
            f"{path}: cannot be read: {error.strerror or error}; check its permissions"
        ) from error


def _check_suffix(path: Path) -> None:
    if path.suffix not in (*PICKLED_SUFFIXES, ".safetensors"):
        raise CheckpointError(
            f"{path}: expected a .pth, .pt or .safetensors file, got the suffix '{path.suffix}'; rename it"
        )


def _read_safetensors(path: Path) -> object:
    try:
        return parse_safetensors(path.read_bytes())
    except (SafetensorError, KeyError, ValueError) as error:
        raise CheckpointError(f"{path}: {_damaged('.safetensors')}") from error


def _read_pickled(path: Path) -> object:
    try:
        _check_unpacked_size(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # old layouts make torch warn about its own internals
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(f"{path}: {_why_refused(path, error)}") from error
    except DAMAGE as error:
        refused = "TorchScript" in str(error)
        raise CheckpointError(
            f"{path}: {_refused('a TorchScript program') if refused else _damaged('.pth')}"
        ) from error


def _check_unpacked_size(path: Path) -> None:
    """Torch packs without compression; a file that unpacks to more than it holds is made to fill memory."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(member.file_size for member in archive.infolist())
    if unpacked > path.stat().st_size:
        raise CheckpointError(
            f"{path}: unpacks to more than the file holds ({unpacked / MIB:.0f} MiB) and is refused; "
            "if you trust it, load and save it again with torch"
        )


def _why_refused(path: Path, error: pickle.UnpicklingError) -> str:
    """Tell a pickle with code from a file that is no pickle, by torch's own words."""
    name = re.search(r"GLOBAL ([\w.]+\.\w+)", str(error))
    if name:
        return _refused(f"'{name.group(1)}'")
    operation = re.search(r"Unsupported operand (\d+)", str(error))
    with path.open("rb") as file:
        is_pickle = file.read(1) == b"\x80" or zipfile.is_zipfile(file)
    return _refused(f"pickle operation {operation.group(1)}") if operation and is_pickle else _damaged(".pth")


def _refused(what: str) -> str:
    return (
        f"holds code or objects beside tensors ({what}) and is refused, as reading them could run that code; "
        "use a file of tensors alone, best a .safetensors"
    )


def _damaged(suffix: str) -> str:
    return f"is damaged, cut short or no {suffix} file; download or save it again"


def _choose_set(path: Path, content: Mapping[object, object], key: str | None) -> Mapping[object, object]:
    wanted = SETS_BY_PREFERENCE if key is None else (key, "params")
    found = next((name for name in wanted if isinstance(content.get(name), Mapping)), None)
    if found is None and key is None:
        return content
    if found is None:
        sets = sorted(str(name) for name, value in content.items() if isinstance(value, Mapping))
        there = f"the sets {', '.join(sets)}" if sets else "one bare set of weights"
        raise CheckpointError(
            f"{path}: expected a set of weights named '{key}', got {there}; name another or none"
        )
    if key is not None and found != key:
        log.warning("%s: has no set '%s'; 'params' is used instead", path, key)
    chosen = content[found]
    assert isinstance(chosen, Mapping)
    return chosen


def _own_name(path: Path, name: object) -> str:
    if not isinstance(name, str):
        raise CheckpointError(
            f"{path}: expected names of tensors, got the name {name!r}; save the state_dict"
        )
    return name.removeprefix("module.")


def _own_tensor(path: Path, name: object, value: object) -> Tensor:
    if not isinstance(value, Tensor):
        raise CheckpointError(
            f"{path}: expected a tensor under '{name}', got {_describe(value)}; save the network's state_dict"
        )
    return value.detach()


def _describe(value: object) -> str:
    return "a set of values" if isinstance(value, Mapping) else f"a value of type {type(value).__name__}"


def _as_sets(state: State | Sets) -> dict[str, State]:
    sets = {key: value for key, value in state.items() if isinstance(value, Mapping)}
    bare = {name: value for name, value in state.items() if isinstance(value, Tensor)}
    return sets if sets else {"params": bare}


def _packed(tensor: Tensor) -> Tensor:
    """A copy that owns its memory: a view would be saved with all it looks into."""
    return tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)


def _safetensors(path: Path, sets: Sets, metadata: Mapping[str, str]) -> bytes:
    chosen = next((sets[key] for key in SETS_BY_PREFERENCE if key in sets), None)
    if chosen is None:
        raise CheckpointError(
            f"{path}: expected 'params' or 'params_ema', got {', '.join(sets)}; save one of them"
        )
    return safetensors_bytes(dict(chosen), metadata={"format": "pt", **metadata})


def _pickled(sets: Sets) -> bytes:
    buffer = io.BytesIO()
    torch.save(sets, buffer)
    return buffer.getvalue()

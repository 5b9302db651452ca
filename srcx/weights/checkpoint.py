"""Weights in files: read without ever running what is in them, written whole or not at all."""

import io
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
from srcx.weights.files import check_suffix, damaged, is_pickle, is_safetensors, read_checkpoint

__all__ = ["load_state", "save_state"]

State = Mapping[str, Tensor]
Sets = Mapping[str, State]

SETS_BY_PREFERENCE = ("params_ema", "params")
OTHERS_SETS = (
    "params-ema",
    "model_state_dict",
    "state_dict",
    "model",
    "net",
    "generator_ema",
    "g_ema",
    "generator",
    "Generator",
    "net_g",
    "netG",
)
"""Keys under which other tools store the weights, as spandrel knows them, and those of generators."""
PREFIXES_OF_GENERATORS = ("generator_ema.", "generator.")
"""Begin the names of a generator's weights where a file has a discriminator's too, as OpenMMLab's files."""
PREFIXES_BESIDE = (*PREFIXES_OF_GENERATORS, "discriminator.", "gan_loss.", "perceptual_loss.", "step_counter")
DEEPEST_SET = 3

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
    OSError,  # from a seek to before the beginning
    OverflowError,
    struct.error,
    zipfile.BadZipFile,
)

MIB = 2**20

log = logging.getLogger(__name__)


def load_state(
    path: Path | str, *, key: str | None = None, content: bytes | None = None
) -> dict[str, Tensor]:
    """Read a network's weights from a `.pth`, `.pt` or `.safetensors` file, onto the CPU.

    Nothing in the file is run: pickles are read with `weights_only=True`, and one that holds anything besides
    tensors and plain values is refused. What the file is, its content says, not its suffix. The `module.`,
    `_orig_mod.` and `netG.` that data-parallel training, torch.compile and GAN training put before the names
    are taken off. Of the weights of a generator and a discriminator, the generator's are read.

    Args:
        path: The file.
        key: Which set of a file in BasicSR's layout, such as "params"; None takes "params_ema" if it is
            there, then "params", then a set under one of the names that other tools use ("state_dict",
            "model", "generator", ...), then the only set there is, then the file itself as a bare set. As in
            BasicSR, a missing set is replaced by "params", with a message in the log. A safetensors file is
            one set and needs no key.
        content: What `read_checkpoint` gave, where the file is not to be read again.

    Returns:
        Names and tensors, as `Module.load_state_dict` takes them.

    Raises:
        CheckpointError: the file is missing, damaged, unsafe, or holds no such set.
    """
    path = Path(path)
    raw = read_checkpoint(path) if content is None else content
    is_flat = is_safetensors(raw) or (path.suffix == ".safetensors" and not is_pickle(raw))
    parsed = _parse_safetensors(path, raw) if is_flat else _parse_pickle(path, raw)
    if not isinstance(parsed, Mapping):
        raise CheckpointError(
            f"{path}: expected named tensors, got {_describe(parsed)}; save the network's state_dict"
        )
    chosen = _of_generator(parsed if is_flat else _choose_set(path, parsed, key))
    if not chosen:
        raise CheckpointError(f"{path}: holds no weights; save the network's state_dict")
    return {_own_name(path, name): _own_tensor(path, name, value) for name, value in chosen.items()}


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
    check_suffix(path)
    sets = {
        key: {name: _packed(tensor) for name, tensor in one.items()} for key, one in _as_sets(state).items()
    }
    content = _safetensors(path, sets, metadata or {}) if path.suffix == ".safetensors" else _pickled(sets)
    make_folder(path.parent)
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def _parse_safetensors(path: Path, content: bytes) -> object:
    try:
        return parse_safetensors(content)
    except (SafetensorError, KeyError, ValueError) as error:
        raise CheckpointError(f"{path}: {damaged('.safetensors')}") from error


def _parse_pickle(path: Path, content: bytes) -> object:
    try:
        _check_unpacked_size(path, content)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # old layouts make torch warn about its own internals
            return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(f"{path}: {_why_refused(content, error)}") from error
    except DAMAGE as error:
        refused = "TorchScript" in str(error)
        raise CheckpointError(
            f"{path}: {_refused('a TorchScript program') if refused else damaged('.pth')}"
        ) from error


def _check_unpacked_size(path: Path, content: bytes) -> None:
    """Torch packs without compression; a file that unpacks to more than it holds is made to fill memory."""
    if not zipfile.is_zipfile(io.BytesIO(content)):
        return
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        unpacked = sum(member.file_size for member in archive.infolist())
    if unpacked > len(content):
        raise CheckpointError(
            f"{path}: unpacks to more than the file holds ({unpacked / MIB:.0f} MiB) and is refused; "
            "if you trust it, load and save it again with torch"
        )


def _why_refused(content: bytes, error: pickle.UnpicklingError) -> str:
    """Return the end of the message: the file holds code, or is damaged, by torch's message."""
    name = re.search(r"GLOBAL ([\w.]+\.\w+)", str(error))
    if name:
        return _refused(f"'{name.group(1)}'")
    operation = re.search(r"Unsupported operand (\d+)", str(error))
    is_pickle = content[:1] == b"\x80" or zipfile.is_zipfile(io.BytesIO(content))
    return _refused(f"pickle operation {operation.group(1)}") if operation and is_pickle else damaged(".pth")


def _refused(what: str) -> str:
    return (
        f"holds code or objects beside tensors ({what}) and is refused, as reading them could run that code; "
        "use a file of tensors alone, best a .safetensors"
    )


def _choose_set(path: Path, content: Mapping[object, object], key: str | None) -> Mapping[object, object]:
    wanted = SETS_BY_PREFERENCE if key is None else (key, "params")
    found = next((name for name in wanted if isinstance(content.get(name), Mapping)), None)
    if found is None and key is None:
        return _set_of_others(path, content)
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


def _set_of_others(path: Path, content: Mapping[object, object]) -> Mapping[object, object]:
    """Return the weights in another layout than BasicSR's: under a known name, or the only set there is."""
    for _ in range(DEEPEST_SET):
        known = (*SETS_BY_PREFERENCE, *OTHERS_SETS)
        name: object = next((name for name in known if isinstance(content.get(name), Mapping)), None)
        if name is None and not any(isinstance(value, Tensor) for value in content.values()):
            sets = [key for key, value in content.items() if _is_set_of_tensors(value)]
            name = sets[0] if len(sets) == 1 else None
        if name is None:
            break
        log.info("%s: the weights are those under '%s'", path, name)
        chosen = content[name]
        assert isinstance(chosen, Mapping)
        content = chosen
    return content


def _of_generator(content: Mapping[object, object]) -> Mapping[object, object]:
    """Return the generator's weights of a training model's; others as they are."""
    names = [str(name) for name in content]
    if not all(name.startswith(PREFIXES_BESIDE) for name in names):
        return content
    for prefix in PREFIXES_OF_GENERATORS:
        # The EMA of OpenMMLab counts its steps in a tensor beside the weights.
        found: dict[object, object] = {
            str(name).removeprefix(prefix): value
            for name, value in content.items()
            if str(name).startswith(prefix) and name != f"{prefix}steps"
        }
        if found:
            return found
    return content


def _is_set_of_tensors(value: object) -> bool:
    return (
        isinstance(value, Mapping) and bool(value) and all(isinstance(one, Tensor) for one in value.values())
    )


def _own_name(path: Path, name: object) -> str:
    if not isinstance(name, str):
        raise CheckpointError(
            f"{path}: expected names of tensors, got the name {name!r}; save the state_dict"
        )
    return name.replace("_orig_mod.", "").removeprefix("module.").removeprefix("netG.")


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

"""Models for inference, found by a name or a file."""

import hashlib
import os
import re
import shlex
from collections.abc import Callable
from dataclasses import InitVar, dataclass
from functools import cached_property, partial
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from srcx.atomic import real_path
from srcx.errors import CheckpointError, OutputError, UsageError
from srcx.inference.bundled import (
    BICUBIC_SCALE,
    bundled_models,
    file_of,
    int8_of,
    models_with_parent,
    parent_of,
)
from srcx.inference.store import read_description, store_of
from srcx.nearest import did_you_mean
from srcx.weights.files import read_checkpoint, read_metadata

if TYPE_CHECKING:
    from torch import Tensor, nn

    from srcx.inference.backends import Run

__all__ = [
    "ALL_PRECISIONS",
    "CHECKPOINT_SUFFIXES",
    "Model",
    "NetworkPart",
    "check_fidelity",
    "find_model",
    "name_on_command_line",
]

CHECKPOINT_SUFFIXES = (".safetensors", ".pth", ".pt")
BICUBIC = re.compile(r"bicubic(?:-x([1-9]\d?))?")
ALL_PRECISIONS = frozenset({"fp32", "bf16", "fp16"})


class NetworkPart(NamedTuple):
    """A network as an option file writes it."""

    type: str
    args: dict[str, Any]


@dataclass(frozen=True, eq=False)
class Model:
    """A model that upscales images by a whole factor."""

    name: str
    """Its name in tables and folders."""
    scale: int
    architecture: str
    """Type of its network, or its method if it has none."""
    sha256: str
    """Of the checkpoint; of the name where there is none; of both files and the fidelity of mixed weights."""
    path: Path | None = None
    """The checkpoint."""
    net: "nn.Module | None" = None
    """RGB or grey in [0, 1], (N, channels, H, W), to (N, ., sH, sW); None is MATLAB's bicubic."""
    channels: int = 3
    """Channels `net` takes: 3 or 1."""
    multiple_of: int = 1
    """Height and width `net` takes are multiples of this."""
    precisions: frozenset[str] = ALL_PRECISIONS
    """Number formats of torch that `net` is known to work in."""
    size_px: tuple[int, int] | None = None
    """The only height and width that `net` takes, where a file was exported for one size."""
    backend: str | None = None
    """Name of the only backend that runs `net`, where it is an exported file."""
    part: NetworkPart | None = None
    """Type and arguments of `net`, where they are known."""
    int8: Path | None = None
    """`net` in 8 bits for OpenVINO, as `export_int8` writes it; its place is `int8_of`."""

    run: "Run | None" = None
    """The open network in place of `net`, where it is an exported file."""
    store: Path | None = None
    """Folder for `net` as other programs read it, where `sha256` alone says which network this is."""

    @property
    def has_net(self) -> bool:
        """Whether the model has a network, loaded or not."""
        return self.net is not None or self.run is not None

    @property
    def parameters(self) -> int:
        """Number of weights of the network."""
        return sum(parameter.numel() for parameter in self.net.parameters()) if self.net else 0

    @cached_property
    def values_per_pixel(self) -> float:
        """The values that the largest layer reads and writes for one input pixel."""
        from srcx.inference.network_sizes import values_per_pixel

        assert self.net is not None
        return values_per_pixel(self.net, self.channels, self.multiple_of)


@dataclass(frozen=True, eq=False, kw_only=True)
class StoredModel(Model):
    """A model whose network other programs run from its store: `net` is loaded when it is first asked for."""

    load: "Callable[[], nn.Module | None]"
    of_largest_layer: InitVar[float]
    """Becomes `values_per_pixel`."""

    def __post_init__(self, of_largest_layer: float) -> None:
        del vars(self)["net"]  # so that the property is asked
        vars(self)["values_per_pixel"] = of_largest_layer

    @cached_property  # type: ignore[misc] # it stands for the attribute
    def net(self) -> "nn.Module | None":
        return self.load()

    @property
    def has_net(self) -> bool:
        return True


def find_model(name_or_path: str | Path, *, fidelity: float = 0.0) -> Model:
    """Load a model by its bundled name, its checkpoint or its exported file.

    Args:
        name_or_path: A name that `srcx models` lists, `bicubic-xN`, a .pth, .pt or .safetensors file, the
            folder of a training run, for its latest weights, or an exported file: .onnx, .xml of OpenVINO or
            .param of ncnn.
        fidelity: Share of the parent in the weights, from 0 (the model as it is, sharp) to 1 (its parent,
            faithful): w = (1 - fidelity) * model + fidelity * parent.

    Raises:
        CheckpointError: a file is missing, damaged or of an unknown network, or the parent is of another
            network than the model.
        UsageError: it is neither a name nor a file, the model has no parent to mix its weights with, or the
            program that runs an exported file is not installed.

    Example:
        >>> find_model("bicubic-x3").scale
        3
    """
    from srcx.inference.exported import exported_model, is_exported  # it imports this module

    if not isinstance(name_or_path, str | os.PathLike):
        kind = type(name_or_path).__name__
        raise UsageError(f"model: expected a name, a checkpoint or the folder of a run; got {kind}")
    text = str(name_or_path)
    check_fidelity(fidelity)
    fidelity = float(fidelity)  # the hash of mixed weights has its text
    bicubic = BICUBIC.fullmatch(text)
    if bicubic:
        if fidelity:
            raise UsageError(_no_parent(text))
        scale = int(bicubic.group(1) or BICUBIC_SCALE)
        return Model(text, scale, "MATLAB imresize", hashlib.sha256(b"bicubic").hexdigest())
    bundled = file_of(text)
    if bundled:
        return _from_file(bundled, text, fidelity)
    path = Path(name_or_path)
    if path.is_dir():
        path = _weights_of_run(path)
    if is_exported(path):
        if fidelity:
            raise UsageError(_no_parent(text))
        return exported_model(path)
    if path.suffix in CHECKPOINT_SUFFIXES or path.exists():
        return _from_file(path, _name_of(path), fidelity)
    hint = did_you_mean(text, bundled_models())
    raise UsageError(
        f"{text}: neither a model that comes with srcx nor a checkpoint (.pth, .safetensors) or an exported "
        f"file (.onnx, .xml, .param); {hint}"
    )


def name_on_command_line(model: Model) -> str | None:
    """Return the word by which commands find a model again; None for mixed weights and a network of Python.

    Example:
        >>> name_on_command_line(find_model("real-x4"))
        'real-x4'
    """
    if model.path is None:
        return None
    if model.path == file_of(model.name):
        return model.name
    return shlex.quote(str(model.path)) if model.name == _name_of(model.path) else None


def check_fidelity(fidelity: float) -> None:
    """Refuse a fidelity outside [0, 1].

    Raises:
        UsageError: it is outside.
    """
    if not (isinstance(fidelity, Real) and 0 <= fidelity <= 1):
        raise UsageError(f"fidelity: expected 0 (sharp, as the model is) to 1 (faithful); got {fidelity!r}")


def _from_file(path: Path, name: str, fidelity: float) -> Model:
    content = read_checkpoint(path)  # once: a training run may replace the file at any moment
    if fidelity:
        return _mixed(path, name, content, fidelity)
    sha256 = hashlib.sha256(content).hexdigest()
    try:
        store, int8 = store_of(path, sha256), int8_of(path)
        about: dict[str, Any] = {"store": store, "int8": int8 if int8.is_file() else None}
    except OutputError:  # this user has no home folder
        store, about = None, {}
    known = read_description(store) if store else None
    if known:
        about |= {**known, "part": NetworkPart(*known["part"]), "load": partial(_net_of, path, sha256)}
        return StoredModel(name=name, sha256=sha256, path=path, **about)
    return _with_network(path, name, sha256, _state_of(path, content), **about)


def _mixed(path: Path, name: str, content: bytes, fidelity: float) -> Model:
    """Return the model of the weights mixed with those of its parent."""
    from srcx.weights.fit import average_states

    parent = parent_of(path)
    if not parent.is_file():
        raise UsageError(_no_parent(name))
    networks = {words["network"] for one in (path, parent) if "network" in (words := read_metadata(one))}
    if len(networks) > 1:
        raise CheckpointError(f"{parent}: is of another network than {path.name}; ship both again")
    of_parent = read_checkpoint(parent)
    both = (path, _state_of(path, content)), (parent, _state_of(parent, of_parent))
    state = average_states(both, [1 - fidelity, fidelity])
    # To caches, mixed weights are another model.
    whole = hashlib.sha256(content).hexdigest().encode() + of_parent + repr(fidelity).encode()
    sha256 = hashlib.sha256(whole).hexdigest()
    return _with_network(path, f"{name}-fidelity-{fidelity:g}", sha256, state)


def _state_of(path: Path, content: bytes) -> "dict[str, Tensor]":
    from srcx.weights.checkpoint import load_state

    return load_state(path, content=content)


def _with_network(path: Path, name: str, sha256: str, state: "dict[str, Tensor]", **about: Any) -> Model:
    from srcx.inference.architecture import network_of

    found = network_of(path, state)
    return Model(
        name,
        found.scale,
        found.architecture,
        sha256,
        path,
        found.net,
        channels=found.channels,
        multiple_of=found.multiple_of,
        precisions=found.precisions,
        part=found.part,
        **about,
    )


def _net_of(path: Path, sha256: str) -> "nn.Module | None":
    """Load the network of a checkpoint that was read before.

    Raises:
        CheckpointError: the file has changed since.
    """
    content = read_checkpoint(path)
    if hashlib.sha256(content).hexdigest() != sha256:
        raise CheckpointError(f"{path}: was replaced while it was in use; run the command again")
    from srcx.inference.architecture import network_of

    return network_of(path, _state_of(path, content)).net


def _no_parent(name: str) -> str:
    others = ", ".join(models_with_parent()) or "none of those that come with srcx"
    return (
        f"{name}: fidelity needs faithful weights of the same network beside the model "
        f"(NAME.parent.safetensors), and there are none; models that have them: {others}"
    )


def _weights_of_run(folder: Path) -> Path:
    """Return the latest weights of a training run: net_g_latest.pth, or those of the highest iteration."""
    files = {path.stem.removeprefix("net_g_"): path for path in (folder / "models").glob("net_g_*.pth")}
    iterations = [label for label in files if label.isdecimal()]
    latest = "latest" if "latest" in files else max(iterations, key=int, default="")
    if not latest:
        raise CheckpointError(
            f"{folder}: expected the folder of a training run, with models/net_g_latest.pth; got a folder "
            "without it: name a checkpoint"
        )
    return files[latest]


def _name_of(path: Path) -> str:
    """Return RUN-CHECKPOINT for a file in a run folder, RUN for its last weights, else the file's stem."""
    folder = real_path(path).parent
    if folder.name != "models":
        return path.stem
    run = folder.parent.name
    return run if path.stem == "net_g_latest" else f"{run}-{path.stem}"

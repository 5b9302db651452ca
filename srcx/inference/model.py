"""What a model is for inference, and how one is found by its name or its file."""

import difflib
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from srcx.errors import OutputError, UsageError
from srcx.inference.architecture import ALL_DTYPES, NetworkPart, network_of
from srcx.inference.bundled import BUNDLED, bundled_models, file_of
from srcx.weights.checkpoint import load_state, read_checkpoint
from srcx.weights.fixed import cache_folder

__all__ = ["CHECKPOINT_SUFFIXES", "Model", "find_model", "int8_of"]

CHECKPOINT_SUFFIXES = (".safetensors", ".pth", ".pt")

BICUBIC = re.compile(r"bicubic(?:-x([1-9]\d?))?")
DEFAULT_SCALE = 4


@dataclass(frozen=True, eq=False)
class Model:
    """A way to enlarge pictures by a whole factor."""

    name: str
    """What tables and folders call it."""
    scale: int
    architecture: str
    """Type of its network, or how it works without one."""
    sha256: str
    """Of the checkpoint; of the name where there is none."""
    path: Path | None = None
    """The checkpoint."""
    net: nn.Module | None = None
    """RGB or grey in [0, 1], (N, channels, H, W), to (N, ., sH, sW); None is MATLAB's bicubic."""
    channels: int = 3
    """Channels `net` takes: 3 or 1."""
    multiple_of: int = 1
    """Height and width `net` takes are multiples of this."""
    dtypes: frozenset[torch.dtype] = ALL_DTYPES
    """Precisions `net` is known to work in."""
    part: NetworkPart | None = None
    """Type and arguments of `net`, where they are known."""
    int8: Path | None = None
    """`net` in 8 bits for OpenVINO, as `export_int8` writes it; `int8_of` says where it lies."""

    @property
    def parameters(self) -> int:
        """Numbers the network has learnt."""
        return sum(parameter.numel() for parameter in self.net.parameters()) if self.net else 0


def find_model(name_or_path: str | Path) -> Model:
    """Load a model by its bundled name or its checkpoint.

    Args:
        name_or_path: A name that `srcx models` lists, `bicubic-xN`, or a .pth or .safetensors file.

    Raises:
        CheckpointError: the file is missing, damaged or of a network that is not known.
        UsageError: it is neither a name nor a file.

    Example:
        >>> find_model("bicubic-x3").scale
        3
    """
    text = str(name_or_path)
    bicubic = BICUBIC.fullmatch(text)
    if bicubic:
        scale = int(bicubic.group(1) or DEFAULT_SCALE)
        return Model(text, scale, "MATLAB imresize", hashlib.sha256(b"bicubic").hexdigest())
    bundled = file_of(text)
    if bundled:
        return _from_file(bundled, text)
    path = Path(name_or_path)
    if path.suffix in CHECKPOINT_SUFFIXES or path.exists():
        return _from_file(path, _name_of(path))
    names = list(bundled_models())
    near = difflib.get_close_matches(text, names, n=1)
    hint = f"did you mean '{near[0]}'?" if near else f"the models are {', '.join(names)}"
    raise UsageError(f"{text}: neither a model that comes with srcx nor a .pth or .safetensors file; {hint}")


def _from_file(path: Path, name: str) -> Model:
    content = read_checkpoint(path)  # once: a training run may replace the file at any moment
    found = network_of(path, load_state(path, content=content))
    return Model(
        name,
        found.scale,
        found.architecture,
        hashlib.sha256(content).hexdigest(),
        path,
        found.net,
        found.channels,
        found.multiple_of,
        found.dtypes,
        found.part,
        _int8_at_hand(path),
    )


def _int8_at_hand(checkpoint: Path) -> Path | None:
    try:
        file = int8_of(checkpoint)
    except OutputError:
        return None
    return file if file.is_file() else None


def int8_of(checkpoint: Path) -> Path:
    """Return where the 8-bit file of a checkpoint lies, if there is one.

    It lies beside the checkpoint; that of a model that comes with srcx lies in the user's cache, since the
    installed package may be read-only and belongs to the package manager.

    Raises:
        OutputError: the model comes with srcx, and this user has no home folder.

    Example:
        >>> int8_of(Path("net_g_latest.pth")).name
        'net_g_latest.int8.xml'
    """
    file = checkpoint.with_suffix(".int8.xml")
    return cache_folder().parent / "int8" / file.name if file.parent == BUNDLED else file


def _name_of(path: Path) -> str:
    """A checkpoint's own name, after its run's in a run folder; the last weights have the run's alone."""
    folder = path.resolve().parent
    if folder.name != "models":
        return path.stem
    run = folder.parent.name
    return run if path.stem == "net_g_latest" else f"{run}-{path.stem}"

"""What a model is for inference, and how one is found by its name or its file."""

import difflib
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from srcx.errors import CheckpointError, OutputError, UsageError
from srcx.inference.architecture import ALL_DTYPES, NetworkPart, network_of
from srcx.inference.bundled import BUNDLED, bundled_models, file_of, models_with_parent, parent_of
from srcx.weights.checkpoint import load_state, read_checkpoint, read_metadata
from srcx.weights.fit import mix_states
from srcx.weights.fixed import cache_folder

__all__ = ["CHECKPOINT_SUFFIXES", "Model", "check_fidelity", "find_model", "int8_of"]

CHECKPOINT_SUFFIXES = (".safetensors", ".pth", ".pt")

BICUBIC = re.compile(r"bicubic(?:-x([1-9]\d?))?")
DEFAULT_SCALE = 4


@dataclass(frozen=True, eq=False)
class Model:
    """A way to enlarge images by a whole factor."""

    name: str
    """What tables and folders call it."""
    scale: int
    architecture: str
    """Type of its network, or how it works without one."""
    sha256: str
    """Of the checkpoint; of the name where there is none; of both files and the fidelity of mixed weights."""
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


def find_model(name_or_path: str | Path, *, fidelity: float = 0.0) -> Model:
    """Load a model by its bundled name or its checkpoint.

    Args:
        name_or_path: A name that `srcx models` lists, `bicubic-xN`, a .pth, .pt or .safetensors file, or the
            folder of a training run, which stands for its latest weights.
        fidelity: Share of the parent in the weights, from 0 (the model as it is, sharp) to 1 (its parent,
            faithful): w = (1 - fidelity) * model + fidelity * parent.

    Raises:
        CheckpointError: a file is missing, damaged or of a network that is not known, or the parent is of
            another network than the model.
        UsageError: it is neither a name nor a file, or the model has no parent to mix its weights with.

    Example:
        >>> find_model("bicubic-x3").scale
        3
    """
    text = str(name_or_path)
    check_fidelity(fidelity)
    bicubic = BICUBIC.fullmatch(text)
    if bicubic:
        if fidelity:
            raise UsageError(_no_parent(text))
        scale = int(bicubic.group(1) or DEFAULT_SCALE)
        return Model(text, scale, "MATLAB imresize", hashlib.sha256(b"bicubic").hexdigest())
    bundled = file_of(text)
    if bundled:
        return _from_file(bundled, text, fidelity)
    path = Path(name_or_path)
    if path.is_dir():
        path = _weights_of_run(path)
    if path.suffix in CHECKPOINT_SUFFIXES or path.exists():
        return _from_file(path, _name_of(path), fidelity)
    names = list(bundled_models())
    near = difflib.get_close_matches(text, names, n=1)
    hint = f"did you mean '{near[0]}'?" if near else f"the models are {', '.join(names)}"
    raise UsageError(f"{text}: neither a model that comes with srcx nor a .pth or .safetensors file; {hint}")


def check_fidelity(fidelity: float) -> None:
    """Refuse a fidelity outside [0, 1].

    Raises:
        UsageError: it is outside.
    """
    if not (isinstance(fidelity, int | float) and 0 <= fidelity <= 1):
        raise UsageError(f"fidelity: expected 0 (sharp, as the model is) to 1 (faithful); got {fidelity!r}")


def _from_file(path: Path, name: str, fidelity: float) -> Model:
    content = read_checkpoint(path)  # once: a training run may replace the file at any moment
    state, sha256 = load_state(path, content=content), hashlib.sha256(content).hexdigest()
    int8 = _int8_at_hand(path)
    if fidelity:
        parent = parent_of(path)
        if not parent.is_file():
            raise UsageError(_no_parent(name))
        networks = {words["network"] for one in (path, parent) if "network" in (words := read_metadata(one))}
        if len(networks) > 1:
            raise CheckpointError(f"{parent}: is of another network than {path.name}; ship both again")
        of_parent = read_checkpoint(parent)
        state = mix_states(state, load_state(parent, content=of_parent), fidelity, source=parent)
        # Caches take mixed weights for another model, and the 8-bit file is of the unmixed ones.
        sha256 = hashlib.sha256(sha256.encode() + of_parent + repr(fidelity).encode()).hexdigest()
        name, int8 = f"{name}-fidelity-{fidelity:g}", None
    found = network_of(path, state)
    return Model(
        name,
        found.scale,
        found.architecture,
        sha256,
        path,
        found.net,
        found.channels,
        found.multiple_of,
        found.dtypes,
        found.part,
        int8,
    )


def _no_parent(name: str) -> str:
    others = ", ".join(models_with_parent()) or "none of those that come with srcx"
    return (
        f"{name}: fidelity needs faithful weights of the same network beside the model "
        f"(NAME.parent.safetensors), and there are none; models that have them: {others}"
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
    """A checkpoint's own name, after its run's in a run folder; the last weights have the run's alone."""
    folder = path.resolve().parent
    if folder.name != "models":
        return path.stem
    run = folder.parent.name
    return run if path.stem == "net_g_latest" else f"{run}-{path.stem}"

"""What a model is for inference, and how one is found by its name or its file."""

import difflib
import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from srcx.errors import UsageError
from srcx.inference.architecture import network_of
from srcx.weights.checkpoint import load_state

__all__ = ["BUNDLED", "CHECKPOINT_SUFFIXES", "Model", "bundled_models", "find_model"]

BUNDLED = Path(__file__).resolve().parents[1] / "bundled"
"""Folder of the models that come with srcx: NAME.safetensors with NAME.json beside it."""

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
    dtypes: frozenset[torch.dtype] = frozenset({torch.float32, torch.bfloat16, torch.float16})
    """Precisions `net` is known to work in."""

    @property
    def parameters(self) -> int:
        """Numbers the network has learnt."""
        return sum(parameter.numel() for parameter in self.net.parameters()) if self.net else 0


def bundled_models() -> dict[str, dict[str, Any]]:
    """Names of the models that need no file of the user's, with what is said about each.

    Example:
        >>> bundled_models()["bicubic"]["scale"]
        4
    """
    bicubic = {
        "scale": DEFAULT_SCALE,
        "about": "MATLAB's imresize; bicubic-x2, bicubic-x3 ... for other scales",
    }
    files = sorted(BUNDLED.glob("*.json"))
    return {"bicubic": bicubic} | {file.stem: json.loads(file.read_text("utf-8")) for file in files}


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
    if (BUNDLED / f"{text}.safetensors").is_file():
        return _from_file(BUNDLED / f"{text}.safetensors", text)
    path = Path(name_or_path)
    if path.suffix in CHECKPOINT_SUFFIXES or path.exists():
        return _from_file(path, _name_of(path))
    names = list(bundled_models())
    near = difflib.get_close_matches(text, names, n=1)
    hint = f"did you mean '{near[0]}'?" if near else f"the models are {', '.join(names)}"
    raise UsageError(f"{text}: neither a model that comes with srcx nor a .pth or .safetensors file; {hint}")


def _from_file(path: Path, name: str) -> Model:
    found = network_of(path, load_state(path))
    return Model(
        name,
        found.scale,
        found.architecture,
        hashlib.sha256(path.read_bytes()).hexdigest(),
        path,
        found.net,
        found.channels,
        found.multiple_of,
        found.dtypes,
    )


def _name_of(path: Path) -> str:
    """A checkpoint's own name, after its run's where it lies in a run folder: many are net_g_latest."""
    run = path.resolve().parent
    return f"{run.parent.name}-{path.stem}" if run.name == "models" else path.stem

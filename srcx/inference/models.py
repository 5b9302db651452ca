"""Models for inference: those that come with srcx, and how one is found by its name or its file."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from srcx.errors import CheckpointError, OutputError, UsageError
from srcx.inference.architecture import ALL_DTYPES, NetworkPart, network_of
from srcx.nearest import nearest
from srcx.weights.checkpoint import load_state, read_checkpoint, read_metadata
from srcx.weights.fit import average_states
from srcx.weights.fixed import cache_folder

__all__ = [
    "BUNDLED",
    "CHECKPOINT_SUFFIXES",
    "Model",
    "automatic_models",
    "bundled_models",
    "card_of",
    "check_fidelity",
    "default_model",
    "file_of",
    "find_model",
    "int8_of",
    "is_parent",
    "models_with_parent",
    "parent_of",
]

BUNDLED = Path(__file__).resolve().parents[1] / "bundled"
"""NAME.safetensors, in half precision, which names its network and scale; NAME.md, its card; for some models
NAME.parent.safetensors, the faithful weights that the sharp ones were trained from."""
PARENT_SUFFIX = ".parent.safetensors"
CHECKPOINT_SUFFIXES = (".safetensors", ".pth", ".pt")

FOR_DAMAGED = {2: "real-x2", 4: "real-x4"}
"""Models of "auto" for damaged images, by the largest scale of the result, if they are bundled."""
FOR_CLEAN = {4: "srgan-cx-x4"}
"""Likewise for clean images."""
BEST_FIRST = ("srgan-cx-x4", "srresnet-x4", "bicubic")
"""The first of these that is bundled is used where neither table has a bundled model."""
AUTO_SCALE = 4

BICUBIC = re.compile(r"bicubic(?:-x([1-9]\d?))?")
BICUBIC_SCALE = 4
BICUBIC_CARD = """# bicubic: MATLAB's imresize; bicubic-x2, bicubic-x3 ... for other scales

No network: each pixel is a weighted sum of its 4 x 4 nearest. Results for 8-bit
and 16-bit images are MATLAB's to the last bit.
"""


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
    net: nn.Module | None = None
    """RGB or grey in [0, 1], (N, channels, H, W), to (N, ., sH, sW); None is MATLAB's bicubic."""
    channels: int = 3
    """Channels `net` takes: 3 or 1."""
    multiple_of: int = 1
    """Height and width `net` takes are multiples of this."""
    dtypes: frozenset[torch.dtype] = ALL_DTYPES
    """Number formats `net` is known to work in."""
    part: NetworkPart | None = None
    """Type and arguments of `net`, where they are known."""
    int8: Path | None = None
    """`net` in 8 bits for OpenVINO, as `export_int8` writes it; its place is `int8_of`."""

    @property
    def parameters(self) -> int:
        """Number of weights of the network."""
        return sum(parameter.numel() for parameter in self.net.parameters()) if self.net else 0


def bundled_models() -> dict[str, tuple[int, str]]:
    """Return the scale and a short description of each model that comes with srcx, by name.

    Example:
        >>> bundled_models()["bicubic"][0]
        4
    """
    files = [file for file in sorted(BUNDLED.glob("*.safetensors")) if file_of(file.stem)]
    scales = {"bicubic": BICUBIC_SCALE} | {file.stem: int(read_metadata(file)["scale"]) for file in files}
    first_lines = {name: card_of(name).partition("\n")[0] for name in scales}
    return {name: (scale, first_lines[name].partition(": ")[2]) for name, scale in scales.items()}


def card_of(name: str) -> str:
    """Return the card of a bundled model, Markdown; its first line is `# NAME: short description`."""
    return BICUBIC_CARD if name == "bicubic" else (BUNDLED / f"{name}.md").read_text("utf-8")


def file_of(name: str) -> Path | None:
    """Return the weights of a bundled model; None where there is no such file. A parent is not a model."""
    file = BUNDLED / f"{name}.safetensors"
    return file if file.is_file() and not is_parent(file) else None


def parent_of(checkpoint: Path) -> Path:
    """Return the path beside a checkpoint that its parent has, if there is one.

    Example:
        >>> parent_of(Path("real-x4.safetensors")).name
        'real-x4.parent.safetensors'
    """
    return checkpoint.with_suffix(PARENT_SUFFIX)


def is_parent(checkpoint: Path) -> bool:
    """Return whether a file is named as the parent of another."""
    return checkpoint.name.endswith(PARENT_SUFFIX)


def models_with_parent() -> list[str]:
    """Return the names of the bundled models whose weights can be mixed with their parent's."""
    return [name for name in bundled_models() if (file := file_of(name)) and parent_of(file).is_file()]


def default_model() -> str:
    """Return the best of the bundled models.

    Example:
        >>> default_model() in bundled_models()
        True
    """
    return next(name for name in BEST_FIRST if name == "bicubic" or file_of(name))


def automatic_models(scale: float | None) -> tuple[str, str]:
    """Return the models that "auto" takes for a clean and for a damaged image; they may be the same.

    Args:
        scale: Scale of the results; None is 4.

    Example:
        >>> set(automatic_models(None)) <= set(bundled_models())
        True
    """
    scale = AUTO_SCALE if scale is None else scale
    clean = _for_scale(FOR_CLEAN, scale) or default_model()
    return clean, _for_scale(FOR_DAMAGED, scale) or clean


def _for_scale(table: dict[int, str], scale: float) -> str | None:
    """Return the bundled model of the least scale that suffices, else that of the largest scale."""
    scales = sorted(one for one, name in table.items() if file_of(name))
    enough = [one for one in scales if one >= scale]
    return table[(enough or scales[-1:])[0]] if scales else None


def find_model(name_or_path: str | Path, *, fidelity: float = 0.0) -> Model:
    """Load a model by its bundled name or its checkpoint.

    Args:
        name_or_path: A name that `srcx models` lists, `bicubic-xN`, a .pth, .pt or .safetensors file, or the
            folder of a training run, for its latest weights.
        fidelity: Share of the parent in the weights, from 0 (the model as it is, sharp) to 1 (its parent,
            faithful): w = (1 - fidelity) * model + fidelity * parent.

    Raises:
        CheckpointError: a file is missing, damaged or of an unknown network, or the parent is of another
            network than the model.
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
        scale = int(bicubic.group(1) or BICUBIC_SCALE)
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
    near = nearest(text, names)
    hint = f"did you mean '{near}'?" if near else f"the models are {', '.join(names)}"
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
    int8: Path | None = None
    if fidelity:
        parent = parent_of(path)
        if not parent.is_file():
            raise UsageError(_no_parent(name))
        networks = {words["network"] for one in (path, parent) if "network" in (words := read_metadata(one))}
        if len(networks) > 1:
            raise CheckpointError(f"{parent}: is of another network than {path.name}; ship both again")
        of_parent = read_checkpoint(parent)
        both = (path, state), (parent, load_state(parent, content=of_parent))
        state = average_states(both, [1 - fidelity, fidelity])
        # To caches, mixed weights are another model.
        sha256 = hashlib.sha256(sha256.encode() + of_parent + repr(fidelity).encode()).hexdigest()
        name = f"{name}-fidelity-{fidelity:g}"
    else:
        try:
            int8 = int8_of(path)
        except OutputError:  # this user has no home folder
            int8 = None
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
        int8 if int8 and int8.is_file() else None,
    )


def _no_parent(name: str) -> str:
    others = ", ".join(models_with_parent()) or "none of those that come with srcx"
    return (
        f"{name}: fidelity needs faithful weights of the same network beside the model "
        f"(NAME.parent.safetensors), and there are none; models that have them: {others}"
    )


def int8_of(checkpoint: Path) -> Path:
    """Return the path that the 8-bit file of a checkpoint has, if there is one.

    It is beside the checkpoint; that of a model that comes with srcx is in the user's cache, since the
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
    """Return RUN-CHECKPOINT for a file in a run folder, RUN for its last weights, else the file's stem."""
    folder = path.resolve().parent
    if folder.name != "models":
        return path.stem
    run = folder.parent.name
    return run if path.stem == "net_g_latest" else f"{run}-{path.stem}"

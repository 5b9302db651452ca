"""The models that come with srcx: names, cards, files, and which of them "auto" takes. It needs no torch."""

from pathlib import Path

from safetensors import safe_open

from srcx.weights.published import BUNDLED, cache_folder

__all__ = [
    "BICUBIC_SCALE",
    "BUNDLED",
    "automatic_models",
    "bundled_models",
    "card_of",
    "default_model",
    "file_of",
    "int8_of",
    "is_parent",
    "models_with_parent",
    "parent_of",
]

PARENT_SUFFIX = ".parent.safetensors"

FOR_DAMAGED = {2: "real-x2", 4: "real-x4"}
"""Models of "auto" for damaged images, by the largest scale of the result, if they are bundled."""
FOR_CLEAN = {2: "srgan-cx-x2", 4: "srgan-cx-x4"}
"""Likewise for clean images."""
BEST_FIRST = ("srgan-cx-x4", "srresnet-x4", "bicubic")
"""The first of these that is bundled is used where neither table has a bundled model."""
AUTO_SCALE = 4

BICUBIC_SCALE = 4
BICUBIC_CARD = """# bicubic: MATLAB's imresize; bicubic-x2, bicubic-x3 ... for other scales

No network: each pixel is a weighted sum of its 4 x 4 nearest. Results for 8-bit
and 16-bit images are MATLAB's to the last bit.
"""


def bundled_models() -> dict[str, tuple[int, str]]:
    """Return the scale and a short description of each model that comes with srcx, by name.

    Example:
        >>> bundled_models()["bicubic"][0]
        4
    """
    files = [file for file in sorted(BUNDLED.glob("*.safetensors")) if file_of(file.stem)]
    scales = {"bicubic": BICUBIC_SCALE} | {file.stem: _scale_of(file) for file in files}
    first_lines = {name: card_of(name).partition("\n")[0] for name in scales}
    return {name: (scale, first_lines[name].partition(": ")[2]) for name, scale in scales.items()}


def _scale_of(file: Path) -> int:
    with safe_open(file, framework="numpy") as weights:
        return int(weights.metadata()["scale"])


def card_of(name: str) -> str:
    """Return the card of a bundled model, Markdown; its first line is `# NAME: short description`."""
    return BICUBIC_CARD if name == "bicubic" else (BUNDLED / f"{name}.md").read_text("utf-8")


def file_of(name: str) -> Path | None:
    """Return the weights of a bundled model; None where there is no such file. A parent is not a model."""
    file = BUNDLED / f"{name}.safetensors"
    is_name = Path(name).name == name  # joining an absolute path drops BUNDLED
    return file if is_name and file.is_file() and not is_parent(file) else None


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

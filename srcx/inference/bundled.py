"""The models that come with srcx: one file of weights and one card each, in a folder of the package."""

from pathlib import Path

from srcx.weights.checkpoint import read_metadata

__all__ = [
    "BUNDLED",
    "automatic_models",
    "bundled_models",
    "card_of",
    "default_model",
    "file_of",
    "is_parent",
    "models_with_parent",
    "parent_of",
]

BUNDLED = Path(__file__).resolve().parents[1] / "bundled"
"""NAME.safetensors, in half precision, which says its network and scale; NAME.md, its card; for some models
NAME.parent.safetensors, the faithful weights that the sharp ones were trained from."""

FOR_DAMAGED = {2: "real-x2", 4: "real-x4"}
"""Model of "auto" for damaged images by the largest scale of the result that it is for; a model that is not
bundled is passed over."""
FOR_CLEAN = {4: "srgan-cx-x4"}
"""Likewise for clean images."""
BEST_FIRST = ("srgan-cx-x4", "srresnet-x4", "bicubic")
"""Where neither table has a bundled model: the first that is there."""
PARENT_SUFFIX = ".parent.safetensors"
AUTO_SCALE = 4
"""Scale of "auto" where none is asked for."""

BICUBIC_CARD = """# bicubic: MATLAB's imresize; bicubic-x2, bicubic-x3 ... for other scales

No network: each pixel is a weighted sum of its 4 x 4 nearest. Results for 8-bit
and 16-bit images are MATLAB's to the last bit.
"""


def bundled_models() -> dict[str, tuple[int, str]]:
    """Names of the models that need no file of the user's, with the scale and what each is for.

    Example:
        >>> bundled_models()["bicubic"][0]
        4
    """
    files = [file for file in sorted(BUNDLED.glob("*.safetensors")) if file_of(file.stem)]
    scales = {"bicubic": 4} | {file.stem: int(read_metadata(file)["scale"]) for file in files}
    return {name: (scale, _first_line(card_of(name))) for name, scale in scales.items()}


def default_model() -> str:
    """The best of the models that are there.

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


def file_of(name: str) -> Path | None:
    """Return the weights of a bundled model; None where there is no such file. A parent is no model."""
    file = BUNDLED / f"{name}.safetensors"
    return file if file.is_file() and not is_parent(file) else None


def parent_of(checkpoint: Path) -> Path:
    """Return where the parent of a checkpoint is, if it has one: a file beside it.

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


def card_of(name: str) -> str:
    """What is to be known of a bundled model, Markdown; its first line is `# NAME: what it is for`."""
    return BICUBIC_CARD if name == "bicubic" else (BUNDLED / f"{name}.md").read_text("utf-8")


def _first_line(card: str) -> str:
    return card.partition("\n")[0].partition(": ")[2]

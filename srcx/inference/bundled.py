"""The models that come with srcx: one file of weights and one card each, in a folder of the package."""

from pathlib import Path

from srcx.weights.checkpoint import read_metadata

__all__ = ["BUNDLED", "bundled_models", "card_of", "default_model", "file_of"]

BUNDLED = Path(__file__).resolve().parents[1] / "bundled"
"""NAME.safetensors, in half precision, which says its network and scale; NAME.md, its card."""

BEST_FIRST = ("srgan-cx-x4", "srresnet-x4", "bicubic")
"""What `srcx upscale` takes where no model is named: the first that is there."""

BICUBIC_CARD = """# bicubic: MATLAB's imresize; bicubic-x2, bicubic-x3 ... for other scales

No network: each pixel is a weighted sum of its 4 x 4 nearest. Results for 8-bit
and 16-bit pictures are MATLAB's to the last bit.
"""


def bundled_models() -> dict[str, tuple[int, str]]:
    """Names of the models that need no file of the user's, with the scale and what each is for.

    Example:
        >>> bundled_models()["bicubic"][0]
        4
    """
    files = sorted(BUNDLED.glob("*.safetensors"))
    scales = {"bicubic": 4} | {file.stem: int(read_metadata(file)["scale"]) for file in files}
    return {name: (scale, _first_line(card_of(name))) for name, scale in scales.items()}


def default_model() -> str:
    """The best of the models that are there.

    Example:
        >>> default_model() in bundled_models()
        True
    """
    return next(name for name in BEST_FIRST if name == "bicubic" or file_of(name))


def file_of(name: str) -> Path | None:
    """The weights of a bundled model; None where there is no such file."""
    file = BUNDLED / f"{name}.safetensors"
    return file if file.is_file() else None


def card_of(name: str) -> str:
    """What is to be known of a bundled model, Markdown; its first line is `# NAME: what it is for`."""
    return BICUBIC_CARD if name == "bicubic" else (BUNDLED / f"{name}.md").read_text("utf-8")


def _first_line(card: str) -> str:
    return card.partition("\n")[0].partition(": ")[2]

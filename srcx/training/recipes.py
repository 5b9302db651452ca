"""The recipes of `srcx new`: files of options/, each with its purpose and the models it can start from."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from srcx.errors import UsageError
from srcx.nearest import LIKE_AN_OPTION, did_you_mean

__all__ = ["OPTIONS", "OPTIONS_SCHEMA", "RECIPES", "Recipe", "find_recipe"]

_PACKAGE = Path(__file__).resolve().parents[1]
_INSTALLED = _PACKAGE / "options"
OPTIONS = _INSTALLED if _INSTALLED.is_dir() else _PACKAGE.parent / "options"
"""Folder of the option files: in the installed package, or beside it in a checkout (see setup.py)."""
OPTIONS_SCHEMA = OPTIONS / "schema.json"
"""JSON schema of option files, as `srcx schema` prints it."""


@dataclass(frozen=True)
class Recipe:
    """A way to train."""

    about: str
    """Purpose in one sentence."""
    files: Mapping[int, str]
    """Option file under options/ by scale; a scale without one takes the first, adapted."""
    start: Mapping[int, str] = field(default_factory=dict)
    """Model that comes with srcx and that the generator starts from, by scale; random weights elsewhere."""
    scales: tuple[int, ...] = (2, 4)
    takes_pairs: bool = False
    """Whether lq is stored, in a folder of its own."""

    def file(self, scale: int) -> Path:
        """Return the option file for this scale."""
        return OPTIONS / self.files.get(scale, next(iter(self.files.values())))


CLEAN = {4: "srresnet-x4", 2: "fast-x2"}
SHARP = {4: "srgan-cx-x4", 2: "srgan-cx-x2"}
DAMAGED = {4: "real-x4", 2: "real-x2"}

RECIPES: Mapping[str, Recipe] = {
    "finetune": Recipe(
        "A model that comes with srcx (or --from) is trained on with your images: good within minutes.",
        {4: "train/finetune_x4.yml"},
        CLEAN,
    ),
    "srresnet": Recipe(
        "From random weights for the highest PSNR: needs hours and some hundred images.",
        {4: "train/srresnet_x4.yml"},
    ),
    "fast": Recipe(
        "As srresnet, by a network that takes a fifth of the work for each image.",
        {4: "shipped/fast_x4.yml", 2: "shipped/fast_x2.yml"},
    ),
    "srgan-cx": Recipe(
        "Contextual and adversarial losses: sharp, natural texture for clean images.",
        {4: "shipped/srgan_cx_x4.yml", 2: "shipped/srgan_cx_x2.yml"},
        SHARP,
    ),
    "real": Recipe(
        "As srgan-cx, for damaged images: JPEG, noise and blur are added to your images on the fly.",
        {4: "shipped/real_x4.yml", 2: "shipped/real_x2.yml"},
        DAMAGED,
    ),
    "nonaligned": Recipe(
        "Your own pairs of lq and gt that do not line up (--lq), by the contextual loss.",
        {1: "nonaligned/real_cx.yml"},
        CLEAN,
        scales=(1, 2, 4),
        takes_pairs=True,
    ),
}


def find_recipe(name: str) -> Recipe:
    """Return the recipe of this name.

    Raises:
        UsageError: there is no such recipe; names the nearest.

    Example:
        >>> find_recipe("srgan-cx").start[4]
        'srgan-cx-x4'
    """
    if name not in RECIPES:
        raise UsageError(f"unknown recipe '{name}'; {did_you_mean(name, RECIPES, least=LIKE_AN_OPTION)}")
    return RECIPES[name]

"""Spellings some of BasicSR's files still use, moved to the place where the schema has them."""

from srcx.config.document import Document
from srcx.config.problems import Problem
from srcx.config.real_esrgan_words import translate

__all__ = ["modernise", "outside"]

MOVED = {("save_img",): ("val", "save_img"), ("suffix",): ("val", "suffix")}
"""BasicSR's test_RCAN.yml keeps these at the top of the file."""

OUTSIDE = {
    "video": (
        "EDVRModel",
        "VideoBaseModel",
        "VideoGANModel",
        "VideoRecurrentGANModel",
        "VideoRecurrentModel",
    ),
    "making or restoring faces": ("GFPGANModel", "HiFaceGANModel", "StyleGAN2Model", "VQGANModel"),
}
"""Models of BasicSR and its family for work that srcx does not do."""

FORKS_CLIP_NORM = 0.01
"""What `use_grad_clip: true` means in the forks of BasicSR that have it (Restormer, NAFNet)."""


def modernise(document: Document) -> list[Problem]:
    """Rewrite the old spellings in `document`; what is given in the new place as well wins and stays.

    Returns:
        What is wrong with old words, which are no longer in `document` then.
    """
    for old, new in MOVED.items():
        if old[0] in document.data and isinstance(document.data.get(new[0], {}), dict):
            value, place = document.take(old)
            if document.get(new) is None:
                document.put(new, value, place, old_word=old)
    if "crop_border" in document.data and document.data["crop_border"] is None:
        document.take(("crop_border",))
    _clip(document)
    return translate(document)


def outside(document: Document) -> Problem | None:
    """Return the one problem of a file for other work than srcx's; all others would follow from it."""
    came = document.data.get("model_type")
    for work, names in OUTSIDE.items():
        if came in names:
            return Problem(("model_type",), f"{came} is for {work}, and srcx upscales single images")
    return None


def _clip(document: Document) -> None:
    train = document.data.get("train")
    if isinstance(train, dict) and isinstance(train.get("use_grad_clip"), bool):
        wanted, place = document.take(("train", "use_grad_clip"))
        if wanted and train.get("grad_clip") is None:
            document.put(("train", "grad_clip"), FORKS_CLIP_NORM, place)

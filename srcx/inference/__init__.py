"""Upscaling: find a model, run it on images of any kind and size, on files and folders."""

from typing import TYPE_CHECKING

from srcx.inference.bundled import bundled_models, default_model
from srcx.lazy import lazily

__all__ = ["Model", "Upscaler", "bundled_models", "default_model", "find_model", "load_model", "upscale"]

if TYPE_CHECKING:
    from srcx.inference.load import load_model, upscale
    from srcx.inference.models import Model, find_model
    from srcx.inference.upscaler import Upscaler
else:
    # torch comes with these alone: listing the models needs none.
    __getattr__, __dir__ = lazily(
        __name__,
        {
            **dict.fromkeys(("Model", "find_model"), "srcx.inference.models"),
            **dict.fromkeys(("load_model", "upscale"), "srcx.inference.load"),
            "Upscaler": "srcx.inference.upscaler",
        },
    )

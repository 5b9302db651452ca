"""srcx: super-resolution training and inference with the contextual loss."""

from typing import TYPE_CHECKING

from srcx.lazy import lazily

__version__ = "0.1.0"

__all__ = ["load_model", "losses", "metrics", "upscale"]

if TYPE_CHECKING:
    from srcx import losses, metrics
    from srcx.inference import load_model, upscale
else:
    __getattr__, __dir__ = lazily(
        __name__,
        {
            "load_model": "srcx.inference.load",
            "losses": "srcx.losses",
            "metrics": "srcx.metrics",
            "upscale": "srcx.inference.load",
        },
    )

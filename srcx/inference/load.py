"""`srcx.load_model` and `srcx.upscale`."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from srcx.errors import UsageError
from srcx.imaging import ImageArray
from srcx.inference.automatic import AutoUpscaler, auto_model
from srcx.inference.autotune import Precision
from srcx.inference.kinds import Kind
from srcx.inference.models import find_model
from srcx.inference.upscaler import Tile, Upscaler

if TYPE_CHECKING:
    import torch

__all__ = ["load_model", "upscale"]


def load_model(
    name_or_path: str | Path | None = "auto",
    *,
    tile: Tile = "auto",
    precision: Precision = "auto",
    device: "torch.device | str | None" = None,
    scale: float | None = None,
    tta: bool = False,
    backend: str = "auto",
    fidelity: float = 0.0,
    lock_color: bool = False,
) -> Upscaler:
    """Load a model to upscale images with.

    Args:
        name_or_path: A name that `srcx models` lists, a checkpoint of srcx, BasicSR or the community (.pth,
            .pt, .safetensors), the folder of a training run, or an exported file (.onnx, .xml of OpenVINO,
            .param of ncnn); "auto" or None takes for each image the bundled model that suits it, clean or
            damaged.
        tile: Side in input pixels of the tiles an image is cut into, at least 16; 0 for none, "auto" for what
            the free memory allows.
        precision: "fp32", "bf16", "fp16", "int8", or "auto" for the fastest within 50 dB of fp32.
        device: Where the network runs: "cpu", "cuda", "cuda:1" ...; None takes CUDA if it is there.
        scale: Factor of the results, 1 to 32, whole or not; where it differs from the model's, its results
            are resampled. None takes the model's, 4 for "auto".
        tta: Whether to return the mean over the eight rotations and reflections: 8 times the work.
        backend: "torch", "nnpack", "onnx", "openvino", "ncnn", or "auto" for the fastest that is installed.
        fidelity: From 0, the model as it is, sharp, to 1, its faithful parent, which invents nothing.
        lock_color: Whether to make the low frequencies of the results those of the images, so that no network
            shifts their colours.

    Returns:
        An object that is called with an image and returns the upscaled image.

    Raises:
        CheckpointError: the file is missing, damaged or of an unknown network.
        UsageError: there is no such name, or an argument makes no sense, such as a tile for bicubic.

    Example:
        >>> import numpy as np
        >>> load_model("bicubic")(np.zeros((6, 8, 3), np.uint8)).shape
        (24, 32, 3)
    """
    kind, model = (
        (AutoUpscaler, auto_model(scale, fidelity))
        if name_or_path is None or name_or_path == "auto"
        else (Upscaler, find_model(name_or_path, fidelity=fidelity))
    )
    upscaler = kind(
        model,
        tile=tile,
        precision=precision,
        device=device,
        scale=scale,
        tta=tta,
        backend=backend,
        lock_color=lock_color,
    )
    if isinstance(upscaler, AutoUpscaler):
        if fidelity or precision != "auto" or backend != "auto":
            upscaler.check_settings()
    elif not model.has_net:
        # Its integers are exact, so that fp32, bf16 and fp16 ask for no more.
        asked = {
            "tile": tile != "auto",
            "precision": precision == "int8",
            "tta": tta,
            "backend": backend not in ("auto", "torch"),
            "lock_color": lock_color,
        }
        if any(asked.values()):
            names = ", ".join(name for name, is_asked in asked.items() if is_asked)
            raise UsageError(f"{names}: for networks, and {model.name} has none; leave out")
    return upscaler


@overload
def upscale(
    image: Kind, model: str | Path | None = ..., *, scale: float | None = ..., fidelity: float = ...
) -> Kind: ...


@overload
def upscale(
    image: str | os.PathLike[str],
    model: str | Path | None = ...,
    *,
    scale: float | None = ...,
    fidelity: float = ...,
) -> ImageArray: ...


def upscale(
    image: Any, model: str | Path | None = "auto", *, scale: float | None = None, fidelity: float = 0.0
) -> Any:
    """Upscale one image; for several, `load_model` loads the model once.

    Args:
        image: uint8 or uint16 array, (H, W) grey, (H, W, 3) RGB or (H, W, 4) RGBA; float tensor in [0, 1] or
            uint8 tensor, (N, C, H, W) or (C, H, W); PIL image; or path of an image file.
        model: A name that `srcx models` lists, a checkpoint, or "auto" for the one that suits the image.
        scale: Factor of the result, 1 to 32; None takes the model's, 4 for "auto".
        fidelity: From 0, the model as it is, sharp, to 1, its faithful parent, which invents nothing.

    Returns:
        The image `scale` times as large, of the same kind, type and channels; an array for a path.

    Raises:
        ImageError: it is not an image, or the result does not fit into the memory.
        CheckpointError: the checkpoint is missing, damaged or of an unknown network.
        UsageError: there is no such model, or an argument makes no sense.

    Example:
        >>> import numpy as np
        >>> upscale(np.zeros((2, 3), np.uint16), model="bicubic-x2").shape
        (4, 6)
    """
    return load_model(model, scale=scale, fidelity=fidelity)(image)

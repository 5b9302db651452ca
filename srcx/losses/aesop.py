"""The loss of auto-encoded supervision (AESOP): L1 of what a frozen pixel model makes of two small images."""

import json
from inspect import signature
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from srcx import archs
from srcx.errors import CheckpointError, ImageError
from srcx.tensors import check_same_shape
from srcx.weights.checkpoint import load_state
from srcx.weights.files import read_metadata
from srcx.weights.fit import load_into
from srcx.weights.published import BUNDLED

__all__ = ["AESOPLoss"]


class AESOPLoss(nn.Module):
    """L1 of the auto-encoded images: each is shrunk by bicubic, then upscaled by a frozen pixel model.

    The pixel model returns the mean of all images that a small image may stand for. So the loss sees what
    the low resolution determines, and does not punish texture, which L1 of the images would blur.

    Args:
        model: The frozen model, trained with a pixel loss: the name of one that comes with srcx, or a
            .safetensors file that names a network of srcx, as `srcx export --format safetensors` writes.

    Called with sr and gt, RGB in [0, 1], (N, 3, H, W), H and W multiples of the model's scale, it returns a
    scalar, 0 for equal images.

    Raises:
        CheckpointError: there is no such model or file, or it does not name a network of srcx.
        ImageError: the shapes differ, or the images are not RGB or of another size.

    References:
        Lee et al., "Auto-Encoded Supervision for Perceptual Image Super-Resolution", CVPR 2025,
        arXiv:2412.00124: mean |AE(sr) - AE(gt)|; in the paper's trainings its weight is 1.
        Differs from the paper: its encoder is a small network that is trained with the decoder; a second L1
        makes its output similar to the bicubic image. Here the encoder is bicubic itself, and the
        decoder is a model that was trained on such images, so no training is needed before.
    """

    def __init__(self, model: Path | str = "srresnet-x4") -> None:
        super().__init__()
        self.decoder, self.scale = _pixel_model(str(model))

    def train(self, mode: bool = True) -> "AESOPLoss":
        """Stay in evaluation mode: the model is frozen."""
        return super().train(False)

    def forward(self, sr: Tensor, gt: Tensor) -> Tensor:
        check_same_shape("AESOPLoss", sr, gt)
        if sr.ndim != 4 or sr.shape[1] != 3 or any(side % self.scale for side in sr.shape[2:]):
            raise ImageError(
                f"AESOPLoss: expected RGB images (N, 3, H, W), H and W multiples of {self.scale}; "
                f"got {tuple(sr.shape)}"
            )
        return functional.l1_loss(self._auto_encoded(sr), self._auto_encoded(gt))

    def _auto_encoded(self, image: Tensor) -> Tensor:
        size = [side // self.scale for side in image.shape[2:]]
        # In full precision: the difference of two reconstructions is as small as the rounding of bfloat16.
        small = functional.interpolate(image.float(), size, mode="bicubic", antialias=True)
        reconstruction: Tensor = self.decoder(small)
        return reconstruction


def _pixel_model(name: str) -> tuple[nn.Module, int]:
    """Return the frozen network of a model and its scale.

    Raises:
        CheckpointError: there is none, or it does not name a network of srcx.
    """
    bundled = BUNDLED / f"{name}.safetensors"
    is_name = Path(name).name == name  # joining an absolute path drops BUNDLED
    path = bundled if is_name and bundled.is_file() else Path(name)
    words = read_metadata(path)
    try:
        described = json.loads(words["network"])
        with torch.random.fork_rng(devices=[]):  # its fresh weights are replaced
            net: nn.Module = _generators()[described["type"]](**described["args"])
        scale = int(words["scale"])
    except (ValueError, LookupError, TypeError) as error:
        raise CheckpointError(
            f"AESOPLoss: {path}: expected a model of srcx, or a .safetensors file that names its network and "
            "scale; 'srcx export --model FILE --format safetensors -o NEW.safetensors' writes one"
        ) from error
    load_into(net, load_state(path), source=path)
    return net.eval().requires_grad_(False), scale


def _generators() -> dict[str, type[nn.Module]]:
    """Return the networks of srcx that upscale; a file is not trusted, and discriminators may read others."""
    networks = {name: getattr(archs, name) for name in archs.__all__}
    return {name: kind for name, kind in networks.items() if "upscale" in signature(kind).parameters}

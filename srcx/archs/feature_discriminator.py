"""A discriminator on features of a network trained on ImageNet."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from srcx.errors import ImageError
from srcx.features.extractor import FeatureExtractor, check_layers, extractor
from srcx.features.mscn import LEAST_PX, mscn
from srcx.weights.layout import NETWORKS

__all__ = ["FeatureDiscriminator"]


class FeatureDiscriminator(nn.Module):
    """Small heads on layers of a fixed VGG; each classifies patches by the features of its layer.

    Its features represent textures from the first iteration on. A discriminator with random weights must
    learn them first, and may stay at chance for hundreds of iterations.

    Args:
        num_feat: Channels of the heads.
        layers: Inputs of the heads: layers of the network, or "mscn", the image without its local brightness
            and contrast (`srcx.features.mscn`).
        vgg_type: "vgg16" or "vgg19".
        weights_path: File of the network's weights; None searches as `find_weights` does.

    Called with images, RGB in [0, 1], (N, 3, H, W), it returns logits, (N, layers, H / s, W / s) for a
    deepest layer of s times fewer rows: positive where a patch looks real to the head of a layer.

    Raises:
        OptionsError: the network has no such layer.
        WeightsError: the network's weights are missing; the message says how to get them.
        ImageError: an image is too small for the deepest layer.

    References:
        Sauer et al., "Projected GANs Converge Faster", NeurIPS 2021, arXiv:2111.01007.
        Differs from the paper: features go to the heads without random projections, from layers with small
        receptive fields or from "mscn"; no spectral norm.
    """

    extractor: FeatureExtractor

    def __init__(
        self,
        num_feat: int = 64,
        layers: Sequence[str] = ("relu1_2", "relu2_2", "relu3_3"),
        vgg_type: Literal["vgg16", "vgg19"] = "vgg16",
        weights_path: Path | str | None = None,
    ) -> None:
        super().__init__()
        self.layers = tuple(layers)
        self.layers_of_vgg = tuple(name for name in layers if name != "mscn")
        check_layers(vgg_type, self.layers_of_vgg)
        # Not a submodule: fixed weights belong neither in checkpoints nor in the optimizer.
        self.__dict__["extractor"] = extractor(vgg_type, weights_path=weights_path)
        sides = {name: (3, 0) for name in self.layers}
        sides |= {name: _width_and_halvings(vgg_type, name) for name in self.layers_of_vgg}
        self.halvings = max(halvings for _, halvings in sides.values())
        self.heads = nn.ModuleDict(
            {
                name: _head(width, num_feat, halvings=self.halvings - halvings)
                for name, (width, halvings) in sides.items()
            }
        )

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> "FeatureDiscriminator":
        """Move the fixed network too, for example to another device."""
        self.extractor._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return super()._apply(fn, recurse)  # type: ignore[no-untyped-call]

    def forward(self, images: Tensor) -> Tensor:
        least = max(2**self.halvings, LEAST_PX if "mscn" in self.layers else 1)
        if min(images.shape[-2:]) < least:
            raise ImageError(
                f"FeatureDiscriminator: made for at least {least} x {least} pixels, "
                f"got shape {tuple(images.shape)}; enlarge gt_size or name earlier layers"
            )
        features = dict(self.extractor(images, self.layers_of_vgg))
        if "mscn" in self.layers:
            # In flat regions the 8-bit levels would identify real images; noise of half a level hides them.
            features["mscn"] = mscn(images + (torch.rand_like(images) - 0.5) / 255)
        return torch.cat([self.heads[name](features[name]) for name in self.layers], dim=1)


def _width_and_halvings(network: str, name: str) -> tuple[int, int]:
    """Return the channels of a layer and how many times the image was halved before it."""
    width = halvings = 0
    for layer in NETWORKS[network]:
        width = layer.channels_out or width
        halvings += layer.kind == "pool"
        if layer.name == name:
            break
    return width, halvings


def _head(num_in: int, num_feat: int, *, halvings: int) -> nn.Sequential:
    """Return a head from features to logits; strided kernels are even and use all positions equally."""
    shapes = [(4, 2)] * halvings + [(3, 1)] * 2
    convs = [
        nn.Conv2d(num_feat if place else num_in, num_feat, kernel, stride=stride, padding=1)
        for place, (kernel, stride) in enumerate(shapes)
    ]
    return nn.Sequential(
        *(layer for conv in convs for layer in (conv, nn.LeakyReLU(0.2, inplace=True))),
        nn.Conv2d(num_feat, 1, 3, padding=1),
    )

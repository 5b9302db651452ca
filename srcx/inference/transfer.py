"""Style transfer by optimising pixels: an application of the losses."""

import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from srcx.errors import ImageError, UsageError
from srcx.features.extractor import extractor
from srcx.imaging import Extras, ImageArray, imresize, read_with_extras, to_rgb
from srcx.imaging.extras import in_profile
from srcx.imaging.tensors import to_image, to_tensor
from srcx.inference.alpha import bleed_colours
from srcx.inference.folder import read_for
from srcx.losses.contextual import ContextualLoss
from srcx.losses.feature_loss import FeatureLoss
from srcx.losses.perceptual import GramLoss, PerceptualLoss

__all__ = [
    "OBJECTIVES",
    "By",
    "Content",
    "Objective",
    "PatchLoss",
    "Step",
    "read_content",
    "read_style",
    "steps",
]

By = Literal["contextual", "gram", "patches"]

LEARNING_RATE = 0.02
"""Of Adam, in pixel values."""
MIN_SIDE_PX = 32
MAX_POSITIONS = 65 * 65
"""The authors' limit for the contextual loss, which conv1_2 and conv2_2 exceed."""
PATCH = 3
"""Side of a patch of features, as in the paper of `PatchLoss`."""


class Objective(NamedTuple):
    """A loss against the style's features and a loss against the content's, each with its weight."""

    style: FeatureLoss
    style_weight: float
    content: FeatureLoss
    content_weight: float


class Step(NamedTuple):
    """The state of the optimisation after an iteration."""

    iteration: int
    loss: float
    image: Tensor
    """RGB in [0, 1], (1, 3, H, W)."""


class Content(NamedTuple):
    """The image to change, at the size of the result, and what the result keeps of it."""

    image: ImageArray
    """RGB, (H, W, 3), uint8 or uint16."""
    alpha: ImageArray | None
    """(H, W), of the same type; None where the image has none."""
    extras: Extras

    def result(self, step: Step) -> ImageArray:
        """Return the pixels of a step with the bits and the alpha of the content."""
        image = to_image(step.image, bits=8 * self.image.dtype.itemsize)
        return image if self.alpha is None else np.dstack([image, self.alpha])


class PatchLoss(FeatureLoss):
    """Mean squared distance of each 3 x 3 patch of features to the patch of the target it resembles most.

    Args:
        network: The fixed network.
        layers: Names of the layers.

    Called with sr and gt, RGB in [0, 1], (1, 3, H, W) of any two sizes, it returns a scalar.

    References:
        Li and Wand, "Combining Markov Random Fields and Convolutional Neural Networks for Image Synthesis",
        CVPR 2016, arXiv:1601.04589: the nearest patch by normalised cross-correlation.
        Differs from the paper: the target is not rotated and resized for more patches; the mean, not the sum.
    """

    def compare(self, sr_features: dict[str, Tensor], gt_features: dict[str, Tensor]) -> Tensor:
        return torch.stack(
            [self._nearest(sr_features[name], gt_features[name]) for name in self.layers]
        ).sum()

    def _nearest(self, sr: Tensor, gt: Tensor) -> Tensor:
        patches, targets = (
            functional.unfold(features, PATCH)[0].T for features in (sr, gt)
        )  # (P, 9 C), (Q, 9 C)
        with torch.no_grad():
            # The length of the patch itself does not change which target is the nearest.
            nearest = (patches @ functional.normalize(targets, dim=1).T).argmax(dim=1)
        return functional.mse_loss(patches, targets[nearest])


def _contextual() -> Objective:
    # Squared distances: cosines ignore how strong features are, and then colours and contrast drift.
    layers = {"conv1_2": 1.0, "conv2_2": 1.0, "conv3_2": 1.0, "conv4_2": 1.0}
    style = ContextualLoss(layers, "vgg16", bandwidth=0.2, distance="l2", max_positions=MAX_POSITIONS)
    content = ContextualLoss({"conv4_2": 1.0}, "vgg16", bandwidth=0.1, distance="l2")
    return Objective(style, 1.0, content, 1.0)


def _gram() -> Objective:
    layers = {"relu1_1": 1.0, "relu2_1": 1.0, "relu3_1": 1.0, "relu4_1": 1.0}
    style = GramLoss(layers, "vgg16", criterion="l2")
    return Objective(style, 1e4, PerceptualLoss({"conv4_2": 1.0}, "vgg16", criterion="l2"), 1e-2)


def _patches() -> Objective:
    style = PatchLoss(extractor("vgg16"), ("relu3_1", "relu4_1"))
    return Objective(style, 1.0, PerceptualLoss({"conv4_2": 1.0}, "vgg16", criterion="l2"), 0.2)


OBJECTIVES: Mapping[By, Callable[[], Objective]] = {
    "contextual": _contextual,
    "gram": _gram,
    "patches": _patches,
}


def steps(
    content: ImageArray, style: ImageArray, *, by: By = "contextual", iterations: int = 120
) -> Iterator[Step]:
    """Change the content image until its features are near the style's, and still near its own.

    All three objectives use features of VGG16, start from the content image and optimise its pixels by Adam:

        contextual  CX of squared distances to the style in conv1_2 ... conv4_2, and to the content in conv4_2
        gram        squared distance of Gram matrices in relu1_1 ... relu4_1, and of conv4_2 to the content's
        patches     `PatchLoss` in relu3_1 and relu4_1, and squared distance of conv4_2 to the content's

    Args:
        content: uint8 or uint16 RGB, (H, W, 3).
        style: The same, of any size.
        by: Name of the objective.
        iterations: Number of steps.

    Yields:
        Each step; its image is a view of the pixels, which the next step changes.

    Raises:
        UsageError: there is no such objective.
        ImageError: an image is not RGB, or too small.
        WeightsError: VGG16's weights are missing; the message says how to get them.

    References:
        Mechrez et al., ECCV 2018, arXiv:1803.02077, section 4; Gatys et al., arXiv:1508.06576; Li and Wand,
        CVPR 2016, arXiv:1601.04589.
        Differs from the papers: VGG16 for VGG19, Adam for L-BFGS, weights and bandwidths of our choice, and
        in CX squared distances for cosines, and conv1_2 too.
    """
    if by not in OBJECTIVES:
        raise UsageError(f"transfer: by: expected one of {', '.join(OBJECTIVES)}; got {by!r}")
    for name, image in {"content": content, "style": style}.items():
        if image.ndim != 3 or image.shape[2] != 3 or min(image.shape[:2]) < MIN_SIDE_PX:
            raise ImageError(
                f"transfer: expected a {name} image in RGB of at least {MIN_SIDE_PX} pixels a side, got "
                f"shape {image.shape}; upscale it"
            )
    return _optimised(to_tensor(content), to_tensor(style), OBJECTIVES[by](), iterations)


def read_content(path: Path, size: int, *, suffix: str) -> Content:
    """Read the content at `size` pixels of its longer side, with profile, EXIF data and alpha.

    Raises:
        ImageError: the file is not an image, one of less than 32 pixels a side, or one that `suffix` cannot
            store.
        UsageError: `size` leaves less than 32 pixels of the shorter side.
    """
    image, extras = read_for(path, suffix, fix="name a result that ends in .png")
    new_size = _size_at(path, image, size)
    alpha = imresize(np.ascontiguousarray(image[..., 3]), size=new_size) if _has_alpha(image) else None
    return Content(imresize(_colours(image), size=new_size), alpha, extras.fitting(channels=3))


def read_style(path: Path, size: int, *, profile: bytes) -> ImageArray:
    """Read the style at `size` pixels of its longer side, as uint8 RGB in the colour profile of the content.

    Raises:
        ImageError: the file is not an image, or one of less than 32 pixels a side.
        UsageError: `size` leaves less than 32 pixels of the shorter side.
    """
    image, extras = read_with_extras(path)
    new_size = _size_at(path, image, size)
    colours = in_profile(to_rgb(_colours(image)), extras.fitting(channels=3).icc, profile)
    return imresize(colours, size=new_size)


def _size_at(path: Path, image: ImageArray, size: int) -> tuple[int, int]:
    """Return height and width of an image whose longer side becomes `size`."""
    height, width = image.shape[:2]
    short, long = sorted((height, width))
    if short < MIN_SIDE_PX:
        raise ImageError(
            f"{path}: expected an image of at least {MIN_SIDE_PX} pixels a side, got {width} x {height}; "
            "upscale it"
        )
    if round(short * size / long) < MIN_SIDE_PX:
        raise UsageError(
            f"{path}: at size {size}, an image of {width} x {height} pixels has a side of less than "
            f"{MIN_SIDE_PX}; take {math.ceil(MIN_SIDE_PX * long / short)} or more"
        )
    return round(height * size / long), round(width * size / long)


def _has_alpha(image: ImageArray) -> bool:
    return image.ndim == 3 and image.shape[2] == 4


def _colours(image: ImageArray) -> ImageArray:
    """Return RGB of the same type; hidden pixels have the colour of the nearest visible one."""
    if image.ndim == 2:
        return np.repeat(image[..., None], 3, axis=2)
    return bleed_colours(image[..., :3], image[..., 3]) if _has_alpha(image) else image


def _optimised(content: Tensor, style: Tensor, objective: Objective, iterations: int) -> Iterator[Step]:
    network = objective.content.extractor
    assert network is not None
    layers = tuple({*objective.style.layers, *objective.content.layers})
    with torch.no_grad():
        of_style, of_content = network(style, layers), network(content, layers)
    image = content.clone().requires_grad_()
    optimizer = torch.optim.Adam([image], lr=LEARNING_RATE)
    for iteration in range(1, iterations + 1):
        optimizer.zero_grad()
        features = network(image, layers)
        loss = objective.style_weight * objective.style.compare(features, of_style)
        loss = loss + objective.content_weight * objective.content.compare(features, of_content)
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            image.clamp_(0, 1)
        yield Step(iteration, loss.item(), image.detach())

"""Distances of the distributions of features: values along random directions, sorted and compared."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import torch
from torch import Generator, Tensor
from torch.nn import functional

from srcx.errors import ImageError, OptionsError
from srcx.losses.contextual_options import check_positive
from srcx.losses.feature_loss import LayerwiseLoss
from srcx.tensors import check_same_shape
from srcx.weights.layout import NETWORKS

__all__ = ["FDLLoss", "SlicedWassersteinLoss", "random_directions", "sliced_wasserstein"]

LOCAL_LAYERS: Mapping[str, float] = MappingProxyType({"relu3_2": 1.0, "relu4_2": 1.0, "relu5_2": 2.0})
FDL_LAYERS: Mapping[str, float] = MappingProxyType(
    dict.fromkeys(("relu1_2", "relu2_2", "relu3_4", "relu4_4", "relu5_4"), 1.0)
)


def sliced_wasserstein(
    x: Tensor, y: Tensor, directions: Tensor, *, step: int = 1, window: int | None = None, stride: int = 1
) -> Tensor:
    """Return the mean distance of the distributions of features x and y along given directions.

    All k x k patches of a map are projected on each direction, and their values sorted; the distance is the
    mean absolute difference of the sorted values (W1). Where a map is divided into windows, the values are
    sorted in each window alone, so that a feature counts near its place only.

    Args:
        x: Features of the generated image, (N, C, H, W).
        y: Features of the target, same shape.
        directions: Unit vectors, (P, C, k, k); k = 1 compares the features themselves.
        step: Positions from one patch to the next.
        window: Side of the windows in patches, at most that of the map; None sorts over the whole map.
        stride: Patches from one window to the next.

    Returns:
        Scalar, 0 if y has the patches of x in any order, in each window.

    Raises:
        ImageError: the shapes differ, or the map is smaller than a patch or a window.

    Example:
        >>> x = torch.arange(4.0).view(1, 1, 2, 2)
        >>> one = torch.ones(1, 1, 1, 1)
        >>> sliced_wasserstein(x, x.flip(3), one), sliced_wasserstein(x, x + 2, one)
        (tensor(0.), tensor(2.))
    """
    check_same_shape("sliced_wasserstein", x, y)
    patch = directions.shape[-1]
    least = patch + step * ((window or 1) - 1)
    if min(x.shape[-2:]) < least:
        raise ImageError(
            f"sliced_wasserstein: a patch or window needs features of {least} x {least} positions; "
            f"got {tuple(x.shape)}; give larger crops, or name an earlier layer"
        )
    directions = directions.to(x)

    def sorted_values(features: Tensor) -> Tensor:
        values = functional.conv2d(features, directions, stride=step)  # (N, P, h, w)
        if window is None:
            return values.flatten(2).sort(dim=2).values
        windows = values.unfold(2, window, stride).unfold(3, window, stride)  # (N, P, rows, columns, w, w)
        return windows.flatten(4).sort(dim=4).values

    return (sorted_values(x) - sorted_values(y)).abs().mean()


def random_directions(
    count: int, channels: int, *, patch: int = 1, generator: Generator | None = None
) -> Tensor:
    """Return random unit vectors, all directions being equally likely.

    Args:
        count: How many.
        channels: Channels of the features.
        patch: Height and width of the patches that are projected.
        generator: A random generator on the CPU; None uses torch's, whose state a run saves and restores.

    Returns:
        (count, channels, patch, patch), on the CPU.
    """
    vectors = torch.randn(count, channels * patch**2, generator=generator)
    return functional.normalize(vectors, dim=1).view(count, channels, patch, patch)


class SlicedWassersteinLoss(LayerwiseLoss):
    """Weighted sum, over layers, of the distance of the distributions of features, locally or of the image.

    Directions are drawn anew at each call, from torch's random generator on the CPU. A run saves its state,
    so that a run that continues draws the same ones.

    Args:
        layer_weights: Layer -> weight; by default those of the paper's code.
        vgg_type: "vgg19", "vgg16" or "alexnet".
        use_input_norm: Normalise the images by ImageNet's mean and standard deviation first.
        range_norm: Map the images from [-1, 1] to [0, 1] first.
        pooling: "max" as the networks were trained, "average" or "l2".
        weights_path: File of the network's weights; None searches as `find_weights` does.
        form: "local" sorts inside overlapping windows and compares windows at the same place; "global" sorts
            over the whole map, so that position does not count.
        windows_per_side: For "local": the side of a window is the map's height divided by this, at least 1.
        stride: For "local": positions from one window to the next.
        directions_per_channel: Random directions for each channel of a layer.

    Called with sr and gt, RGB in [0, 1], (N, 3, H, W) of one size, it returns a scalar.

    Raises:
        OptionsError: an argument is out of range, or there is no such network or layer.
        WeightsError: the network's weights are missing; the message says how to get them.
        ImageError: the shapes differ, or a layer's map is narrower than a window.

    References:
        Local: Zhang et al., "Self-Supervised Learning for Real-World Super-Resolution from Dual and Multiple
        Zoomed Observations", TPAMI 2024, arXiv:2405.02171; layers, weights, windows and number of directions
        as in the authors' `SWDLoss` with `SWDLocal`, whose sum is multiplied by 0.08.
        Global: Heitz et al., "A Sliced Wasserstein Loss for Neural Texture Synthesis", CVPR 2021,
        arXiv:2006.07229. Differs from it: absolute, not squared, differences, as in the code above.
    """

    def __init__(
        self,
        layer_weights: Mapping[str, float] = LOCAL_LAYERS,
        vgg_type: str = "vgg19",
        use_input_norm: bool = True,
        range_norm: bool = False,
        pooling: str = "max",
        weights_path: Path | str | None = None,
        form: Literal["local", "global"] = "local",
        windows_per_side: int = 6,
        stride: int = 2,
        directions_per_channel: float = 0.5,
    ) -> None:
        if form not in ("local", "global"):
            raise OptionsError(f"SlicedWassersteinLoss: form must be 'local' or 'global'; got {form!r}")
        check_positive(
            "SlicedWassersteinLoss",
            windows_per_side=windows_per_side,
            stride=stride,
            directions_per_channel=directions_per_channel,
        )
        super().__init__(
            layer_weights,
            vgg_type,
            use_input_norm=use_input_norm,
            range_norm=range_norm,
            pooling=pooling,
            weights_path=weights_path,
        )
        self.form, self.windows_per_side, self.stride = form, windows_per_side, stride
        self.directions_per_channel = directions_per_channel

    def layer_distance(self, sr: Tensor, gt: Tensor) -> Tensor:
        channels, height = gt.shape[1:3]
        count = max(round(self.directions_per_channel * channels), 1)
        directions = random_directions(count, channels)
        if self.form == "global":
            return sliced_wasserstein(sr, gt, directions)
        window = max(height // self.windows_per_side, 1)
        return sliced_wasserstein(sr, gt, directions, window=window, stride=self.stride)


class FDLLoss(LayerwiseLoss):
    """Weighted sum, over layers, of the distance of the distributions of the features' spectra (FDL).

    For each layer, the discrete Fourier transform of each channel is taken over the whole map. The loss is
    the sliced Wasserstein distance of the patches of its amplitude, plus that of its phase. A cyclic shift
    of the features changes the phase alone.

    Args:
        layer_weights: Layer -> weight; by default those of the authors' code.
        vgg_type: "vgg19", "vgg16" or "alexnet".
        use_input_norm: Normalise the images by ImageNet's mean and standard deviation first.
        range_norm: Map the images from [-1, 1] to [0, 1] first.
        pooling: "max" as the networks were trained, "average" or "l2".
        weights_path: File of the network's weights; None searches as `find_weights` does.
        phase_weight: Weight of the phase beside the amplitude; not negative.
        patch_size: Height and width of the patches of a spectrum, in frequencies.
        stride: Frequencies from one patch to the next.
        directions: Number of random directions of each layer.
        seed: Of the directions, which stay the same from call to call.

    Called with sr and gt, RGB in [0, 1], (N, 3, H, W) of one size, it returns a scalar.

    Raises:
        OptionsError: an argument is out of range, or there is no such network or layer.
        WeightsError: the network's weights are missing; the message says how to get them.
        ImageError: the shapes differ, or a layer's map is smaller than a patch.

    References:
        Ni et al., "Misalignment-Robust Frequency Distribution Loss for Image Transformation", CVPR 2024,
        arXiv:2402.18192; values are those of the authors' package fdl-pytorch with VGG19, given its
        directions. It calls two of its layers relu3_3 and relu4_3, but takes relu3_4 and relu4_4.
        Differs from it: the directions come from `seed`, not from the state of torch's generator.
    """

    def __init__(
        self,
        layer_weights: Mapping[str, float] = FDL_LAYERS,
        vgg_type: str = "vgg19",
        use_input_norm: bool = True,
        range_norm: bool = False,
        pooling: str = "max",
        weights_path: Path | str | None = None,
        phase_weight: float = 1.0,
        patch_size: int = 5,
        stride: int = 1,
        directions: int = 256,
        seed: int = 0,
    ) -> None:
        check_positive("FDLLoss", patch_size=patch_size, stride=stride, directions=directions)
        if not phase_weight >= 0:
            raise OptionsError(f"FDLLoss: expected phase_weight of at least 0, got {phase_weight!r}")
        super().__init__(
            layer_weights,
            vgg_type,
            use_input_norm=use_input_norm,
            range_norm=range_norm,
            pooling=pooling,
            weights_path=weights_path,
        )
        self.phase_weight, self.stride = phase_weight, stride
        generator, channels = Generator().manual_seed(seed), 3
        for layer in NETWORKS[vgg_type]:
            channels = layer.channels_out or channels
            if layer.name in layer_weights:
                vectors = random_directions(directions, channels, patch=patch_size, generator=generator)
                self.register_buffer(f"directions_{layer.name}", vectors, persistent=False)

    def compare(self, sr_features: dict[str, Tensor], gt_features: dict[str, Tensor]) -> Tensor:
        assert self.layer_weights is not None, "the network is one of srcx's"
        distances = []
        for name, weight in self.layer_weights.items():
            directions = self.get_buffer(f"directions_{name}")
            # There is no transform in bfloat16.
            sr, gt = (torch.fft.fft2(_in_full(side[name])) for side in (sr_features, gt_features))
            for part, part_weight in ((torch.abs, weight), (torch.angle, weight * self.phase_weight)):
                distance = sliced_wasserstein(part(sr), part(gt), directions, step=self.stride)
                distances.append(part_weight * distance)
        return torch.stack(distances).sum()


def _in_full(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))

"""VGG19, VGG16 and AlexNet as fixed feature extractors with named layers."""

import weakref
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from srcx.errors import CheckpointError, ImageError, OptionsError
from srcx.tensors import check_floating
from srcx.weights.checkpoint import load_state
from srcx.weights.fixed import find_weights
from srcx.weights.layout import NETWORKS, Layer, layers_of, weight_shapes

__all__ = ["FeatureExtractor", "check_layers", "extractor"]

# Statistics of the images the networks were trained on (ImageNet, RGB in [0, 1]), as torchvision publishes
# them with its weights.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class L2Pool(nn.Module):
    """Root mean square under a Hann window; it aliases less than max and average pooling.

    Args:
        kernel: Unused; the window is always two strides wide.
        stride: Step in positions. An input of n positions gives ceil(n / stride).

    References:
        Henaff and Simoncelli, "Geodesics of Learned Representations", ICLR 2016, arXiv:1511.06394; window,
        padding and the 1e-12 are those of the DISTS authors' code.
    """

    def __init__(self, kernel: int, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        channels = x.shape[1]
        taps = torch.hann_window(2 * self.stride + 1, periodic=False, dtype=x.dtype, device=x.device)[1:-1]
        window = taps.outer(taps) / taps.sum() ** 2
        mean_square = functional.conv2d(
            x.square(),
            window.expand(channels, 1, *window.shape),
            stride=self.stride,
            padding=self.stride - 1,
            groups=channels,
        )
        return torch.sqrt(mean_square + 1e-12)


POOLINGS = {"max": nn.MaxPool2d, "average": nn.AvgPool2d, "l2": L2Pool}


class FeatureExtractor(nn.Module):
    """The convolutional part of a classifier trained on ImageNet; it is never trained further.

    Args:
        network: "vgg19", "vgg16" or "alexnet".
        state: Its weights, named as in torchvision (features.0.weight, ...); other names are ignored.
        pooling: "max" as trained, "average" (Gatys et al., CVPR 2016: smoother results for style) or "l2"
            (`L2Pool`, which DISTS uses).
        use_input_norm: Normalise the image by ImageNet's mean and standard deviation first.
        range_norm: Map the image from [-1, 1] to [0, 1] first.

    Raises:
        OptionsError: there is no such network or pooling.
        CheckpointError: `state` does not fit this network.

    References:
        Layer names and the two norms are those of BasicSR's VGGFeatureExtractor: conv5_4 is the output of
        the convolution, before relu5_4.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        network: str,
        state: Mapping[str, Tensor],
        *,
        pooling: str = "max",
        use_input_norm: bool = True,
        range_norm: bool = False,
    ) -> None:
        super().__init__()
        _check_choice("network", network, NETWORKS)
        _check_choice("pooling", pooling, POOLINGS)
        self.network = network
        self.use_input_norm = use_input_norm
        self.range_norm = range_norm
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1), persistent=False)
        with torch.device("meta"):  # the weights come from `state`: no random ones are drawn
            self.features = nn.Sequential(*(_module(layer, pooling) for layer in NETWORKS[network]))
        self.load_state_dict(_fitting(network, state), assign=True)
        self.to(memory_format=torch.channels_last)  # a fifth faster than NCHW on the CPU
        self.requires_grad_(False)
        self.eval()

    @classmethod
    def random(
        cls, network: str, *, pooling: str = "max", use_input_norm: bool = True, range_norm: bool = False
    ) -> "FeatureExtractor":
        """Return the network with fixed random weights that preserve the scale of the features."""
        source = torch.Generator().manual_seed(0)
        state = {
            name: torch.randn(shape, generator=source) * (2 / max(1, torch.Size(shape[1:]).numel())) ** 0.5
            if len(shape) > 1
            else torch.zeros(shape)
            for name, shape in weight_shapes(network).items()
        }
        return cls(network, state, pooling=pooling, use_input_norm=use_input_norm, range_norm=range_norm)

    def train(self, mode: bool = True) -> "FeatureExtractor":
        """Stay in evaluation mode: the network is fixed."""
        return super().train(False)

    def forward(self, x: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        """Return features of an image; computation stops at the deepest of `layers`.

        Args:
            x: RGB in [0, 1] ([-1, 1] with `range_norm`), shape (N, 3, H, W).
            layers: Names such as "conv3_4", "relu3_4", "pool3"; for AlexNet "conv1" ... "relu5".

        Returns:
            The output of each of `layers`, (N, C, h, w), in the network's order.

        Raises:
            ImageError: `x` is not an RGB image, or too small for a layer.
            OptionsError: the network has no such layer.
        """
        return dict(self.walk(x, layers))

    def walk(self, x: Tensor, layers: Sequence[str]) -> Iterator[tuple[str, Tensor]]:
        """Yield the result of `forward` layer by layer, so that not all features are in memory at once.

        Args:
            x: As for `forward`.
            layers: As for `forward`.

        Yields:
            The name and the output of each of `layers`, in the network's order.

        Raises:
            ImageError: as for `forward`.
            OptionsError: as for `forward`.
        """
        check_layers(self.network, layers)
        self._check_dtype(x)
        if x.dim() != 4 or x.shape[1] != 3:
            raise ImageError(
                f"{self.network}: expected RGB images of shape (N, 3, H, W), got {tuple(x.shape)}; "
                "turn grey images into three equal channels"
            )
        wanted, x = set(layers), self._normalised(x)
        for layer, module in zip(NETWORKS[self.network], self.features, strict=True):
            _check_size(self.network, layer, x)
            x = module(x)
            if layer.name in wanted:
                yield layer.name, x
                wanted.remove(layer.name)
            if not wanted:
                return

    def _check_dtype(self, x: Tensor) -> None:
        check_floating(self.network, image=x)
        own, autocast = self.mean.dtype, torch.is_autocast_enabled(x.device.type)
        if x.dtype != own and (x.dtype == torch.float64 or not autocast):
            raise ImageError(
                f"{self.network}: expected an image of {own}, as the weights are; got {x.dtype}: "
                "convert it, or the loss by loss.to(dtype)"
            )

    def _normalised(self, x: Tensor) -> Tensor:
        if self.range_norm:
            x = (x + 1) / 2
        return (x - self.mean) / self.std if self.use_input_norm else x


_made: "weakref.WeakValueDictionary[tuple[object, ...], FeatureExtractor]" = weakref.WeakValueDictionary()


def extractor(
    network: str = "vgg19",
    *,
    pooling: str = "max",
    use_input_norm: bool = True,
    range_norm: bool = False,
    weights_path: Path | str | None = None,
) -> FeatureExtractor:
    """Return the fixed network with its published weights; the same arguments return the same object.

    Losses on the same network share its memory, and in `WeightedSum` one pass through it. The object exists
    as long as something refers to it.

    Args:
        network: "vgg19", "vgg16" or "alexnet".
        pooling: "max", "average" or "l2".
        use_input_norm: See `FeatureExtractor`.
        range_norm: See `FeatureExtractor`.
        weights_path: File of its weights; None searches as `find_weights` does.

    Raises:
        OptionsError: there is no such network or pooling.
        WeightsError: the weights are missing; the message says how to get them.
        CheckpointError: the file is damaged, or belongs to another network.
    """
    _check_choice("network", network, NETWORKS)
    path = find_weights(network, path=weights_path)
    key = (network, pooling, use_input_norm, range_norm, path.resolve())
    found = _made.get(key)
    if found is None:
        try:
            found = FeatureExtractor(
                network,
                load_state(path),
                pooling=pooling,
                use_input_norm=use_input_norm,
                range_norm=range_norm,
            )
        except CheckpointError as error:
            raise CheckpointError(f"weights of {network}: {error}") from error
        _made[key] = found
    return found


def check_layers(network: str, layers: Sequence[str]) -> None:
    """Check that `network` has all of `layers`; this needs no weights.

    Raises:
        OptionsError: there is no such network, or it has no such layer, or `layers` is empty.
    """
    _check_choice("network", network, NETWORKS)
    there = layers_of(network)
    if isinstance(layers, str) or not layers:
        raise OptionsError(
            f"{network}: expected names of layers, got {layers!r}; name one or more of {', '.join(there)}"
        )
    unknown = [name for name in layers if name not in there]
    if unknown:
        raise OptionsError(
            f"{network}: has no layer {', '.join(map(repr, unknown))}; it has {', '.join(there)}"
        )


def _check_choice(what: str, given: str, choices: Mapping[str, object]) -> None:
    if given not in choices:
        raise OptionsError(
            f"features: expected one of {', '.join(choices)} as {what}, got {given!r}; name one of them"
        )


def _check_size(network: str, layer: Layer, x: Tensor) -> None:
    if min(x.shape[-2:]) + 2 * layer.padding < layer.kernel:
        raise ImageError(
            f"{network}: the image is too small: {layer.name} needs {layer.kernel} x {layer.kernel} "
            f"positions, got {x.shape[-2]} x {x.shape[-1]}; give a larger image or name an earlier layer"
        )


def _module(layer: Layer, pooling: str) -> nn.Module:
    if layer.kind == "conv":
        return nn.Conv2d(layer.channels_in, layer.channels_out, layer.kernel, layer.stride, layer.padding)
    # Not in place: the convolution before it may be a wanted layer.
    return nn.ReLU() if layer.kind == "relu" else POOLINGS[pooling](layer.kernel, layer.stride)


def _fitting(network: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    fitting = {}
    for name, shape in weight_shapes(network).items():
        got = tuple(state[name].shape) if name in state else "nothing"
        if got != shape:
            raise CheckpointError(
                f"{network}: expected '{name}' of shape {shape}, got {got}; use torchvision's weights of it"
            )
        fitting[name] = state[name].detach().float()
    return fitting

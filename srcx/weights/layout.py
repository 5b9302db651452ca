"""Layers of the fixed networks by name, in order, and the shapes of their weights."""

from typing import NamedTuple

__all__ = ["NETWORKS", "Layer", "layers_of", "weight_shapes"]


class Layer(NamedTuple):
    """One layer; `kind` is "conv", "relu" or "pool", and channels matter to a "conv" alone."""

    name: str
    kind: str
    channels_in: int = 0
    channels_out: int = 0
    kernel: int = 1
    stride: int = 1
    padding: int = 0


def _vgg(*convs_per_block: int) -> tuple[Layer, ...]:
    """Simonyan and Zisserman, ICLR 2015, arXiv:1409.1556, table 1: D is VGG16, E is VGG19."""
    layers, channels = [], 3
    for block, (convs, width) in enumerate(
        zip(convs_per_block, (64, 128, 256, 512, 512), strict=True), start=1
    ):
        for place in range(1, convs + 1):
            layers.append(Layer(f"conv{block}_{place}", "conv", channels, width, kernel=3, padding=1))
            layers.append(Layer(f"relu{block}_{place}", "relu"))
            channels = width
        layers.append(Layer(f"pool{block}", "pool", kernel=2, stride=2))
    return tuple(layers)


# The one-tower form of Krizhevsky, arXiv:1404.5997, as torchvision trained it.
ALEXNET = (
    Layer("conv1", "conv", 3, 64, kernel=11, stride=4, padding=2),
    Layer("relu1", "relu"),
    Layer("pool1", "pool", kernel=3, stride=2),
    Layer("conv2", "conv", 64, 192, kernel=5, padding=2),
    Layer("relu2", "relu"),
    Layer("pool2", "pool", kernel=3, stride=2),
    Layer("conv3", "conv", 192, 384, kernel=3, padding=1),
    Layer("relu3", "relu"),
    Layer("conv4", "conv", 384, 256, kernel=3, padding=1),
    Layer("relu4", "relu"),
    Layer("conv5", "conv", 256, 256, kernel=3, padding=1),
    Layer("relu5", "relu"),
    Layer("pool5", "pool", kernel=3, stride=2),
)

NETWORKS: dict[str, tuple[Layer, ...]] = {
    "vgg19": _vgg(2, 2, 4, 4, 4),
    "vgg16": _vgg(2, 2, 3, 3, 3),
    "alexnet": ALEXNET,
}


def layers_of(network: str) -> dict[str, Layer]:
    """Return the layers of `network` by name, starting at the image.

    Example:
        >>> list(layers_of("vgg19"))[:5]
        ['conv1_1', 'relu1_1', 'conv1_2', 'relu1_2', 'pool1']
    """
    return {layer.name: layer for layer in NETWORKS[network]}


def weight_shapes(network: str) -> dict[str, tuple[int, ...]]:
    """Return names (torchvision's features.N.weight, features.N.bias) and shapes of a network's weights.

    Example:
        >>> weight_shapes("alexnet")["features.0.weight"]
        (64, 3, 11, 11)
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for place, layer in enumerate(NETWORKS[network]):
        if layer.kind == "conv":
            kernel = (layer.channels_out, layer.channels_in, layer.kernel, layer.kernel)
            shapes |= {f"features.{place}.weight": kernel, f"features.{place}.bias": kernel[:1]}
    return shapes

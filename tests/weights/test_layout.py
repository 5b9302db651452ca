import pytest
import torch
import torchvision

from srcx.weights.layout import NETWORKS, layers_of, weight_shapes


@pytest.mark.parametrize("network", NETWORKS)
def test_names_and_shapes_are_torchvision_s(network: str) -> None:
    with torch.device("meta"):
        theirs = getattr(torchvision.models, network)(weights=None).features.state_dict(prefix="features.")
    assert weight_shapes(network) == {name: tuple(value.shape) for name, value in theirs.items()}


@pytest.mark.parametrize("network", NETWORKS)
def test_layers_are_torchvision_s(network: str) -> None:
    with torch.device("meta"):
        theirs = getattr(torchvision.models, network)(weights=None).features
    for layer, module in zip(NETWORKS[network], theirs, strict=True):
        kind = {"conv": torch.nn.Conv2d, "relu": torch.nn.ReLU, "pool": torch.nn.MaxPool2d}[layer.kind]
        assert isinstance(module, kind)
        if layer.kind != "relu":
            wide = {
                name: torch.nn.modules.utils._pair(getattr(module, name))
                for name in ("kernel_size", "stride", "padding")
            }
            assert wide == {
                "kernel_size": (layer.kernel,) * 2,
                "stride": (layer.stride,) * 2,
                "padding": (layer.padding,) * 2,
            }


def test_layers_are_found_by_name() -> None:
    assert layers_of("vgg19")["conv5_4"].channels_out == 512
    assert "conv5_4" not in layers_of("vgg16")
    assert list(layers_of("alexnet"))[-1] == "pool5"

"""Every loss checks the type of its images before it computes anything."""

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from srcx import registry
from srcx.errors import ImageError
from srcx.features.extractor import FeatureExtractor
from srcx.weights.checkpoint import save_state

OF_LOGITS = ("GANLoss", "MultiScaleGANLoss")
OF_IMAGES = [name for name in registry.LOSSES if name not in OF_LOGITS]
OF_FEATURES = [
    name for name in OF_IMAGES if "vgg_type" in inspect.signature(registry.LOSSES[name]).parameters
]


@pytest.fixture(scope="module")
def made_up_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    for network in ("alexnet", "vgg16"):
        save_state(folder / f"{network}.safetensors", FeatureExtractor.random(network).state_dict())
    return folder


@pytest.fixture(autouse=True)
def _made_up(made_up_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SRCX_WEIGHTS", str(made_up_folder))


def made(name: str) -> nn.Module:
    args: dict[str, Any] = {"vgg_type": "alexnet", "layer_weights": {"conv1": 1.0}}
    known = inspect.signature(registry.LOSSES[name]).parameters
    return registry.LOSSES[name](**{key: value for key, value in args.items() if key in known})


def value(loss: nn.Module, image: Any) -> Any:
    return (
        loss(image, image, image)
        if "sr_ema" in inspect.signature(loss.forward).parameters
        else loss(image, image)
    )


@pytest.mark.parametrize("name", OF_IMAGES)
def test_an_image_of_8_bits_is_refused_because_its_differences_wrap_around(name: str) -> None:
    with pytest.raises(
        ImageError, match=r"must be a floating-point tensor; got torch.uint8: .* x.float\(\) / 255"
    ):
        value(made(name), torch.zeros(1, 3, 64, 64, dtype=torch.uint8))


@pytest.mark.parametrize("name", OF_IMAGES)
def test_an_array_is_refused(name: str) -> None:
    with pytest.raises(ImageError, match=r"must be a tensor; got ndarray"):
        value(made(name), np.zeros((1, 3, 64, 64), np.float32))


@pytest.mark.parametrize("name", OF_FEATURES)
def test_a_dtype_other_than_that_of_the_weights_is_named(name: str) -> None:
    image = torch.rand(1, 3, 64, 64)
    for dtype in (torch.float64, torch.float16):
        with pytest.raises(
            ImageError, match=rf"alexnet: expected an image of torch.float32, .*; got {dtype}"
        ):
            value(made(name), image.to(dtype))
    assert value(made(name).to(torch.float64), image.to(torch.float64)).dtype == torch.float64
    with torch.autocast("cpu", torch.bfloat16):
        assert value(made(name), image.to(torch.bfloat16)).isfinite()


@pytest.mark.parametrize(
    ("loss", "side", "least"),
    [("LowFrequencyLoss", 10, 11), ("ColorLoss", 10, 11), ("LDLLoss", 3, 4), ("TotalVariationLoss", 1, 2)],
)
def test_images_too_small_for_a_window_are_named_with_the_least_side(loss, side, least):
    def value(side):
        sr, gt, ema = torch.rand(3, 1, 3, side, side).unbind()
        return registry.LOSSES[loss]()(sr, gt, *([ema] if loss == "LDLLoss" else []))

    with pytest.raises(ImageError, match=f"at least {least} pixels a side; got .*{side}, {side}"):
        value(side)
    assert value(least).isfinite()


@pytest.mark.parametrize("name", OF_IMAGES)
@pytest.mark.parametrize("shape", [(3, 64, 64), (64, 64)])
def test_a_single_image_is_a_batch_or_one_sentence(name, shape):
    loss = made(name)
    try:
        value = loss(*[torch.rand(shape) for _ in inspect.signature(loss.forward).parameters])
    except ImageError:
        return
    assert value.shape == ()


@pytest.mark.parametrize("name", ["SSIMLoss", "GridLoss", "PSNRLoss"])
def test_a_single_image_is_told_how_to_become_a_batch(name):
    said = rf"{name}: expected batches of images \(N, C, H, W\); got shape .* x\[None\] is a batch"
    with pytest.raises(ImageError, match=said):
        made(name)(torch.rand(3, 64, 64), torch.rand(3, 64, 64))

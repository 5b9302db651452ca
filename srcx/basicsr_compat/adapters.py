"""Parts adapted in both directions: BasicSR's for srcx, and srcx's for BasicSR's own training loop."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from srcx import registry
from srcx.basicsr_compat.importing import REGISTRIES, basicsr_names, open_basicsr
from srcx.errors import BasicSRError
from srcx.losses.feature_loss import FeatureLoss
from srcx.metrics import niqe, psnr, ssim
from srcx.metrics.metric import MetricFunction, marked_as
from srcx.nearest import nearest

__all__ = ["BASICSR_METRICS", "basicsr_part", "register_in_basicsr"]

Function = TypeVar("Function", bound=Callable[..., Any])
ImageArray = npt.NDArray[np.uint8]

BASICSR_SUFFIX = "_basicsr"
"""BasicSR's own suffix for a part whose name another library has too."""
SRCX_SUFFIX = "srcx"
NOT_REGISTERED = {"GANLoss", "LDLLoss", "MultiScaleGANLoss"}
"""Losses that are not called (sr, gt); BasicSR has its own."""


def basicsr_part(kind: str, name: str) -> Callable[..., Any]:
    """Return a class of BasicSR.

    Args:
        kind: "network", "loss" or "dataset".
        name: The class's name, such as "RRDBNet"; "basicsr.RRDBNet" is the same.

    Returns:
        For a network the class itself. For a loss a class that is called (sr, gt) and has no weight.
        For a data set the class itself, which takes one dict of BasicSR's options.

    Raises:
        BasicSRError: BasicSR cannot be imported, or has no such part.
    """
    bare = name.removeprefix("basicsr.")
    basicsr_registry = _basicsr_registry(kind)
    for key in (bare, bare + BASICSR_SUFFIX):
        if key in basicsr_registry:
            part = basicsr_registry.get(key)
            return _without_weight(part) if kind == "loss" else part
    known = basicsr_names(kind)
    near = nearest(bare, known)
    said = f"did you mean '{near}'?" if near else f"it has {', '.join(known)}"
    raise BasicSRError(f"{name}: BasicSR has no such {kind}; {said}")


def _basicsr_registry(kind: str) -> Any:
    return getattr(open_basicsr("basicsr.utils.registry"), REGISTRIES[kind])


class _UnweightedLoss(nn.Module):
    """A loss of BasicSR, called (sr, gt) and without a weight; each subclass names the loss."""

    source: ClassVar[type[nn.Module]]
    sees_gt: ClassVar[bool]

    def __init__(self, **args: Any) -> None:
        super().__init__()
        self.loss = self.source(**args)

    def forward(self, sr: Tensor, gt: Tensor) -> Tensor:
        value = self.loss(sr, gt) if self.sees_gt else self.loss(sr)
        if isinstance(value, tuple):  # PerceptualLoss: two terms, of which one may be None
            return torch.stack([term for term in value if term is not None]).sum()
        return value


def _without_weight(loss: type[nn.Module]) -> type[_UnweightedLoss]:
    """Return the class of `loss` without `loss_weight`.

    Raises:
        BasicSRError: the loss does not compare images: it is adversarial.
    """
    second = list(inspect.signature(loss.forward).parameters)[2]
    if second not in ("gt", "target", "weight"):
        raise BasicSRError(f"{loss.__name__}: this loss of BasicSR does not compare images; use GANLoss")
    whole = inspect.signature(loss)
    args = [argument for name, argument in whole.parameters.items() if name != "loss_weight"]
    own = {"source": loss, "sees_gt": second != "weight", "__signature__": whole.replace(parameters=args)}
    return type(loss.__name__, (_UnweightedLoss,), own)


@marked_as(psnr)
def calculate_psnr(
    sr: Any,
    gt: Any,
    /,
    *,
    crop_border: int,
    test_y_channel: bool = False,
    round_y: bool = True,
    input_order: Literal["HWC"] = "HWC",
) -> Any:
    """`psnr` by BasicSR's arguments; Y, with `test_y_channel`, is rounded unless `round_y` is false."""
    return psnr(sr, gt, y_only=test_y_channel, round_y=round_y, crop_px=crop_border)


@marked_as(ssim)
def calculate_ssim(
    sr: Any,
    gt: Any,
    /,
    *,
    crop_border: int,
    test_y_channel: bool = False,
    round_y: bool = True,
    input_order: Literal["HWC"] = "HWC",
) -> Any:
    """`ssim` by BasicSR's arguments; Y, with `test_y_channel`, is rounded unless `round_y` is false."""
    return ssim(sr, gt, y_only=test_y_channel, round_y=round_y, crop_px=crop_border)


@marked_as(niqe)
def calculate_niqe(
    sr: Any, /, *, crop_border: int, input_order: Literal["HWC"] = "HWC", convert_to: Literal["y"] = "y"
) -> Any:
    """`niqe` by BasicSR's arguments; always of Y."""
    return niqe(sr, crop_px=crop_border)


BASICSR_METRICS: Mapping[str, MetricFunction] = {
    "calculate_niqe": calculate_niqe,
    "calculate_psnr": calculate_psnr,
    "calculate_ssim": calculate_ssim,
}
"""BasicSR's metric names and arguments, as its option files write them, for srcx's metrics."""


def register_in_basicsr() -> list[str]:
    """Add srcx's networks, losses and metrics to BasicSR's registries, as `<Name>_srcx`.

    A loss takes BasicSR's `loss_weight`. One over the features of a fixed network returns two terms, the
    second None, as BasicSR wants it in `perceptual_opt`; the others go in `pixel_opt`. A metric takes
    BasicSR's images: uint8, BGR, (H, W, 3).

    Returns:
        The names added; a second call adds none.

    Raises:
        BasicSRError: BasicSR cannot be imported.
    """
    registries = open_basicsr("basicsr.utils.registry")
    losses = {
        name: type(name, (_WeightedLoss,), {"source": loss})
        for name, loss in registry.LOSSES.items()
        if name not in NOT_REGISTERED
    }
    metrics = {name: _for_bgr(name, metric) for name, metric in registry.METRICS.items()}
    added = []
    tables: list[tuple[Any, Mapping[str, Callable[..., Any]]]] = [
        (registries.ARCH_REGISTRY, registry.NETWORKS),
        (registries.LOSS_REGISTRY, losses),
        (registries.METRIC_REGISTRY, metrics),
    ]
    for basicsr_registry, parts in tables:
        for name, part in parts.items():
            if f"{name}_{SRCX_SUFFIX}" not in basicsr_registry:
                basicsr_registry.register(part, suffix=SRCX_SUFFIX)
                added.append(f"{name}_{SRCX_SUFFIX}")
    return added


class _WeightedLoss(nn.Module):
    """A loss of srcx as BasicSR's models call it; each subclass names the loss."""

    source: ClassVar[type[nn.Module]]

    def __init__(self, loss_weight: float = 1.0, **args: Any) -> None:
        super().__init__()
        self.loss_weight = loss_weight
        self.loss = self.source(**args)

    def forward(self, sr: Tensor, gt: Tensor) -> Tensor | tuple[Tensor, None]:
        value = self.loss_weight * self.loss(sr, gt)
        return (value, None) if isinstance(self.loss, FeatureLoss) else value


def _for_bgr(name: str, metric: MetricFunction) -> Callable[..., float]:
    """Return a metric as BasicSR's validation calls it: with BGR images by name, and with `better`."""

    def adapted(
        img: ImageArray, img2: ImageArray | None = None, *, better: str | None = None, **args: Any
    ) -> float:
        images = [img] if img2 is None or not metric.needs_gt else [img, img2]
        rgb = [np.ascontiguousarray(image[..., ::-1]) if image.ndim == 3 else image for image in images]
        return float(metric(*rgb, **args))

    adapted.__name__ = name
    return adapted

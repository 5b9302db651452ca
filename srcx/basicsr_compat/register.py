"""srcx's parts in BasicSR's registries, for its own training loop."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from srcx import registry
from srcx.basicsr_compat.importing import open_basicsr
from srcx.losses.feature_loss import FeatureLoss
from srcx.metrics.metric import MetricFunction

__all__ = ["lend_all"]

ImageArray = npt.NDArray[np.uint8]

SUFFIX = "srcx"
NOT_LENT = {"GANLoss", "LDLLoss", "MultiScaleGANLoss"}  # not called (sr, gt); BasicSR has its own


def lend_all() -> list[str]:
    """Add srcx's networks, losses and metrics to BasicSR's registries, under `<Name>_srcx`.

    A lent loss takes BasicSR's `loss_weight`. One that looks through a fixed network gives
    two terms, the second None, as BasicSR wants it in `perceptual_opt`; the others go in
    `pixel_opt`. A lent metric takes BasicSR's images: uint8, BGR, (H, W, 3).

    Returns:
        The names added; a second call adds none.

    Raises:
        BridgeError: BasicSR cannot be had.
    """
    basicsr_registry = open_basicsr("basicsr.utils.registry")
    losses = {name: loss for name, loss in registry.LOSSES.items() if name not in NOT_LENT}
    return [
        *_lend(basicsr_registry.ARCH_REGISTRY, registry.NETWORKS),
        *_lend(
            basicsr_registry.LOSS_REGISTRY, {name: _weighted(name, loss) for name, loss in losses.items()}
        ),
        *_lend(
            basicsr_registry.METRIC_REGISTRY,
            {name: _for_bgr(name, one) for name, one in registry.METRICS.items()},
        ),
    ]


def _lend(basicsr_registry: Any, parts: Mapping[str, Callable[..., Any]]) -> Iterator[str]:
    for name, part in parts.items():
        lent = f"{name}_{SUFFIX}"
        if lent not in basicsr_registry:
            basicsr_registry.register(part, suffix=SUFFIX)
            yield lent


class _WeightedLoss(nn.Module):
    """A loss of srcx's as BasicSR's models want it; subclasses say which."""

    source: ClassVar[type[nn.Module]]

    def __init__(self, loss_weight: float = 1.0, **args: Any) -> None:
        super().__init__()
        self.loss_weight = loss_weight
        self.loss = self.source(**args)

    def forward(self, sr: Tensor, gt: Tensor) -> Tensor | tuple[Tensor, None]:
        value = self.loss_weight * self.loss(sr, gt)
        return (value, None) if isinstance(self.loss, FeatureLoss) else value


def _weighted(name: str, loss: type[nn.Module]) -> type[_WeightedLoss]:
    return type(name, (_WeightedLoss,), {"source": loss})


def _for_bgr(name: str, metric: MetricFunction) -> Callable[..., float]:
    """A metric as BasicSR's validation calls it: with BGR images by name, and with `better`."""

    def lent(
        img: ImageArray, img2: ImageArray | None = None, *, better: str | None = None, **args: Any
    ) -> float:
        images = [img] if img2 is None or not metric.needs_gt else [img, img2]
        return float(metric(*(_rgb(image) for image in images), **args))

    lent.__name__ = name
    return lent


def _rgb(image: ImageArray) -> ImageArray:
    return np.ascontiguousarray(image[..., ::-1]) if image.ndim == 3 else image

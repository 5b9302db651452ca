"""BasicSR's parts by name, in the shape srcx gives its own."""

import inspect
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from srcx.basicsr_compat.importing import open_basicsr
from srcx.errors import BridgeError
from srcx.nearest import nearest

__all__ = ["borrow", "names"]

REGISTRIES = {"dataset": "DATASET_REGISTRY", "loss": "LOSS_REGISTRY", "network": "ARCH_REGISTRY"}
SUFFIX = "_basicsr"  # under which BasicSR registers what often has a namesake
LENT = "_srcx"  # under which `lend` registers what is srcx's


def borrow(kind: str, name: str) -> Callable[..., Any]:
    """A class of BasicSR's.

    Args:
        kind: "network", "loss" or "dataset".
        name: The class's name, such as "RRDBNet"; "basicsr.RRDBNet" is the same.

    Returns:
        For a network the class itself. For a loss one that is called (sr, gt) and knows no
        weight. For a data set the class itself, which takes one dict of BasicSR's options.

    Raises:
        BridgeError: BasicSR cannot be had, or has no such part.
    """
    bare = name.removeprefix("basicsr.")
    registry = _registry(kind)
    for key in (bare, bare + SUFFIX):
        if key in registry:
            part = registry.get(key)
            return _without_weight(part) if kind == "loss" else part
    known = names(kind)
    near = nearest(bare, known)
    said = f"did you mean '{near}'?" if near else f"it has {', '.join(known)}"
    raise BridgeError(f"{name}: BasicSR has no such {kind}; {said}")


def names(kind: str) -> list[str]:
    """The names BasicSR has of a kind, sorted, without those srcx lent it.

    Raises:
        BridgeError: BasicSR cannot be had.
    """
    return sorted(key.removesuffix(SUFFIX) for key, _ in _registry(kind) if not key.endswith(LENT))


def _registry(kind: str) -> Any:
    return getattr(open_basicsr("basicsr.utils.registry"), REGISTRIES[kind])


class _BorrowedLoss(nn.Module):
    """A loss of BasicSR's that is called (sr, gt) and weighs nothing; subclasses say which."""

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


def _without_weight(loss: type[nn.Module]) -> type[_BorrowedLoss]:
    """The class of `loss` without `loss_weight`.

    Raises:
        BridgeError: the loss compares no images: it is adversarial.
    """
    second = list(inspect.signature(loss.forward).parameters)[2]
    if second not in ("gt", "target", "weight"):
        raise BridgeError(f"{loss.__name__}: this loss of BasicSR's compares no images; use GANLoss")
    whole = inspect.signature(loss)
    args = [argument for name, argument in whole.parameters.items() if name != "loss_weight"]
    own = {"source": loss, "sees_gt": second != "weight", "__signature__": whole.replace(parameters=args)}
    return type(loss.__name__, (_BorrowedLoss,), own)

"""Networks whose weights get no gradients for a while."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

__all__ = ["frozen"]


@contextmanager
def frozen(*nets: nn.Module) -> Iterator[None]:
    """Turn off gradients for the weights of `nets` inside the block; weights frozen before stay frozen."""
    trained = [weight for net in nets for weight in net.parameters() if weight.requires_grad]
    for weight in trained:
        weight.requires_grad_(False)
    try:
        yield
    finally:
        for weight in trained:
            weight.requires_grad_(True)

"""Networks whose weights get no gradients for a while."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

__all__ = ["frozen"]


@contextmanager
def frozen(*nets: nn.Module) -> Iterator[None]:
    """No gradients for the weights of `nets` inside the block: the generator's step does not need them."""
    for net in nets:
        net.requires_grad_(False)
    try:
        yield
    finally:
        for net in nets:
            net.requires_grad_(True)

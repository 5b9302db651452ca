"""Means of named values over the parts of a batch, on all ranks."""

from collections.abc import Mapping

import torch
from accelerate import Accelerator
from torch import Tensor

__all__ = ["Means"]


class Means:
    """Means of named values over the parts of a batch and over ranks, read from the device once."""

    def __init__(self, parts: int, accelerator: Accelerator) -> None:
        self.parts, self.accelerator = parts, accelerator
        self.sums: dict[str, Tensor] = {}

    def add(self, terms: Mapping[str, Tensor]) -> None:
        for name, value in terms.items():
            self.sums[name] = self.sums.get(name, torch.zeros_like(value)) + value.detach()

    def values(self) -> dict[str, float]:
        if not self.sums:
            return {}
        means = torch.stack([value.float() for value in self.sums.values()]) / self.parts
        return dict(zip(self.sums, self.accelerator.reduce(means, "mean").tolist(), strict=True))

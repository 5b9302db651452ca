"""torch itself, on the CPU or a GPU."""

import copy
from typing import Any

import torch
from torch import Tensor

from srcx.hardware import NO_VIEW, to_channels_last
from srcx.inference.backends.base import DTYPES, Backend, Run
from srcx.inference.models import Model

__all__ = ["PyTorch"]


class PyTorch(Backend):
    """Runs a copy of the network in torch, in channels-last order if the network works in it."""

    name = "torch"
    packages = ("torch",)
    formats = tuple(DTYPES)
    memory_factor = 1.5
    runs_on_gpu = True

    def _open(self, module: Any, model: Model, precision: str, device: torch.device) -> Run:
        net, dtype = copy.deepcopy(model.net).eval(), DTYPES[precision]  # type: ignore[union-attr]
        to_channels_last(net.to(device=device, dtype=dtype))
        memory_format = torch.channels_last

        def run(lq: Tensor) -> Tensor:
            nonlocal memory_format
            lq = lq.to(device, dtype, memory_format=memory_format)
            try:
                return net(lq)
            except RuntimeError as error:
                if NO_VIEW not in str(error):
                    raise
            memory_format = torch.contiguous_format
            net.to(memory_format=memory_format)
            return net(lq.contiguous())

        return run

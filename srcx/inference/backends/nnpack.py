"""torch with NNPACK, whose Winograd convolutions are the fastest on processors without bf16."""

import copy
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from srcx.errors import UsageError
from srcx.hardware import processor
from srcx.imaging.planes import Planes
from srcx.inference.backends.base import Backend, Run

if TYPE_CHECKING:
    from torch import Tensor, nn

    from srcx.inference.models import Model

__all__ = ["Nnpack"]

MIN_CHANNELS = 16
"""With fewer channels, Winograd's transforms cost more than the products they save."""


class Nnpack(Backend):
    """Runs the network in torch, and its 3 x 3 convolutions by NNPACK's Winograd F(6, 3).

    torch by itself takes NNPACK only for 16 images at once and more.
    """

    name = "nnpack"
    packages = ("torch",)
    memory_factor = 3.0

    def available(self) -> bool:
        torch = sys.modules.get("torch")
        if torch is None:  # NNPACK needs these two; whether this torch has it, `load` finds out
            return {"avx2", "fma"} <= processor()[1]
        return bool(torch.backends.nnpack.is_available())

    def load(self) -> Any:
        torch = super().load()
        if not torch.backends.nnpack.is_available():
            raise UsageError("nnpack: this torch has no NNPACK for this processor; take another backend")
        return torch

    def _open(self, module: Any, model: "Model", precision: str, device: str) -> Run:
        torch = module
        assert model.net is not None
        net = copy.deepcopy(model.net)
        for layer in net.modules():
            if isinstance(layer, torch.nn.Conv2d) and _is_for_winograd(layer):
                layer._conv_forward = partial(_convolution, torch, layer.padding)

        def run(lq: Planes) -> Planes:
            # The order of images of one channel decides which kernel torch takes for the first convolution.
            images = torch.from_numpy(np.ascontiguousarray(lq)).to(memory_format=torch.channels_last)
            with torch.inference_mode():
                planes: Planes = net(images.contiguous()).numpy()
            return planes

        return run


def _is_for_winograd(layer: "nn.Conv2d") -> bool:
    geometry = (layer.kernel_size, layer.stride, layer.dilation, layer.groups, layer.padding_mode)
    fits = geometry == ((3, 3), (1, 1), (1, 1), 1, "zeros") and layer.padding in ((0, 0), (1, 1))
    return fits and min(layer.in_channels, layer.out_channels) >= MIN_CHANNELS


def _convolution(torch: Any, padding: Any, lq: "Tensor", weight: "Tensor", bias: "Tensor | None") -> Any:
    return torch._nnpack_spatial_convolution(lq.contiguous(), weight, bias, padding)

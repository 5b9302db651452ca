"""torch itself, on the CPU or a GPU."""

import copy
from typing import TYPE_CHECKING, Any

import numpy as np

from srcx.hardware import NO_VIEW, to_channels_last
from srcx.imaging.planes import Planes
from srcx.inference.backends.base import Backend, Run

if TYPE_CHECKING:
    from srcx.inference.models import Model

__all__ = ["PyTorch"]


class PyTorch(Backend):
    """Runs a copy of the network in torch, in channels-last order if the network works in it."""

    name = "torch"
    packages = ("torch",)
    formats = ("fp32", "bf16", "fp16")
    memory_factor = 1.5
    runs_on_gpu = True

    def _open(self, module: Any, model: "Model", precision: str, device: str) -> Run:
        torch = module
        dtypes = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
        net, dtype = copy.deepcopy(model.net).eval(), dtypes[precision]  # type: ignore[union-attr]
        to_channels_last(net.to(device=device, dtype=dtype))
        memory_format = torch.channels_last

        def run_tensor(lq: Any) -> Any:
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

        def run(lq: Planes) -> Planes:
            with torch.inference_mode():
                sr = run_tensor(torch.from_numpy(np.ascontiguousarray(lq)))
                planes: Planes = sr.float().cpu().numpy()
            return planes

        return run

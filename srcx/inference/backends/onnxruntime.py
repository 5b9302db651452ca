"""ONNX Runtime, on the ONNX form of a network."""

from typing import Any

import torch

from srcx.inference.backends.base import OUT_OF_MEMORY, Backend, Run, reopened_after_out_of_memory, to_onnx
from srcx.inference.models import Model

__all__ = ["OnnxRuntime"]

LOG_FATAL = 4
"""Log level: errors are raised too, and need not be printed."""


class OnnxRuntime(Backend):
    """Runs networks by ONNX Runtime on the CPU."""

    name = "onnx"
    packages = ("onnxruntime",)
    extra = "export"
    memory_factor = 1.75

    def _open(self, module: Any, model: Model, precision: str, device: torch.device) -> Run:
        return self.open_onnx(to_onnx(model))

    def open_onnx(self, content: bytes | str) -> Run:
        """Open the content or the path of an .onnx file that `to_onnx` made."""
        onnxruntime = self.load()

        def open_session() -> Run:
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = torch.get_num_threads()
            options.log_severity_level = LOG_FATAL
            session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
            return lambda lq: torch.from_numpy(session.run(None, {"lq": lq.contiguous().numpy()})[0])

        return reopened_after_out_of_memory(self, open_session)

    def is_out_of_memory(self, error: BaseException) -> bool:
        # Its errors are not RuntimeErrors.
        is_own = type(error).__module__.startswith("onnxruntime.")
        return super().is_out_of_memory(error) or (is_own and OUT_OF_MEMORY.search(str(error)) is not None)

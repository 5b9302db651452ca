"""ONNX Runtime, on the ONNX form of a network."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from srcx.errors import CheckpointError
from srcx.hardware import threads
from srcx.inference.backends.base import (
    OUT_OF_MEMORY,
    Backend,
    OpenedFile,
    Run,
    check_one_of_each,
    reopened_after_out_of_memory,
)
from srcx.inference.store import onnx_of

if TYPE_CHECKING:
    from srcx.inference.models import Model

__all__ = ["OnnxRuntime"]

DTYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
LOG_FATAL = 4
"""Log level: errors are raised too, and need not be printed."""


class OnnxRuntime(Backend):
    """Runs networks and .onnx files by ONNX Runtime on the CPU."""

    name = "onnx"
    packages = ("onnxruntime",)
    extra = "export"
    memory_factor = 1.75
    suffix = ".onnx"

    def _open(self, module: Any, model: "Model", precision: str, device: str) -> Run:
        return self.open_onnx(onnx_of(model))

    def open_onnx(self, content: bytes | str) -> Run:
        """Open the content or the path of an .onnx file that has one input and one output."""

        def open_session() -> Run:
            session = self._session(content)
            lq_input = session.get_inputs()[0]
            name, dtype = lq_input.name, DTYPES[lq_input.type]
            return lambda lq: session.run(None, {name: np.ascontiguousarray(lq, dtype)})[0].astype(
                np.float32, copy=False
            )

        return reopened_after_out_of_memory(self, open_session)

    def open_exported(self, path: Path) -> OpenedFile:
        session = self._session(str(path))
        check_one_of_each(path, len(session.get_inputs()), len(session.get_outputs()))
        lq_input = session.get_inputs()[0]
        if lq_input.type not in DTYPES:
            raise CheckpointError(
                f"{path}: expected an input of {' or '.join(DTYPES)}, got {lq_input.type}; export it again"
            )
        shape = tuple(side if isinstance(side, int) else None for side in lq_input.shape)
        return OpenedFile(self.open_onnx(str(path)), shape)

    def _session(self, content: bytes | str) -> Any:
        onnxruntime = self.load()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads()
        options.log_severity_level = LOG_FATAL
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    def is_out_of_memory(self, error: BaseException) -> bool:
        # Its errors are not RuntimeErrors.
        is_own = type(error).__module__.startswith("onnxruntime.")
        return super().is_out_of_memory(error) or (is_own and OUT_OF_MEMORY.search(str(error)) is not None)

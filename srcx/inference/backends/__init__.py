"""The programs that run networks, one class each; the order is that in which they are tried."""

from srcx.errors import UsageError
from srcx.inference.backends.base import Backend, Engine, OpenedFile, Run, psnr_db
from srcx.inference.backends.ncnn import Ncnn
from srcx.inference.backends.nnpack import Nnpack
from srcx.inference.backends.onnxruntime import OnnxRuntime
from srcx.inference.backends.openvino import OpenVino
from srcx.inference.backends.pytorch import PyTorch

__all__ = ["BACKENDS", "EXACT", "Backend", "Engine", "OpenedFile", "Run", "find_backend", "psnr_db"]

BACKENDS: tuple[Backend, ...] = (PyTorch(), Nnpack(), OnnxRuntime(), OpenVino(), Ncnn())

EXACT = Engine(BACKENDS[0], "fp32")
"""torch in fp32: the reference for all other engines."""


def find_backend(name: str) -> Backend:
    """Return the backend of this name.

    Raises:
        UsageError: there is no such backend.

    Example:
        >>> find_backend("onnx").packages
        ('onnxruntime',)
    """
    for backend in BACKENDS:
        if backend.name == name:
            return backend
    names = ", ".join(backend.name for backend in BACKENDS)
    raise UsageError(f"backend: expected auto, {names}; got '{name}'")

"""OpenVINO, on the ONNX form of a network or on its 8-bit file."""

import logging
import re
import threading
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from srcx.errors import CheckpointError, UsageError
from srcx.hardware import threads
from srcx.imaging.planes import Planes
from srcx.inference.backends.base import (
    Backend,
    OpenedFile,
    Run,
    check_one_of_each,
    check_weights_beside,
    not_opened,
    reopened_after_out_of_memory,
)
from srcx.inference.store import made_once, onnx_of

if TYPE_CHECKING:
    from srcx.inference.models import Model

__all__ = ["SOURCE_KEY", "OpenVino"]

PRECISION_HINTS = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}
"""For int8: the format of the layers that are not in 8 bits."""
SOURCE_KEY = ["srcx", "sha256"]
"""Key in an 8-bit file for the sha256 of the checkpoint it was made from."""

log = logging.getLogger(__name__)

_first_use = threading.Lock()


def _quantize(model: "Model", folder: Path) -> None:
    """Write the 8-bit file of a model that comes with srcx."""
    from srcx.inference.quantize import export_int8  # it imports this module

    log.warning("%s: making its 8-bit file, once; this takes some minutes", model.name)
    report = export_int8(model, folder / "net.xml", None)
    log.warning(
        "%s: in 8 bits it loses %.3f dB of PSNR-Y on photographs, %.1f dB from fp32",
        model.name, report.loss_db, report.psnr_db,
    )  # fmt: skip


class OpenVino(Backend):
    """Runs networks and .xml files by OpenVINO on the CPU."""

    name = "openvino"
    packages = ("openvino",)
    extra = "export"
    formats = ("fp32", "bf16", "int8")
    memory_factor = 1.5
    suffix = ".xml"

    def _open(self, module: Any, model: "Model", precision: str, device: str) -> Run:
        if precision != "int8":
            return self.open_file(onnx_of(model), precision)
        if model.int8 is None and model.store is not None:
            with made_once(model, "int8", partial(_quantize, model)) as folder:
                return self.open_file(str(folder / "net.xml"), precision)
        if model.int8 is None:
            raise UsageError(
                f"{model.name}: has no 8-bit file; 'srcx export --format openvino --int8 FOLDER' makes one"
            )
        try:
            file = self._read(model.int8)
        except CheckpointError as error:
            raise UsageError(str(error)) from error  # "auto" takes another engine
        if not file.has_rt_info(SOURCE_KEY) or file.get_rt_info(SOURCE_KEY).astype(str) != model.sha256:
            raise UsageError(f"{model.int8}: was made from other weights than {model.name}; export it again")
        return self.open_file(str(model.int8), precision)

    def open_exported(self, path: Path) -> OpenedFile:
        file = self._read(path)
        check_one_of_each(path, len(file.inputs), len(file.outputs))
        shape = tuple(
            side.get_length() if side.is_static else None for side in file.input(0).get_partial_shape()
        )
        return OpenedFile(self.open_file(str(path)), shape)

    def _read(self, path: Path) -> Any:
        """Read an .xml file and its weights.

        Raises:
            CheckpointError: one of the two is damaged, or the weights are missing.
        """
        check_weights_beside(path)
        if b"<net" not in path.read_bytes():
            raise not_opened(path, self.name)  # OpenVINO would try formats whose readers print to stderr
        try:
            return self.load().Core().read_model(str(path))
        except RuntimeError as error:
            if self.is_out_of_memory(error):
                raise
            raise not_opened(path, self.name) from error

    def open_file(self, content: bytes | str, precision: str = "fp32") -> Run:
        """Open the content of an .onnx file or the path of an .xml file."""
        openvino = self.load()

        def compile_model() -> Run:
            # The first use of numpy makes a table; two threads that come there at once wait for each other
            # for ever.
            with _first_use:
                assert openvino.Tensor(np.zeros(1, np.float32)).data.size == 1
            core = openvino.Core()
            settings = {
                "INFERENCE_PRECISION_HINT": PRECISION_HINTS[precision],
                "PERFORMANCE_HINT": "LATENCY",
                "INFERENCE_NUM_THREADS": threads(),
            }
            compiled = core.compile_model(core.read_model(content), "CPU", settings)

            # One call at a time uses a request: threads that share one get each other's images.
            idle: list[Any] = []

            def run(lq: Planes) -> Planes:
                try:
                    request = idle.pop()
                except IndexError:
                    request = compiled.create_infer_request()
                # Asynchronous: a request that fails synchronously does not raise and returns an older image.
                request.start_async({0: np.ascontiguousarray(lq)})
                request.wait()
                sr: Planes = request.get_output_tensor().data.astype(np.float32)  # a copy
                idle.append(request)
                return sr

            return run

        return reopened_after_out_of_memory(self, compile_model)

    def is_out_of_memory(self, error: BaseException) -> bool:
        says_so = re.search(r"allocate \d+ bytes of memory|can't alloc", str(error)) is not None
        return super().is_out_of_memory(error) or (isinstance(error, RuntimeError) and says_so)

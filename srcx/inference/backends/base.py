"""The interface of a backend, and the code that several backends share."""

import importlib
import io
import math
import os
import re
import sys
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from srcx.errors import CheckpointError, SrcxError, UsageError
from srcx.imaging.planes import Planes
from srcx.inference.store import discard

if TYPE_CHECKING:
    from srcx.inference.models import Model

__all__ = [
    "SAME_NETWORK_DB",
    "Backend",
    "Engine",
    "OpenedFile",
    "Run",
    "check_one_of_each",
    "check_weights_beside",
    "import_without_telemetry",
    "not_opened",
    "psnr_db",
    "reopened_after_out_of_memory",
    "to_onnx",
]

Run = Callable[[Planes], Planes]
"""An open network: (N, C, H, W) in [0, 1] to (N, C, sH, sW), both of any order in memory."""

SAME_NETWORK_DB = 80.0
"""Least PSNR between the outputs of two programs that run the same network in fp32: the order of their sums
changes far less."""

ONNX_OPSET = 17

OUT_OF_MEMORY = re.compile(
    r"allocate memory|out of memory|not enough memory|ALLOC_FAILED|bad_alloc|bad allocation"
    # oneDNN; the same text about a "primitive descriptor" means a case that it cannot compute.
    r"|could not create a (primitive(?! descriptor)|memory object)"
)
"""Messages of torch, oneDNN, NNPACK, cuBLAS, cuDNN and the C++ library."""


class OpenedFile(NamedTuple):
    """A file that another program exported, ready to run."""

    run: Run
    """Takes and returns images in the file's own order of channels, height and width."""
    shape: tuple[int | None, ...]
    """Of its input; None where any length may be given."""


class Backend(ABC):
    """A program that runs networks, and everything that srcx knows about it.

    A new backend is a subclass in a file of its own and an entry of `BACKENDS`; the tests run over these.
    """

    name: ClassVar[str]
    packages: ClassVar[tuple[str, ...]]
    """Python packages that it needs; the first one runs the network."""
    extra: ClassVar[str] = ""
    """The optional dependency of srcx that installs `packages`."""
    formats: ClassVar[tuple[str, ...]] = ("fp32",)
    """Number formats that it runs in."""
    memory_factor: ClassVar[float]
    """Memory of the activations over input plus output bytes of the largest layer, as measured."""
    runs_on_gpu: ClassVar[bool] = False
    suffix: ClassVar[str] = ""
    """Of the exported files that `open_exported` opens; empty where the backend runs checkpoints alone."""

    def available(self) -> bool:
        """Return whether the backend can run on this machine; imports nothing."""
        return all(find_spec(package) for package in self.packages)

    def version(self) -> str:
        """Return the package that runs the network and its version; "absent" if it is not installed."""
        package = self.packages[0]
        try:
            return f"{package} {version(package)}"
        except PackageNotFoundError:
            return f"{package} absent"

    def load(self) -> Any:
        """Import the first of `packages` and return it.

        Raises:
            UsageError: one is not installed.
        """
        try:
            for package in self.packages:
                if not find_spec(package):
                    raise ModuleNotFoundError(name=package)
            return import_without_telemetry(self.packages[0])
        except ImportError as error:
            raise UsageError(
                f"{self.name}: needs {error.name}, which is not installed; "
                f"pip install 'srcx[{self.extra}]' installs it"
            ) from error

    def open(self, model: "Model", precision: str = "fp32", device: str = "cpu") -> Run:
        """Make a model's network ready to run.

        Args:
            model: Has a network, in fp32 and on the CPU.
            precision: One of `formats`; in int8 the model's 8-bit file is run.
            device: Where to run, as torch names it; a backend that does not run on GPUs runs on the CPU.

        Raises:
            UsageError: a package is missing, or the backend does not run in this format or not this network.
        """
        module = self.load()
        if precision not in self.formats:
            raise UsageError(f"{self.name}: does not run in {precision}; take fp32")
        if model.run is not None and precision == "fp32":
            return model.run  # `open_exported` has opened it
        try:
            try:
                return self._open(module, model, precision, device)
            except Exception as error:
                # An 8-bit file of the user's is not stored, and one that is refused would be refused again.
                is_sound = precision == "int8" and (model.int8 is not None or isinstance(error, SrcxError))
                if is_sound or self.is_out_of_memory(error) or not discard(model):
                    raise
                return self._open(module, model, precision, device)  # what was stored may have been damaged
        except Exception as error:
            if isinstance(error, SrcxError) or self.is_out_of_memory(error):
                raise
            reason = str(error).strip().partition("\n")[0]
            raise UsageError(
                f"{self.name}: cannot run {model.name} ({type(error).__name__}: {reason}); "
                "take another backend"
            ) from error

    @abstractmethod
    def _open(self, module: Any, model: "Model", precision: str, device: str) -> Run:
        """Open the network by the first of `packages`; `open` makes one sentence of an error."""

    def open_exported(self, path: Path) -> OpenedFile:
        """Open a file with the suffix `suffix`; what its errors are is the program's matter.

        Raises:
            CheckpointError: the file has not one input and one output.
        """
        raise NotImplementedError

    def is_out_of_memory(self, error: BaseException) -> bool:
        """Return whether an error says that memory was missing."""
        return isinstance(error, MemoryError) or (
            isinstance(error, RuntimeError) and OUT_OF_MEMORY.search(str(error)) is not None
        )


def check_one_of_each(path: Path, inputs: int, outputs: int) -> None:
    """Refuse a file that does not make one image of one image.

    Raises:
        CheckpointError: its inputs or outputs are more than one.
    """
    if (inputs, outputs) != (1, 1):
        raise CheckpointError(
            f"{path}: expected a network with one input and one output, got {inputs} and {outputs}; "
            "export the part that upscales alone"
        )


def check_weights_beside(path: Path) -> None:
    """Check that the weights of an exported file, a .bin file of its name, are beside it.

    Raises:
        CheckpointError: they are not.
    """
    weights = path.with_suffix(".bin")
    if not weights.is_file():
        raise CheckpointError(f"{path}: its weights, {weights.name}, are not beside it; put both together")


def not_opened(path: Path, backend: str) -> CheckpointError:
    """Return the error of an exported file that a backend of this name does not open."""
    weights = path.with_suffix(".bin")
    files = f"this file or {weights.name} is" if weights.is_file() else "is"
    return CheckpointError(f"{path}: {files} damaged, or {backend} lacks one of its layers; export it again")


class Engine(NamedTuple):
    """A backend in one number format."""

    backend: Backend
    precision: str = "fp32"

    def __str__(self) -> str:
        return f"{self.backend.name} {self.precision}"


def import_without_telemetry(name: str) -> Any:
    """Import a package with the telemetry of ONNX Runtime, OpenVINO and NNCF switched off.

    ONNX Runtime reads the variable when it is imported. OpenVINO and NNCF have no switch that works without
    a file in the user's home folder; both run without the package that sends, if it cannot be imported.

    Raises:
        ImportError: the package is not installed.
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type] # None: importing it fails
    return importlib.import_module(name)


def psnr_db(one: Planes, other: Planes) -> float:
    """Return the PSNR between two outputs in [0, 1], in dB; infinite where they are equal.

    Example:
        >>> round(psnr_db(np.full(4, 0.5), np.full(4, 0.6)), 3)
        20.0
    """
    error = float(np.square(one - other).mean())
    return -10 * math.log10(error) if error else math.inf


def to_onnx(model: "Model", size_px: tuple[int, int] | None = None) -> bytes:
    """Return a model's network in ONNX: "lq" (n, channels, h, w) to "sr".

    Args:
        model: Has a network.
        size_px: The only height and width, of one image; None leaves n, h and w free.
    """
    import torch

    assert model.net is not None
    side = model.multiple_of * -(-16 // model.multiple_of)
    free = {"lq": {0: "n", 2: "h", 3: "w"}, "sr": {0: "n", 2: "sh", 3: "sw"}}
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # The newer exporter needs packages that nothing else here needs.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model.net,
            (torch.zeros(1, model.channels, *(size_px or (side, side + model.multiple_of))),),
            buffer,  # type: ignore[arg-type] # it takes files too
            input_names=["lq"],
            output_names=["sr"],
            dynamic_axes=None if size_px else free,
            opset_version=ONNX_OPSET,
            dynamo=False,
        )
    return buffer.getvalue()


def reopened_after_out_of_memory(backend: Backend, open_run: Callable[[], Run]) -> Run:
    """Return a run that is opened again after an out-of-memory, since the backend holds what it allocated.

    Raises, when the run is called:
        MemoryError: the memory does not suffice.
    """
    current: Run | None = open_run()

    def run(lq: Planes) -> Planes:
        nonlocal current
        try:
            now = current = current or open_run()
            return now(lq)
        except Exception as error:
            # A network that was opened before can fail to open for lack of memory alone, whatever the text.
            if current is not None and not backend.is_out_of_memory(error):
                raise
            current = None
            raise MemoryError(str(error).strip().rpartition("\n")[2]) from None

    return run

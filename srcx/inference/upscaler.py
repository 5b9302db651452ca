"""One class behind `srcx.upscale`, `srcx upscale` and `srcx benchmark`: arrays in, larger arrays out."""

import logging
import math
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from srcx.errors import ImageError, UsageError
from srcx.imaging import ImageArray, to_tensor
from srcx.inference.backends import BACKENDS, Backend, Way, module_of
from srcx.inference.choice import fastest, recalled, remember, ways_of
from srcx.inference.images import check_image, enlarge_by_bicubic, enlarge_planes
from srcx.inference.model import Model, find_model
from srcx.inference.precision import Precision, dtype_of
from srcx.inference.runner import NotFiniteError, Runner, free_bytes

__all__ = ["Choice", "Upscaler", "load_model", "upscale"]

Tile = int | Literal["auto"]

LEAST_TILE_PX = 16
MOST_SCALE = 32
TRIAL_PX = 96
LEAST_MEASURED_PX = 128
"""Smaller images are done sooner than another backend is opened."""
MANY_TINY_PX = 16 * LEAST_MEASURED_PX**2
"""So many pixels of smaller images are not."""

log = logging.getLogger(__name__)


class Choice(NamedTuple):
    """What upscales an image."""

    upscaler: "Upscaler"
    reason: str
    """Why, in a short phrase; empty where the model was named by the user."""


class Upscaler:
    """Enlarges images by one model.

    Args:
        model: What `find_model` gives.
        tile: Side in input pixels of the tiles an image is cut into; 0 for none, "auto" for what the
            free memory allows.
        precision: "fp32", "bf16", "fp16", "int8", or "auto" for the fastest. 16-bit images are then run in
            fp32. For "int8" the model needs its 8-bit file, and OpenVINO runs it.
        device: Where the network runs; None takes CUDA if it is there.
        scale: Factor of the results, 1 to 32, whole or not; another than the model's is reached by resampling
            what the model gives, bicubic. None takes the model's.
        tta: Whether to give the mean over the eight turns and mirrorings of the image: 8 times the work.
        backend: "torch", "nnpack", "onnx", "openvino", "ncnn", or "auto" for the fastest.

    Where there is a choice, the fastest is measured once per machine and model, on the middle of the first
    image that is not tiny (below 128 pixels) or comes after many that are, among those whose output stays
    within 50 dB of that of torch in fp32.

    Called with an image, uint8 or uint16, (H, W) grey, (H, W, 3) RGB or (H, W, 4) RGBA, it returns the
    image `scale` times as large, of the same type and channels.

    Raises:
        UsageError: an argument is none of these, or the network does not work in `precision`.
        ImageError: what it is called with is no image, or the result does not fit into the memory.
    """

    def __init__(
        self,
        model: Model,
        *,
        tile: Tile = "auto",
        precision: Precision = "auto",
        device: torch.device | str | None = None,
        scale: float | None = None,
        tta: bool = False,
        backend: Backend | Literal["auto"] = "auto",
    ) -> None:
        check_scale(scale)
        if tile != "auto" and not (isinstance(tile, int) and (tile == 0 or tile >= LEAST_TILE_PX)):
            raise UsageError(f"tile: expected auto, 0 or at least {LEAST_TILE_PX} pixels; got {tile!r}")
        self.model, self.tta = model, tta
        self.scale = model.scale if scale is None else scale
        if model.net and self.scale != model.scale:
            log.warning(
                "%s enlarges by %d; its results are resampled to x%g, bicubic", model.name, model.scale, scale
            )
        self.core_px = None if tile == "auto" else tile
        self.device = device_of(0) if device is None else device_named(device)
        self.precision, self.backend = precision, backend
        dtype = dtype_of(precision)
        if dtype and dtype not in model.dtypes:
            raise UsageError(_does_not_work(model, precision))
        if backend not in ("auto", *BACKENDS):
            raise UsageError(f"backend: expected auto, {', '.join(BACKENDS)}; got '{backend}'")
        if model.net and backend in BACKENDS:
            module_of(backend)
            self._ways()
        self.way: Way | None = None
        self._tiny_px = 0
        self._runners: dict[Way, Runner] = {}
        self._choosing = threading.Lock()
        if model.net and precision == "int8":
            self._runner(Way("openvino", "int8"))  # what is missing is told before any image

    def __call__(self, image: ImageArray) -> ImageArray:
        check_image(image)
        native, wanted = ([size_at(side, scale) for side in image.shape[:2]] for scale in self._scales())
        _check_fits(image, max(native, wanted))
        enlarge = self._by_network if self.model.net else enlarge_by_bicubic
        return enlarge_planes(image, enlarge, (native[0], native[1]), (wanted[0], wanted[1]))

    def prepare(self, image: ImageArray) -> None:
        """Choose how to run the network, if the image is large enough to measure it on; the first is slow."""
        if self.model.net and min(image.shape[:2]) >= LEAST_MEASURED_PX:
            self._runner_for(image)

    def choose(self, image: ImageArray, file: Path | None = None) -> Choice:
        """Return itself: the model is the same for every image."""
        return Choice(self, "")

    def choices(self) -> list["Upscaler"]:
        """Return every upscaler that `choose` may return."""
        return [self]

    def precisions(self) -> list[str]:
        """Return the number formats that an image may be run in; "integers" where there is no network."""
        if self.model.net is None:
            return ["integers"]
        return list(dict.fromkeys(way.precision for way in self._ways()))

    def _scales(self) -> tuple[float, float]:
        """What the model enlarges by, and what the result is to be enlarged by."""
        return self.model.scale if self.model.net else self.scale, self.scale

    def _by_network(self, image: ImageArray, result: ImageArray) -> None:
        runner = self._runner_for(image)
        try:
            runner.enlarge(image, result, core_px=self.core_px)
        except NotFiniteError:
            if self.precision != "auto" or runner.way.precision == "fp32":
                raise
            log.warning("%s: an image overflows %s and is run in fp32", self.model.name, runner.way)
            with self._choosing:
                runner = self._runner(self._ways()[0])
            runner.enlarge(image, result, core_px=self.core_px)

    def _runner_for(self, image: ImageArray) -> Runner:
        """Return the network in the way this image is to be run; threads wait while it is measured."""
        with self._choosing:
            return self._chosen_runner(image)

    def _chosen_runner(self, image: ImageArray) -> Runner:
        if image.dtype.itemsize == 2 and self.precision == "auto":
            return self._runner(self._ways()[0])
        if self.way is None:
            self.way = self._chosen(image)
        return self._runner(self.way or self._ways()[0])

    def _ways(self) -> list[Way]:
        return ways_of(self.model, self.device, backend=self.backend, precision=self.precision)

    def _chosen(self, image: ImageArray) -> Way | None:
        """The fastest way, or None while images are so small, and few, that it does not pay to open it."""
        ways = self._ways()
        if len(ways) == 1:
            if ways[0].precision != "fp32" and not self._runs(ways[0], image):
                raise UsageError(_does_not_work(self.model, ways[0].precision))
            return ways[0]
        if min(image.shape[:2]) < LEAST_MEASURED_PX:
            self._tiny_px += math.prod(image.shape[:2])
            if self._tiny_px < MANY_TINY_PX:
                return None
        way = recalled(self.model, ways)
        if way is None:
            if min(image.shape[:2]) < TRIAL_PX:
                return None  # it would be remembered for larger ones, of which it says nothing
            log.warning(
                "first use of %s on this machine: the fastest way to run it is being measured, once",
                self.model.name,
            )
            way = fastest(ways, lambda way: self._tried(way, image))
            self._runners = {one: runner for one, runner in self._runners.items() if one == way}
            log.warning("%s: %s is used, the fastest of %s", self.model.name, way, ", ".join(map(str, ways)))
            remember(self.model, ways, way)
        return way

    def _runner(self, way: Way) -> Runner:
        if way not in self._runners:
            self._runners[way] = Runner(self.model, way, self.device, tta=self.tta)
        return self._runners[way]

    @torch.inference_mode()
    def _tried(self, way: Way, image: ImageArray) -> Tensor:
        """The output for the middle of `image`; of the ways tried, the last stays open alone."""
        if way not in self._runners:
            self._runners.clear()
        top, left = (max(side - TRIAL_PX, 0) // 2 for side in image.shape[:2])
        return self._runner(way)(to_tensor(image[top : top + TRIAL_PX, left : left + TRIAL_PX]))

    def _runs(self, way: Way, image: ImageArray) -> bool:
        try:
            self._tried(way, image)
        except RuntimeError as error:
            log.info("%s does not run by %s: %s", self.model.name, way, error)
            return False
        return True


def device_of(number: int) -> torch.device:
    """The GPU of this number, counted round, or the CPU where there is none."""
    return (
        torch.device("cuda", number % torch.cuda.device_count())
        if torch.cuda.is_available()
        else torch.device("cpu")
    )


def device_named(name: torch.device | str) -> torch.device:
    """Return the device of this name.

    Raises:
        UsageError: there is no such device on this machine.
    """
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError, TypeError) as error:
        gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
        raise UsageError(
            f"device: expected cpu, or cuda or cuda:N where torch has CUDA GPUs ({gpus} here); got '{name}'"
        ) from error
    return device


def check_scale(scale: float | None) -> None:
    """Refuse a scale of the results that is no number from 1 to 32.

    Raises:
        UsageError: it is none.
    """
    if scale is not None and not (isinstance(scale, int | float) and 1 <= scale <= MOST_SCALE):
        raise UsageError(f"scale: expected a number from 1 to {MOST_SCALE}; got {scale!r}")


def size_at(side: int, scale: float) -> int:
    """Length in pixels of a side `scale` times as long, rounded half up, at least 1.

    Example:
        >>> size_at(5, 1.5), size_at(1, 1.2)
        (8, 1)
    """
    return max(math.floor(side * scale + 0.5), 1)


def _check_fits(image: ImageArray, size: Sequence[int]) -> None:
    """Refuse before the work a result that would not fit into the memory."""
    needed, free = math.prod(size) * image[0, 0].nbytes, free_bytes(torch.device("cpu"))
    if needed > free:
        raise ImageError(
            f"upscale: the result, {size[1]} x {size[0]} pixels, takes {needed / 1e9:.1f} GB of memory, "
            f"and {free / 1e9:.1f} GB are free; cut the image or take a smaller scale"
        )


def _does_not_work(model: Model, precision: str) -> str:
    return f"{model.name}: a {model.architecture} does not work in {precision}; take fp32"


def load_model(
    name_or_path: str | Path | None = "auto",
    *,
    tile: Tile = "auto",
    precision: Precision = "auto",
    device: torch.device | str | None = None,
    scale: float | None = None,
    tta: bool = False,
    backend: Backend | Literal["auto"] = "auto",
    fidelity: float = 0.0,
) -> Upscaler:
    """Load a model to upscale images with.

    Args:
        name_or_path: A name that `srcx models` lists or a checkpoint of srcx, BasicSR or the community;
            "auto" or None takes for each image the bundled model that suits it, clean or damaged.
        tile: As for `Upscaler`.
        precision: As for `Upscaler`.
        device: As for `Upscaler`.
        scale: As for `Upscaler`.
        tta: As for `Upscaler`.
        backend: As for `Upscaler`.
        fidelity: As for `find_model`: 0 is the model as it is, sharp; 1 is its faithful parent.

    Returns:
        A function from images to larger images that keeps the loaded networks.

    Raises:
        CheckpointError: the file is missing, damaged or of an unknown network.
        UsageError: there is no such name, or an argument makes no sense.

    Example:
        >>> import numpy as np
        >>> load_model("bicubic")(np.zeros((6, 8, 3), np.uint8)).shape
        (24, 32, 3)
    """
    if name_or_path in (None, "auto"):
        from srcx.inference.automatic import AutoUpscaler  # it is an Upscaler itself

        return AutoUpscaler(
            tile=tile,
            precision=precision,
            device=device,
            scale=scale,
            tta=tta,
            backend=backend,
            fidelity=fidelity,
        )
    model = find_model(name_or_path, fidelity=fidelity)
    return Upscaler(
        model, tile=tile, precision=precision, device=device, scale=scale, tta=tta, backend=backend
    )


def upscale(image: ImageArray, model: str | Path | None = "auto", *, fidelity: float = 0.0) -> ImageArray:
    """Upscale one image; for several, keep what `load_model` returns.

    Args:
        image: uint8 or uint16, (H, W) grey, (H, W, 3) RGB or (H, W, 4) RGBA.
        model: As for `load_model`.
        fidelity: As for `load_model`.

    Returns:
        The image `scale` times as large, of the same type and channels.

    Example:
        >>> import numpy as np
        >>> upscale(np.zeros((2, 3), np.uint16), model="bicubic-x2").shape
        (4, 6)
    """
    return load_model(model, fidelity=fidelity)(image)

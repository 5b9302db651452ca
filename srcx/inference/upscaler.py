"""The class behind `srcx.upscale`, `srcx upscale` and `srcx benchmark`: upscales images by one model."""

import logging
import math
import os
import threading
from collections.abc import Mapping, Sequence
from functools import partial
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, overload

from srcx.errors import ImageError, UsageError
from srcx.hardware import free_bytes, may_have_gpu
from srcx.imaging import ImageArray
from srcx.imaging.planes import Planes, to_planes
from srcx.inference.alpha import upscale_with_alpha
from srcx.inference.autotune import (
    TIMED_RUNS,
    Precision,
    cache_times,
    cached_times,
    check_precision,
    engines_for,
    expected_order,
    fastest,
    measure,
)
from srcx.inference.backends import Engine, find_backend
from srcx.inference.color_lock import lock_color
from srcx.inference.kinds import Kind, take
from srcx.inference.models import Model, name_on_command_line
from srcx.inference.runner import TURNS, NotFiniteError, Runner
from srcx.inference.store import is_stored
from srcx.inference.tiling import upscale_by_bicubic
from srcx.progress import OnProgress, no_progress

if TYPE_CHECKING:
    import torch

__all__ = ["Choice", "Tile", "Upscaler", "check_scale", "device_of"]

Tile = int | Literal["auto"]

MIN_TILE_PX = 16
MAX_SCALE = 32
TRIAL_PX = 96
OPENING = 10
"""The time of opening an engine, in runs of a piece of `TRIAL_PX` a side."""
REPAYS = 4
"""The engines are measured where the work is so many times the measurement."""

log = logging.getLogger(__name__)


class Choice(NamedTuple):
    """The upscaler chosen for an image."""

    upscaler: "Upscaler"
    reason: str
    """A short phrase; empty where the user named the model."""


class Upscaler:
    """Upscales images by one model.

    Args:
        model: From `find_model`; `load_model` makes an upscaler of a name or path.
        tile: Side in input pixels of the tiles an image is cut into, at least 16; 0 for none, "auto" for what
            the free memory allows.
        precision: "fp32", "bf16", "fp16", "int8", or "auto" for the fastest. "auto" runs 16-bit images in
            fp32. "int8" is run by OpenVINO, from the model's 8-bit file; that of a model that comes with
            srcx is made at first use.
        device: Where the network runs: "cpu", "cuda", "cuda:1" ...; None takes CUDA if it is there.
        scale: Factor of the results, 1 to 32, whole or not. Where it differs from the model's, the results of
            the model are resampled by bicubic. None takes the model's.
        tta: Whether to return the mean over the eight rotations and reflections of the image: 8 times the
            work.
        backend: The name of one of `BACKENDS`, or "auto" for the fastest.
        lock_color: Whether to make the low frequencies of the results those of the images, as `lock_color`
            of color_lock.py does, so that no network shifts their colours.

    Where there is a choice, the engine is at first the one that is expected to be the fastest on this
    processor. Once the images are so many or large that it repays, the engines are measured on the middle of
    the image at hand, and the fastest of those within 50 dB of torch in fp32 is taken. The times are cached
    for this machine and model.

    Several threads may call one upscaler, and each gets what it would get alone. They wait while the fastest
    engine is measured. Each call takes memory of its own, and torch's threads are shared: more threads do not
    make a CPU faster. An upscaler can be pickled, unless its model is an exported file (.onnx, .xml, .param);
    its copy opens the network anew.

    Raises:
        UsageError: an argument is none of these, or the network does not work in `precision`.
    """

    def __init__(
        self,
        model: Model,
        *,
        tile: Tile = "auto",
        precision: Precision = "auto",
        device: "torch.device | str | None" = None,
        scale: float | None = None,
        tta: bool = False,
        backend: str = "auto",
        lock_color: bool = False,
    ) -> None:
        if not isinstance(model, Model):
            raise UsageError(
                f"Upscaler: expected a Model, as find_model returns it; got {type(model).__name__}: "
                "load_model takes a name or a path"
            )
        check_scale(scale)
        if not isinstance(tta, bool):
            raise UsageError(f"tta: expected True or False; got {tta!r}")
        if tile != "auto" and not (isinstance(tile, Integral) and (tile == 0 or tile >= MIN_TILE_PX)):
            raise UsageError(f"tile: expected auto, 0 or at least {MIN_TILE_PX} pixels; got {tile!r}")
        if not isinstance(lock_color, bool):
            raise UsageError(f"lock_color: expected True or False; got {lock_color!r}")
        check_precision(precision, model)
        self.model, self.precision, self.tta, self.backend = model, precision, tta, backend
        self.tile: Tile = "auto" if tile == "auto" else int(tile)  # NumPy's numbers become Python's
        self.lock_color = lock_color
        self.device = device_of(0) if device is None else device_named(device)
        self.scale = model.scale if scale is None else scale if isinstance(scale, int) else float(scale)
        if model.has_net and self.scale != model.scale:
            log.warning(
                "%s upscales by %d; its results are resampled to x%g, bicubic", model.name, model.scale, scale
            )
        self.engine: Engine | None = None
        """The engine of the last image."""
        self._done_px = 0
        self._times: dict[Engine, float | None] = {}
        # Engines by whether they are for 16 bits.
        self._expected: dict[bool, Engine] = {}
        self._measured: dict[bool, Engine] = {}
        self._runners: dict[Engine, Runner] = {}
        self._choosing = threading.Lock()
        # Everything that is missing is an error before the first image.
        if backend != "auto":
            chosen = find_backend(backend)
            if model.has_net:
                chosen.load()
                self._engines()
        if model.has_net and precision == "int8":
            for engine in self._engines():
                self._runner(engine)

    def with_model(self, model: Model) -> "Upscaler":
        """Return an upscaler of the same settings by another model."""
        return Upscaler(model, **self._settings())

    def _settings(self) -> dict[str, Any]:
        names = ("tile", "precision", "device", "scale", "tta", "backend", "lock_color")
        return {name: getattr(self, name) for name in names}

    def __reduce__(self) -> tuple[Any, ...]:
        # Open networks of other programs and locks cannot be pickled.
        return partial(type(self), **self._settings()), (self.model,)

    def __repr__(self) -> str:
        settings = self._settings() | ({"engine": str(self.engine)} if self.engine else {})
        words = ", ".join(f"{name}={value!r}" for name, value in settings.items())
        return f"{type(self).__name__}({self.model.name!r}, {words})"

    @overload
    def __call__(self, image: Kind, *, on_progress: OnProgress = ...) -> Kind: ...

    @overload
    def __call__(self, image: str | os.PathLike[str], *, on_progress: OnProgress = ...) -> ImageArray: ...

    def __call__(self, image: Any, *, on_progress: OnProgress = no_progress) -> Any:
        """Return the image `scale` times as large, of the same kind, type and channels.

        Args:
            image: One of these. Alpha is upscaled by bicubic, colours by the model.

                - Array: uint8 or uint16; (H, W) grey, (H, W, 3) RGB or (H, W, 4) RGBA.
                - Tensor: float in [0, 1] or uint8; (N, C, H, W) or (C, H, W) with 1, 3 or 4 channels, on any
                  device. A float tensor is computed as 16-bit images; there is no gradient.
                - PIL image: turned upright as its EXIF data says; a palette or CMYK becomes RGB. The result
                  has its colour profile.
                - Path of an image file: the result is an array.
            on_progress: Called after each tile with "tile", the tiles done and all tiles; the count begins
                again with each image of a batch, when tiles become smaller, or when fp32 is needed. An error
                that it raises ends the work.

        Raises:
            ImageError: it is not an image, or the result does not fit into the memory.
        """
        taken = take(image)
        return taken.give_back(
            [self.choose(one, taken.file).upscaler._upscale(one, on_progress) for one in taken.arrays]
        )

    def _upscale(self, image: ImageArray, on_progress: OnProgress) -> ImageArray:
        by_model, by_result = self.model.scale if self.model.has_net else self.scale, self.scale
        native, wanted = (
            [size_at(side, scale) for side in image.shape[:2]] for scale in (by_model, by_result)
        )
        _check_fits(image, max(native, wanted))
        upscale = partial(
            self._by_network if self.model.has_net else upscale_by_bicubic, on_progress=on_progress
        )
        return upscale_with_alpha(image, upscale, (native[0], native[1]), (wanted[0], wanted[1]))

    def prepare(self, image: ImageArray) -> None:
        """Choose the engine, which takes some time where the engines are measured."""
        if self.model.has_net:
            with self._choosing:
                self._runner_for(image)

    def choose(self, image: ImageArray, file: Path | None = None) -> Choice:
        """Return itself: the model is the same for every image."""
        return Choice(self, "")

    def choices(self) -> list["Upscaler"]:
        """Return every upscaler that `choose` may return."""
        return [self]

    def precisions(self) -> list[str]:
        """Return the number formats that an image may be run in; "integers" where there is no network."""
        if not self.model.has_net:
            return ["integers"]
        return list(dict.fromkeys(engine.precision for engine in self._engines()))

    def _by_network(self, image: ImageArray, result: ImageArray, on_progress: OnProgress) -> None:
        with self._choosing:  # threads wait while the engines are measured
            runner = self._runner_for(image)
        core_px = None if self.tile == "auto" else self.tile
        try:
            runner.upscale(image, result, core_px=core_px, on_progress=on_progress)
        except NotFiniteError:
            if self.precision != "auto" or runner.engine.precision == "fp32":
                raise
            log.warning("%s: an image overflows %s and is run in fp32", self.model.name, runner.engine)
            with self._choosing:
                runner = self._runner(self._engines()[0])
            runner.upscale(image, result, core_px=core_px, on_progress=on_progress)
        if self.lock_color:
            lock_color(result, image)
        self._done_px += self._work_px(image)

    def _work_px(self, image: ImageArray) -> int:
        return math.prod(image.shape[:2]) * (len(TURNS) if self.tta else 1)

    def measure(self, image: ImageArray) -> dict[Engine, float | None]:
        """Measure the engines on the middle of an image, cache the times, and take the fastest from now on.

        Args:
            image: uint8 or uint16, at least 96 pixels a side.

        Returns:
            Seconds of each engine for 96 x 96 pixels; None for one that does not run the network, or not
            within 50 dB of torch in fp32.
        """
        engines = self._engines()
        names = ", ".join(map(str, engines))
        log.warning("%s: measuring which engine is the fastest on this machine: %s", self.model.name, names)
        self._times = measure(engines, lambda engine: self._try(engine, image))
        self._measured.clear()
        cache_times(self.model, self._times, self.device)
        return self._times

    def _runner_for(self, image: ImageArray) -> Runner:
        """Return the network opened by the engine for an image."""
        for_16_bits = image.dtype.itemsize == 2 and self.precision == "auto"
        engines = [one for one in self._engines() if one.precision == "fp32" or not for_16_bits]
        if len(engines) == 1:
            if engines[0].precision != "fp32" and self.engine is None:
                self._check_runs(engines[0], image)
            self.engine = engines[0]
        elif for_16_bits in self._measured:
            self.engine = self._measured[for_16_bits]
        else:
            self.engine = self._fastest_of(engines, image, for_16_bits)
        return self._runner(self.engine)

    def _engines(self) -> list[Engine]:
        return engines_for(self.model, self.device, backend=self.backend, precision=self.precision)

    def _fastest_of(self, engines: Sequence[Engine], image: ImageArray, for_16_bits: bool) -> Engine:
        """Return the engine that was measured to be the fastest, or is expected to be."""
        times: Mapping[Engine, float | None] | None = self._times
        if not set(engines) <= self._times.keys():
            times = None if for_16_bits in self._expected else cached_times(self.model, engines, self.device)
        if times is None:
            cost_px = len(engines) * (OPENING + TIMED_RUNS + 1) * TRIAL_PX**2
            repays = self._done_px + self._work_px(image) >= REPAYS * cost_px
            if not repays or min(image.shape[:2]) < TRIAL_PX:
                return self._expected_of(engines, for_16_bits)
            times = self.measure(image)
        best = self._measured[for_16_bits] = fastest({engine: times[engine] for engine in engines})
        log.info("%s: %s runs it, the fastest of those measured on this machine", self.model.name, best)
        self._runners = {one: runner for one, runner in self._runners.items() if one == best}
        return best

    def _expected_of(self, engines: Sequence[Engine], for_16_bits: bool) -> Engine:
        """Return the engine that is expected to be the fastest of those that open the network."""
        if for_16_bits not in self._expected:
            order, reason = expected_order(self.model, engines)
            was_stored = is_stored(self.model)
            engine = self._first_that_opens(order)
            # The first use takes longer than all others, and is printed without -v.
            level = logging.WARNING if is_stored(self.model) and not was_stored else logging.INFO
            name = name_on_command_line(self.model)
            hint = f"; `srcx models {name} --measure` measures" if name else ""
            log.log(level, "%s: %s runs it, %s%s", self.model.name, engine, reason, hint)
            self._expected[for_16_bits] = engine
        return self._expected[for_16_bits]

    def _first_that_opens(self, engines: Sequence[Engine]) -> Engine:
        """Return the first engine that opens the network; raise the first error where none does."""
        errors = []
        for engine in engines:
            try:
                self._runner(engine)
            except UsageError as error:
                log.info("%s is not used: %s", engine, error)
                errors.append(error)
            else:
                return engine
        raise errors[0]

    def _check_runs(self, engine: Engine, image: ImageArray) -> None:
        """Refuse the only engine asked for where it does not run the network in its format."""
        try:
            self._try(engine, image)
        except RuntimeError as error:
            log.info("%s does not run by %s: %s", self.model.name, engine, error)
            raise UsageError(
                f"{self.model.name}: a {self.model.architecture} does not work in {engine.precision}; "
                "take fp32"
            ) from None

    def _runner(self, engine: Engine) -> Runner:
        if engine not in self._runners:
            self._runners[engine] = Runner(self.model, engine, self.device, tta=self.tta)
        return self._runners[engine]

    def _try(self, engine: Engine, image: ImageArray) -> Planes:
        """Return the output for the middle of `image`."""
        top, left = (max(side - TRIAL_PX, 0) // 2 for side in image.shape[:2])
        return self._runner(engine)(to_planes(image[top : top + TRIAL_PX, left : left + TRIAL_PX]))


def device_of(number: int) -> str:
    """Return the GPU of this number modulo the number of GPUs, or the CPU where there is none."""
    if not may_have_gpu():
        return "cpu"
    import torch

    return f"cuda:{number % torch.cuda.device_count()}" if torch.cuda.is_available() else "cpu"


def device_named(name: "torch.device | str") -> str:
    """Return the name of a device of torch.

    Raises:
        UsageError: there is no such device on this machine.
    """
    if name == "cpu":
        return name
    import torch

    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError, TypeError) as error:
        gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
        raise UsageError(
            f"device: expected cpu, or cuda or cuda:N where torch has CUDA GPUs ({gpus} here); got '{name}'"
        ) from error
    return "cpu" if device.type == "cpu" else str(device)


def check_scale(scale: float | None) -> None:
    """Refuse a scale of the results that is not a number from 1 to 32.

    Raises:
        UsageError: it is not.
    """
    if scale is not None and not (isinstance(scale, Real) and 1 <= scale <= MAX_SCALE):
        raise UsageError(f"scale: expected a number from 1 to {MAX_SCALE}; got {scale!r}")


def size_at(side: int, scale: float) -> int:
    """Return the length in pixels of a side `scale` times as long, rounded half up, at least 1.

    Example:
        >>> size_at(5, 1.5), size_at(1, 1.2)
        (8, 1)
    """
    return max(math.floor(side * scale + 0.5), 1)


def _check_fits(image: ImageArray, size: Sequence[int]) -> None:
    """Refuse a result that would not fit into the memory, before the work."""
    needed, free = math.prod(size) * image[0, 0].nbytes, free_bytes()
    if needed > free:
        raise ImageError(
            f"upscale: the result, {size[1]} x {size[0]} pixels, takes {needed / 1e9:.1f} GB of memory, "
            f"and {free / 1e9:.1f} GB are free; cut the image or take a smaller scale"
        )

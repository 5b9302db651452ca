"""The class behind `srcx.upscale`, `srcx upscale` and `srcx benchmark`: upscales images by one model."""

import logging
import math
import os
import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple, overload

import torch
from torch import Tensor

from srcx.errors import ImageError, UsageError
from srcx.hardware import free_bytes
from srcx.imaging import ImageArray, to_tensor
from srcx.inference.alpha import upscale_with_alpha
from srcx.inference.autotune import (
    Precision,
    cache_engine,
    cached_engine,
    check_precision,
    engines_for,
    fastest,
)
from srcx.inference.backends import Engine, find_backend
from srcx.inference.kinds import Kind, take
from srcx.inference.models import Model
from srcx.inference.runner import NotFiniteError, Runner
from srcx.inference.tiling import upscale_by_bicubic
from srcx.progress import OnProgress, no_progress

__all__ = ["Choice", "Tile", "Upscaler", "check_scale", "device_of"]

Tile = int | Literal["auto"]

MIN_TILE_PX = 16
MAX_SCALE = 32
TRIAL_PX = 96
MIN_MEASURED_PX = 128
"""Smaller images are upscaled in less time than it takes to open another backend."""
MANY_SMALL_PX = 16 * MIN_MEASURED_PX**2
"""From so many pixels of smaller images on, it is worth it."""

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
            fp32. For "int8" the model needs its 8-bit file, and OpenVINO runs it.
        device: Where the network runs: "cpu", "cuda", "cuda:1" ...; None takes CUDA if it is there.
        scale: Factor of the results, 1 to 32, whole or not. Where it differs from the model's, the results of
            the model are resampled by bicubic. None takes the model's.
        tta: Whether to return the mean over the eight rotations and reflections of the image: 8 times the
            work.
        backend: The name of one of `BACKENDS`, or "auto" for the fastest.

    Where there is a choice, the fastest is measured once per machine and model, among those whose output is
    within 50 dB of that of torch in fp32. It is measured on the middle of the first image that is not small
    (below 128 pixels), or that comes after many small ones.

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
        device: torch.device | str | None = None,
        scale: float | None = None,
        tta: bool = False,
        backend: str = "auto",
    ) -> None:
        if not isinstance(model, Model):
            raise UsageError(
                f"Upscaler: expected a Model, as find_model returns it; got {type(model).__name__}: "
                "load_model takes a name or a path"
            )
        check_scale(scale)
        if not isinstance(tta, bool):
            raise UsageError(f"tta: expected True or False; got {tta!r}")
        if tile != "auto" and not (isinstance(tile, int) and (tile == 0 or tile >= MIN_TILE_PX)):
            raise UsageError(f"tile: expected auto, 0 or at least {MIN_TILE_PX} pixels; got {tile!r}")
        check_precision(precision, model)
        self.model, self.tile, self.precision, self.tta, self.backend = model, tile, precision, tta, backend
        self.device = device_of(0) if device is None else device_named(device)
        self.scale = model.scale if scale is None else scale
        if model.net and self.scale != model.scale:
            log.warning(
                "%s upscales by %d; its results are resampled to x%g, bicubic", model.name, model.scale, scale
            )
        self.engine: Engine | None = None
        """The engine for 8-bit images, once it is chosen."""
        self._small_px = 0
        self._runners: dict[Engine, Runner] = {}
        self._choosing = threading.Lock()
        # Everything that is missing is an error before the first image.
        if backend != "auto":
            chosen = find_backend(backend)
            if model.net:
                chosen.load()
                self._engines()
        if model.net and precision == "int8":
            for engine in self._engines():
                self._runner(engine)

    def with_model(self, model: Model) -> "Upscaler":
        """Return an upscaler of the same settings by another model."""
        return Upscaler(model, **self._settings())

    def _settings(self) -> dict[str, Any]:
        names = ("tile", "precision", "device", "scale", "tta", "backend")
        return {name: getattr(self, name) for name in names}

    def __reduce__(self) -> tuple[Any, ...]:
        # Open networks of other programs and locks cannot be pickled.
        return partial(type(self), **self._settings()), (self.model,)

    def __repr__(self) -> str:
        settings = {**self._settings(), "device": str(self.device)}
        settings |= {"engine": str(self.engine)} if self.engine else {}
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
        by_model, by_result = self.model.scale if self.model.net else self.scale, self.scale
        native, wanted = (
            [size_at(side, scale) for side in image.shape[:2]] for scale in (by_model, by_result)
        )
        _check_fits(image, max(native, wanted))
        upscale = partial(self._by_network if self.model.net else upscale_by_bicubic, on_progress=on_progress)
        return upscale_with_alpha(image, upscale, (native[0], native[1]), (wanted[0], wanted[1]))

    def prepare(self, image: ImageArray) -> None:
        """Choose the engine, if the image is large enough to measure it on; the first time is slow."""
        if self.model.net and min(image.shape[:2]) >= MIN_MEASURED_PX:
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
        if self.model.net is None:
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

    def _runner_for(self, image: ImageArray) -> Runner:
        if image.dtype.itemsize == 2 and self.precision == "auto":
            return self._runner(self._engines()[0])
        if self.engine is None:
            self.engine = self._chosen(image)
        return self._runner(self.engine or self._engines()[0])

    def _engines(self) -> list[Engine]:
        return engines_for(self.model, self.device, backend=self.backend, precision=self.precision)

    def _chosen(self, image: ImageArray) -> Engine | None:
        """Return the fastest engine, or None while images are too small and few to measure it."""
        engines = self._engines()
        if len(engines) == 1:
            if engines[0].precision != "fp32":
                try:
                    self._try(engines[0], image)
                except RuntimeError as error:
                    log.info("%s does not run by %s: %s", self.model.name, engines[0], error)
                    raise UsageError(
                        f"{self.model.name}: a {self.model.architecture} does not work in "
                        f"{engines[0].precision}; take fp32"
                    ) from None
            return engines[0]
        if min(image.shape[:2]) < MIN_MEASURED_PX:
            self._small_px += math.prod(image.shape[:2])
            if self._small_px < MANY_SMALL_PX:
                return None
        engine = cached_engine(self.model, engines)
        if engine is None:
            if min(image.shape[:2]) < TRIAL_PX:
                return None  # the cache would hold for larger images what was measured on a smaller one
            names = ", ".join(map(str, engines))
            log.warning(
                "first use of %s on this machine: measuring once which engine is fastest: %s",
                self.model.name,
                names,
            )
            engine = fastest(engines, lambda engine: self._try(engine, image))
            self._runners = {one: runner for one, runner in self._runners.items() if one == engine}
            log.warning("%s: %s is the fastest and is used from now on", self.model.name, engine)
            cache_engine(self.model, engines, engine)
        return engine

    def _runner(self, engine: Engine) -> Runner:
        if engine not in self._runners:
            self._runners[engine] = Runner(self.model, engine, self.device, tta=self.tta)
        return self._runners[engine]

    @torch.inference_mode()
    def _try(self, engine: Engine, image: ImageArray) -> Tensor:
        """Return the output for the middle of `image`; only the last engine tried stays open."""
        if engine not in self._runners:
            self._runners.clear()
        top, left = (max(side - TRIAL_PX, 0) // 2 for side in image.shape[:2])
        return self._runner(engine)(to_tensor(image[top : top + TRIAL_PX, left : left + TRIAL_PX]))


def device_of(number: int) -> torch.device:
    """Return the GPU of this number modulo the number of GPUs, or the CPU where there is none."""
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
    """Refuse a scale of the results that is not a number from 1 to 32.

    Raises:
        UsageError: it is not.
    """
    if scale is not None and not (isinstance(scale, int | float) and 1 <= scale <= MAX_SCALE):
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

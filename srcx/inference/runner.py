"""A network that an engine has opened: runs arrays of any size, in tiles as large as the memory allows."""

import logging
import math
import sys
import threading
from collections.abc import Callable
from functools import cached_property, partial
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from srcx.errors import ImageError
from srcx.hardware import free_bytes
from srcx.imaging import ImageArray
from srcx.imaging.color import GREY_WEIGHTS
from srcx.imaging.planes import Planes, to_pixels, to_planes
from srcx.inference.backends import Engine
from srcx.inference.models import Model
from srcx.inference.tiling import Tiling, run_padded, run_tiled
from srcx.progress import OnProgress, no_progress

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["NotFiniteError", "Runner", "mean_over_turns"]

MAX_TILE_BYTES = 3 << 28
"""Most memory of one tile, however much is free: less than 1 GB with what a backend allocates besides."""

STRIP_PX = (24, 160)
VISIBLE = 0.25 / 255
"""A change below this, in [0, 1], is lost in rounding."""
RADIUS_MARGIN = 1.5
"""In images the effect of a cut may go further than in the noise it is measured on."""
FADE_PX = 8
EXPORTED_CHANNELS = 64
"""Channels at the size of the result that an exported file is taken to have: it does not show its layers."""
GLOBAL_OVERLAP_PX = 32
"""Overlap for a network whose receptive field is the whole image: its tiles can only fade into each other."""
MIN_CORE_PX = 32
TURNS = tuple((transposed, flips) for transposed in (False, True) for flips in ((), (-2,), (-1,), (-2, -1)))
BYTES = {"fp32": 4, "bf16": 2, "fp16": 2, "int8": 4}
"""Of a value between two layers."""

Images = TypeVar("Images", "Tensor", Planes)
"""(N, C, H, W), of torch or NumPy."""

log = logging.getLogger(__name__)


class NotFiniteError(ImageError):
    """The output of a network has NaN or infinite values, as when half precision overflows."""


class Runner:
    """Runs a model's network on uint8 and uint16 images.

    Args:
        model: Has a network.
        engine: The backend that runs it, and in which number format.
        device: Where to run, as torch names it, if the backend runs on GPUs; otherwise it runs on the CPU.
        tta: Whether to return the mean over the image's eight rotations and reflections.

    Raises:
        UsageError: as `Backend.open`.
    """

    def __init__(self, model: Model, engine: Engine, device: str, *, tta: bool = False) -> None:
        self.model, self.engine, self.tta = model, engine, tta
        self.device = device if engine.backend.runs_on_gpu else "cpu"
        self.run = engine.backend.open(model, engine.precision, self.device)
        self._max_core_px: int | None = None
        self._measuring = threading.RLock()

    def upscale(
        self,
        image: ImageArray,
        result: ImageArray,
        *,
        core_px: int | None,
        on_progress: OnProgress = no_progress,
    ) -> None:
        """Upscale (H, W) or (H, W, 3); after an out-of-memory, go on in smaller tiles from then on.

        Args:
            image: uint8 or uint16.
            result: Becomes the upscaled image; same type and channels.
            core_px: Side of a tile in input pixels, 0 for none, None for what the free memory allows.
            on_progress: As for `run_tiled`; begins again when the tiles become smaller.

        Raises:
            ImageError: not even the smallest tile fits into the memory.
        """
        side_px = max(image.shape[:2])
        while True:
            try:
                tiling = self.tiling(image.shape[0], image.shape[1], core_px)
                side_px = min(side_px, tiling.core_px) if tiling else side_px
                return run_tiled(
                    image,
                    lambda piece: self(to_planes(piece)),
                    result,
                    tiling,
                    on_progress,
                    pixels_of=partial(to_pixels, bits=8 * image.dtype.itemsize),
                    # On a CPU both works would share the cores, and another tile the memory.
                    overlapped=self.device != "cpu",
                )
            except Exception as error:
                if not self.engine.backend.is_out_of_memory(error):
                    raise
            # After the except clause: inside, the error still holds the memory of the tile.
            side_px //= 2
            if side_px < MIN_CORE_PX // 2:
                raise ImageError(
                    "upscale: the network does not fit into the free memory; close other programs"
                )
            self._max_core_px = side_px
            log.warning("out of memory: continues in tiles of %d pixels", side_px)
            if self.device.startswith("cuda"):
                sys.modules["torch"].cuda.empty_cache()

    def __call__(self, image: Planes) -> Planes:
        """Run RGB or grey, (1, C, H, W) in [0, 1], of any size; returns the same C, in [0, 1]."""
        return mean_over_turns(self._run_once, image) if self.tta else self._run_once(image)

    def _run_once(self, image: Planes) -> Planes:
        grey, model = image.shape[1] == 1, self.model
        if model.channels == 1:
            as_images = image.swapaxes(0, 1)
        else:
            as_images = image.repeat(3, axis=1) if grey else image
        sr = run_padded(self._run_checked, as_images, model.multiple_of, model.size_px).clip(0, 1)
        if model.channels == 1:
            return sr.swapaxes(0, 1)
        return np.einsum("nchw,c->nhw", sr, np.array(GREY_WEIGHTS, np.float32))[:, None] if grey else sr

    def _run_checked(self, lq: Planes) -> Planes:
        """Run the network; check that its output has the right size and is finite."""
        sr = self.run(lq)
        expected = (len(lq), *(side * self.model.scale for side in lq.shape[-2:]))
        if (sr.shape[0], *sr.shape[2:]) != expected:
            raise ImageError(
                f"{self.engine}: expected {expected[2]} x {expected[1]} pixels, got an output of shape "
                f"{tuple(sr.shape)}; take another backend"
            )
        if not (np.isfinite(sr.min()) and np.isfinite(sr.max())):  # clamping would make white of infinity
            hint = (
                "its weights may be damaged" if self.engine.precision == "fp32" else "take --precision fp32"
            )
            raise NotFiniteError(f"{self.engine}: the network's output holds NaN or infinite numbers; {hint}")
        return sr

    def tiling(self, height: int, width: int, core_px: int | None) -> Tiling | None:
        """Return how to cut an image of this size, or None to run it whole."""
        max_px = self._max_core_px
        if max_px and (not core_px or core_px > max_px):
            core_px = max_px
        if self.model.size_px:
            side_px = min(self.model.size_px)
            if max(height, width) <= side_px:
                return None
            largest_px = side_px - 2 * self.overlap_px
            fade_px = min(self.overlap_px if self.is_global else FADE_PX, 2 * self.overlap_px)
            core_px = min(core_px or largest_px, largest_px)
            least_px = (side_px, side_px) if self.tta else self.model.size_px  # tta turns tiles
            return Tiling(core_px, self.overlap_px, fade_px, least_px=least_px)
        if core_px is None:
            pixels = min(free_bytes(self.device) // 2, MAX_TILE_BYTES) / self.bytes_per_pixel
            if height * width <= pixels:
                return None
            core_px = max(math.isqrt(int(pixels)) - 2 * self.overlap_px, MIN_CORE_PX)
        elif core_px == 0 or max(height, width) <= core_px:
            return None
        fade_px = self.overlap_px if self.is_global else FADE_PX
        return Tiling(core_px, self.overlap_px, fade_px, self.model.multiple_of)

    @property
    def is_global(self) -> bool:
        """Whether the receptive field is longer than the longest strip tried."""
        return 2 * self.radius_px >= min(STRIP_PX[1], (self.model.size_px or STRIP_PX)[1])

    @property
    def overlap_px(self) -> int:
        """Surroundings a tile needs, in input pixels."""
        radius_px = math.ceil(RADIUS_MARGIN * self.radius_px)
        needed = GLOBAL_OVERLAP_PX if self.is_global else radius_px + FADE_PX // 2
        if self.model.size_px:  # half of a tile at least is its own
            needed = min(needed, min(self.model.size_px) // 4)
        return math.ceil(needed / self.model.multiple_of) * self.model.multiple_of

    @property
    def radius_px(self) -> int:
        """Receptive-field radius in input pixels, measured once."""
        with self._measuring:
            return self._radius_px

    @property
    def bytes_per_pixel(self) -> float:
        """Memory for one input pixel, estimated from the largest input and output of a layer."""
        with self._measuring:
            if self.model.backend is not None:
                values = 2.0 * EXPORTED_CHANNELS * self.model.scale**2
            else:
                values = self.model.values_per_pixel
        return self.engine.backend.memory_factor * values * BYTES[self.engine.precision]

    @cached_property
    def _radius_px(self) -> int:
        """Largest distance at which cutting a strip of noise in half changes the output, in input pixels."""
        multiple_of, scale = self.model.multiple_of, self.model.scale
        height, width = self.model.size_px or (
            math.ceil(side / multiple_of) * multiple_of for side in STRIP_PX
        )
        half = width // 2 // multiple_of * multiple_of
        noise = np.random.default_rng(0).random((1, self.model.channels, height, width), np.float32)
        whole = self._run_once(noise)[..., half * scale :]
        if self.model.size_px:  # black in place of the left half: a smaller image would be padded
            black = np.where(np.arange(width) < half, np.float32(0), noise)
            cut = self._run_once(black)[..., half * scale :]
        else:
            cut = self._run_once(noise[..., half:])
        changed = np.flatnonzero(np.abs(whole - cut).max(axis=(0, 1, 2)) > VISIBLE)
        return math.ceil((int(changed[-1]) + 1) / scale) if len(changed) else 0


def mean_over_turns(run: Callable[[Images], Images], images: Images) -> Images:
    """Return the mean of what `run` gives for the eight rotations and reflections of (N, C, H, W).

    References:
        Timofte et al., "Seven ways to improve example-based single image super resolution", CVPR 2016,
        arXiv:1511.02228.
    """
    results = (_turned(run(_turned(images, *turn)), *turn, back=True) for turn in TURNS)
    total = next(results)
    for result in results:
        total += result
    total /= len(TURNS)
    return total


def _turned(image: Images, transposed: bool, flips: tuple[int, ...], *, back: bool = False) -> Images:
    """Return one of the eight rotations and reflections of (..., H, W), or its inverse."""
    if back:
        image = _flipped(image, flips)
    image = image.swapaxes(-2, -1) if transposed else image
    return image if back else _flipped(image, flips)


def _flipped(image: Images, axes: tuple[int, ...]) -> Images:
    return np.flip(image, axes) if isinstance(image, np.ndarray) else image.flip(axes)

"""A network in one number format on one device: runs arrays, and measures what tiling must know of it."""

import copy
import logging
import math
import threading
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from srcx import hardware
from srcx.errors import ImageError
from srcx.imaging import ImageArray, to_image, to_tensor
from srcx.imaging.color import GREY_WEIGHTS
from srcx.inference.backends import Run, Way, is_out_of_memory, opened
from srcx.inference.model import Model
from srcx.inference.precision import DTYPES
from srcx.inference.tiles import Tiling, run_tiled
from srcx.padding import run_padded
from srcx.processor import NO_VIEW, to_channels_last

__all__ = ["Runner", "free_bytes"]

BUDGET_BYTES = 3 << 28
"""Most memory one tile may take, however much is free: with what a backend holds besides, less than 1 GB."""
LIVE_COPIES = {"torch": 1.5, "nnpack": 3.0, "onnx": 1.75, "openvino": 1.5, "ncnn": 5.5}
"""Activations alive at once, in inputs plus outputs of the largest layer, as measured; ncnn pads what a layer
is given, and holds it transformed too, 36 values for 16."""

STRIP_PX = (24, 160)
FELT = 0.25 / 255
"""A change below this, in [0, 1], is lost in rounding."""
REACH_MARGIN = 1.5
"""Images may carry a cut further than the noise it was measured on."""
FADE_PX = 8
ENDLESS_OVERLAP_PX = 32
"""Overlap for a network that looks at the whole image: its tiles can only be faded into each other."""
LEAST_CORE_PX = 32
TURNS = tuple((transposed, flips) for transposed in (False, True) for flips in ((), (-2,), (-1,), (-2, -1)))

log = logging.getLogger(__name__)


class NotFiniteError(ImageError):
    """The output of a network holds NaN or infinite numbers, as where half precision overflows."""


class Runner:
    """Runs a copy of a model's network on uint8 and uint16 images.

    Args:
        model: It has to have a network.
        way: What runs it, in which number format.
        device: Where torch runs; the other backends run on the CPU.
        tta: Whether to give the mean over the image's eight turns and mirrorings.

    Raises:
        UsageError: as `opened` has it.
    """

    def __init__(self, model: Model, way: Way, device: torch.device, *, tta: bool = False) -> None:
        assert model.net is not None
        self.channels, self.scale, self.multiple_of = model.channels, model.scale, model.multiple_of
        self.tta, self.live_copies, self.way = tta, LIVE_COPIES[way.backend], way
        self.net = copy.deepcopy(model.net).eval()
        self.run: Run = self.net
        if way.backend == "torch":
            self.dtype, self.device = DTYPES[way.precision], device
            self.net.to(device=device, dtype=self.dtype)
            to_channels_last(self.net)
        else:
            self.dtype, self.device = torch.float32, torch.device("cpu")  # of what goes in
            self.run = opened(way, model)
        self.memory_format = torch.channels_last
        self._largest_core_px: int | None = None
        self._measuring = threading.RLock()

    @torch.inference_mode()
    def enlarge(self, image: ImageArray, result: ImageArray, *, core_px: int | None) -> None:
        """Enlarge (H, W) or (H, W, 3); where the memory does not suffice, in smaller tiles from then on.

        Args:
            image: uint8 or uint16.
            result: Becomes the enlarged image; same type and channels.
            core_px: Side of a tile in input pixels, 0 for none, None for what the free memory allows.

        Raises:
            ImageError: not even the smallest tile fits into the memory.
        """
        side_px = max(image.shape[:2])
        while True:
            try:
                tiling = self.tiling(image.shape[0], image.shape[1], core_px)
                side_px = min(side_px, tiling.core_px) if tiling else side_px
                return run_tiled(image, self._enlarge_piece, result, tiling)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
            # Outside the clause, whose error keeps what the tile took.
            side_px //= 2
            if side_px < LEAST_CORE_PX // 2:
                raise ImageError(
                    "upscale: the network does not fit into the free memory; close other programs"
                )
            self._largest_core_px = side_px
            log.warning("out of memory: goes on in tiles of %d pixels", side_px)
            if self.device.type == "cuda":
                torch.cuda.empty_cache()

    def __call__(self, image: Tensor) -> Tensor:
        """Run RGB or grey, (1, C, H, W) in [0, 1], of any size; gives fp32 on the CPU with the same C."""
        if not self.tta:
            return self._once(image)
        results = (_turned(self._once(_turned(image, *turn)), *turn, back=True) for turn in TURNS)
        total = next(results)
        for result in results:
            total += result
        return total / len(TURNS)

    def _once(self, image: Tensor) -> Tensor:
        as_images = image.transpose(0, 1) if self.channels == 1 else image.expand(-1, 3, -1, -1)
        sr = run_padded(self._checked, as_images, self.multiple_of).float().clamp(0, 1).cpu()
        if self.channels == 1:
            return sr.transpose(0, 1)
        return (
            torch.einsum("nchw,c->nhw", sr, torch.tensor(GREY_WEIGHTS))[:, None]
            if image.shape[1] == 1
            else sr
        )

    def _checked(self, lq: Tensor) -> Tensor:
        """Run the network and check the size of what comes out, and that it is finite."""
        lq = lq.to(self.device, self.dtype, memory_format=self.memory_format)
        try:
            sr = self.run(lq)
        except RuntimeError as error:
            if NO_VIEW not in str(error):
                raise
            self.memory_format = torch.contiguous_format
            self.net.to(memory_format=self.memory_format)
            sr = self.run(lq.contiguous())
        expected = (len(lq), *(side * self.scale for side in lq.shape[-2:]))
        if (sr.shape[0], *sr.shape[2:]) != expected:
            raise ImageError(
                f"{self.way}: expected {expected[2]} x {expected[1]} pixels, got an output of shape "
                f"{tuple(sr.shape)}; take another backend"
            )
        if not sr.isfinite().all():  # infinity would be clamped to white without a word
            hint = "its weights may be damaged" if self.way.precision == "fp32" else "take --precision fp32"
            raise NotFiniteError(f"{self.way}: the network's output holds NaN or infinite numbers; {hint}")
        return sr

    def tiling(self, height: int, width: int, core_px: int | None) -> Tiling | None:
        """How to cut an image of this size, or None to run it whole."""
        largest_px = self._largest_core_px
        if largest_px and (not core_px or core_px > largest_px):
            core_px = largest_px
        if core_px is None:
            pixels = min(free_bytes(self.device) // 2, BUDGET_BYTES) / self.bytes_per_pixel
            if height * width <= pixels:
                return None
            core_px = max(math.isqrt(int(pixels)) - 2 * self.overlap_px, LEAST_CORE_PX)
        elif core_px == 0 or max(height, width) <= core_px:
            return None
        fade_px = self.overlap_px if self.looks_at_everything else FADE_PX
        return Tiling(core_px, self.overlap_px, fade_px, self.multiple_of)

    @property
    def looks_at_everything(self) -> bool:
        """Whether no strip tried was too long for a cut to be felt at its other end."""
        return 2 * self.reach_px >= STRIP_PX[1]

    @property
    def overlap_px(self) -> int:
        """Surroundings a tile needs, in input pixels."""
        felt_px = math.ceil(REACH_MARGIN * self.reach_px)
        needed = ENDLESS_OVERLAP_PX if self.looks_at_everything else felt_px + FADE_PX // 2
        return math.ceil(needed / self.multiple_of) * self.multiple_of

    @property
    def reach_px(self) -> int:
        """Receptive-field radius in input pixels, measured once."""
        with self._measuring:
            return self._reach_px

    @property
    def bytes_per_pixel(self) -> float:
        """Memory for one input pixel, measured once."""
        with self._measuring:
            return self._bytes_per_pixel

    @cached_property
    @torch.inference_mode()
    def _reach_px(self) -> int:
        """How far inwards a cut is felt, in input pixels: a strip of noise is run whole and cut in half."""
        height, width = (math.ceil(side / self.multiple_of) * self.multiple_of for side in STRIP_PX)
        half = width // 2 // self.multiple_of * self.multiple_of
        noise = torch.rand(1, self.channels, height, width, generator=torch.Generator().manual_seed(0))
        difference = self._once(noise)[..., half * self.scale :] - self._once(noise[..., half:])
        felt = (difference.abs().amax(dim=(0, 1, 2)) > FELT).nonzero()
        return math.ceil((int(felt[-1]) + 1) / self.scale) if len(felt) else 0

    @cached_property
    @torch.inference_mode()
    def _bytes_per_pixel(self) -> float:
        """Memory for one input pixel, judged by the largest input and output of a layer."""
        largest = 1

        def note(_layer: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            nonlocal largest
            tensors = [one for one in (*inputs, output) if isinstance(one, Tensor)]
            largest = max(largest, sum(one.numel() * one.element_size() for one in tensors))

        layers = [module for module in self.net.modules() if not list(module.children())]
        hooks = [layer.register_forward_hook(note) for layer in layers]
        side = math.ceil(16 / self.multiple_of) * self.multiple_of
        try:
            self.net(torch.zeros(1, self.channels, side, side, device=self.device, dtype=self.dtype))
        finally:
            for hook in hooks:
                hook.remove()
        return self.live_copies * largest / side**2

    def _enlarge_piece(self, piece: ImageArray) -> ImageArray:
        return to_image(self(to_tensor(piece)), bits=8 * piece.dtype.itemsize)


def _turned(image: Tensor, transposed: bool, flips: tuple[int, ...], *, back: bool = False) -> Tensor:
    """One of the eight turns and mirrorings of (..., H, W), or what undoes it."""
    if back:
        image = image.flip(flips)
    image = image.transpose(-2, -1) if transposed else image
    return image if back else image.flip(flips)


def free_bytes(device: torch.device) -> int:
    """Return the memory that can be had on this device."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else hardware.free_bytes()

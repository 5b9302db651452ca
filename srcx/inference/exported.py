"""Models that another program exported: what their files do not say is found by running them."""

import hashlib
import logging
from functools import partial
from pathlib import Path

import numpy as np

from srcx.errors import CheckpointError, SrcxError
from srcx.imaging.planes import Planes
from srcx.inference.backends import BACKENDS, Backend, OpenedFile
from srcx.inference.backends.base import not_opened
from srcx.inference.models import Model
from srcx.inference.tiling import MISFIT, MULTIPLES, NoSizeError, find_multiple, probe_side

__all__ = ["ExportedNet", "exported_model", "input_of", "is_exported"]

RGB = (0.8, 0.5, 0.2)
"""A colour that tells the orders of channels apart. A network gives it back where the image is flat."""
NEAR = 0.1
FLAT_PX = 64

log = logging.getLogger(__name__)


class ExportedNet:
    """An exported file as a network: RGB or grey in [0, 1], (N, channels, H, W), to (N, channels, sH, sW).

    Args:
        opened: The file.
        backend: The program that runs it.
        channels: Channels of its images.
        channel_axis: 1 for (N, C, H, W), 3 for (N, H, W, C).
    """

    def __init__(self, opened: OpenedFile, backend: Backend, channels: int, channel_axis: int) -> None:
        self.run, self.backend = opened.run, backend
        self.channels, self.channel_axis = channels, channel_axis
        self.one_by_one = opened.shape[0] is not None
        self.swaps_red_and_blue = False

    def __call__(self, lq: Planes) -> Planes:
        parts = np.split(lq, len(lq)) if self.one_by_one else [lq]
        try:
            results = [
                self.run(np.ascontiguousarray(np.moveaxis(part, 1, self.channel_axis))) for part in parts
            ]
        except Exception as error:
            if self.backend.is_out_of_memory(error):
                raise
            raise RuntimeError(str(error).strip().partition("\n")[0]) from error
        sr = np.concatenate(results)
        if sr.ndim != 4 or sr.shape[self.channel_axis] != self.channels:
            raise ValueError(f"it makes an output of shape {sr.shape} of images {lq.shape}")
        sr = np.moveaxis(sr, self.channel_axis, 1)
        return sr[:, ::-1] if self.swaps_red_and_blue else sr


def is_exported(path: Path) -> bool:
    """Return whether a file has the suffix of those that a backend opens.

    Example:
        >>> is_exported(Path("mine.onnx")), is_exported(Path("mine.pth"))
        (True, False)
    """
    return path.suffix.lower() in {backend.suffix for backend in BACKENDS if backend.suffix}


def input_of(model: Model) -> str:
    """Return the images that a network takes, in words: "RGB, any height and width"."""
    colours = "RGB" if model.channels == 3 else "grey"
    if model.size_px:
        return f"{colours}, {model.size_px[1]} x {model.size_px[0]} pixels; larger images in tiles"
    return f"{colours}, " + (
        f"height and width multiples of {model.multiple_of}"
        if model.multiple_of > 1
        else "any height and width"
    )


def exported_model(path: Path) -> Model:
    """Open an exported file and find out by trial what it takes and makes.

    The order of the axes and the channels come from the shape of its input where that says so, else the
    first of (N, 3, H, W), (N, 1, H, W), (N, H, W, 3) and (N, H, W, 1) is taken that it runs on. Values are
    taken to be in [0, 1]. The scale is found from the size of the output, and the multiples of height and
    width as `size_multiple` finds them. A file for one size, declared or not, runs in tiles of that size. If
    it gives a flat colour back with red and blue exchanged, they are exchanged again.

    Args:
        path: A file with the `suffix` of a backend.

    Raises:
        CheckpointError: the file is missing or damaged, or makes no image from an image.
        UsageError: the program that runs it is not installed.
    """
    backend = next(one for one in BACKENDS if one.suffix == path.suffix.lower())
    if not path.is_file():
        raise CheckpointError(f"{path}: there is no such file; check the path")
    backend.load()
    try:
        opened = backend.open_exported(path)
    except SrcxError:
        raise
    except Exception as error:
        if backend.is_out_of_memory(error):
            raise CheckpointError(
                f"{path}: the memory does not suffice to open it; close other programs"
            ) from error
        raise not_opened(path, backend.name) from error
    net, size_px, multiple_of, scale = _probed(path, backend, opened)
    _find_channel_order(path, net, size_px or (FLAT_PX, FLAT_PX))
    model_files = (path, path.with_suffix(".bin"))  # weights of OpenVINO and ncnn
    digest = hashlib.sha256(b"".join(one.read_bytes() for one in model_files if one.is_file()))
    return Model(
        path.stem,
        scale,
        f"file for {backend.name}",
        digest.hexdigest(),
        path,
        channels=net.channels,
        multiple_of=multiple_of,
        precisions=frozenset({"fp32"}),
        size_px=size_px,
        backend=backend.name,
        run=net,
    )


def _probed(
    path: Path, backend: Backend, opened: OpenedFile
) -> tuple[ExportedNet, tuple[int, int] | None, int, int]:
    """Return the network, the only size it takes, the multiple of the sizes it takes, and the scale.

    Raises:
        CheckpointError: it runs on no order of axes and no size tried.
    """
    reason = f"its input has the shape {opened.shape}"
    for channels, axis in _layouts(opened.shape):
        net = ExportedNet(opened, backend, channels, axis)
        height, width = (opened.shape[side] for side in ((2, 3) if axis == 1 else (1, 2)))
        try:
            if height is None and width is None:
                multiple_of, scale = find_multiple(partial(_output_of, net), MULTIPLES)
                side = probe_side(multiple_of, MULTIPLES)
                if _takes_more(net, side, multiple_of):
                    return net, None, multiple_of, scale
                return net, (side, side), 1, scale
            size_px = (height or width or 0, width or height or 0)
            found = _output_of(net, *size_px)
            scale = found[0] // size_px[0]
            if scale and found == (scale * size_px[0], scale * size_px[1]):
                return net, size_px, 1, scale
            reason = f"it makes {found[1]} x {found[0]} pixels of {size_px[1]} x {size_px[0]}"
        except (NoSizeError, *MISFIT) as error:
            reason = str(error)
    raise CheckpointError(
        f"{path}: cannot be used to upscale ({reason}); expected one that takes images (N, C, H, W) or "
        "(N, H, W, C) of 1 or 3 channels and makes them a whole factor larger"
    )


def _output_of(net: ExportedNet, height: int, width: int | None = None) -> tuple[int, int]:
    """Run a network on black; return height and width of its output."""
    black = np.zeros((1, net.channels, height, height if width is None else width), np.float32)
    found = net(black).shape
    return found[2], found[3]


def _layouts(shape: tuple[int | None, ...]) -> list[tuple[int, int]]:
    """Return the channels, with their axis, that an input of this shape may have.

    Example:
        >>> _layouts((1, 256, 256, 3)), _layouts((None, 1, None, None))
        ([(3, 3)], [(1, 1)])
    """
    if len(shape) != 4:
        return []
    possible = [(channels, axis) for axis in (1, 3) for channels in (3, 1)]
    said = [(channels, axis) for channels, axis in possible if shape[axis] == channels]
    return said[:1] or [(channels, axis) for channels, axis in possible if shape[axis] is None]


def _takes_more(net: ExportedNet, side: int, multiple_of: int) -> bool:
    """Return whether a network takes other sizes than a square of this side.

    The sizes may be free by declaration alone: tracing makes a number of each that Python computes with.
    """
    try:
        _output_of(net, side + multiple_of, side + 2 * multiple_of)
    except MISFIT:
        return False
    return True


def _find_channel_order(path: Path, net: ExportedNet, size_px: tuple[int, int]) -> None:
    if net.channels == 1:
        return
    colour = np.array(RGB, np.float32)
    sr = net(np.broadcast_to(colour[:, None, None], (1, 3, *size_px)))
    height, width = sr.shape[2:]
    found = sr[0, :, height // 4 : -height // 4, width // 4 : -width // 4].mean((1, 2))
    same, swapped = (float(np.abs(found - one).max()) for one in (colour, colour[::-1]))
    net.swaps_red_and_blue = swapped < NEAR < same
    if min(same, swapped) > NEAR:
        log.warning(
            "%s: makes (%.2f, %.2f, %.2f) of the flat colour (%.1f, %.1f, %.1f); "
            "its values may not be RGB in [0, 1]",
            path, *found.tolist(), *RGB,
        )  # fmt: skip

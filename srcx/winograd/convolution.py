"""3 x 3 convolutions by Winograd's method in training on the CPU, where that is faster than torch's.

kernel.cpp beside this file is compiled at its first use, which needs a C++ compiler, takes some seconds, and
leaves a library in the user's cache. Without a compiler, or on another processor than x86 with AVX2, all
convolutions stay torch's, and the log of the run says why.
"""

import ctypes
import hashlib
import logging
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from srcx.atomic import atomic_path, make_folder
from srcx.errors import OutputError, UsageError
from srcx.weights.published import cache_folder

__all__ = [
    "BY_TORCH",
    "Convolution",
    "Way",
    "choose",
    "compiled",
    "convolutions",
    "kernel",
    "largest_error",
    "measured_gain",
    "winograd",
]

Way = Literal["torch", "winograd"]
Convolve = Callable[[Tensor, Tensor, Tensor | None], Tensor]

logger = logging.getLogger(__name__)

CHANNELS = 64
"""The kernel takes multiples of so many channels."""
MIN_PIXELS = 4096
"""With fewer pixels in a batch, transforming the weights takes as long as the products it saves."""
MAX_WASTE = 1.5
"""Largest ratio of the pixels of all 4 x 4 tiles to those of the maps: 6 x 6 maps would need 64 for 36."""
MAX_TRAINED = 2**16
"""Largest product of the numbers of channels for a gradient of the weights: each thread sums 36 times it."""
MIN_GAIN = 1.1
"""The kernel must be this much faster than torch to be worth another rounding."""
MAX_ERROR = 1e-5
"""Of the largest value; the kernel is compared with torch before its first use."""
TIMED_RUNS = 4
COMPILERS = ("c++", "g++", "clang++")
FLAGS = ("-O3", "-std=c++17", "-fno-math-errno", "-fopenmp", "-shared", "-fPIC")
FLAGS_OF = {"AVX2": ("-mavx2", "-mfma"), "AVX512": ("-mavx512f", "-mfma")}
"""By torch's name of what the processor can do."""

# Lavin and Gray's G, which brings 3 weights to 6 places, in both directions: (36, 9).
G = torch.tensor([[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]]) / 24
PLACES = torch.kron(G, G)


class Convolution(NamedTuple):
    """The way a run computes its 3 x 3 convolutions, and why."""

    way: Way
    reason: str
    asked: bool = False
    """Whether the options name this way, so that a resumed run takes it too."""

    def continued(self, before: Way) -> "Convolution":
        """Return the way of a run that was trained in the way `before` so far: the same, if possible."""
        if before == self.way:
            return self
        now = f"the convolutions of this run were {before}'s and are now {self.way}'s"
        if self.asked:
            logger.warning("%s, %s: its numbers will differ by rounding", now, self.reason)
            return self
        try:
            if before == "winograd":
                kernel()
        except UsageError as error:
            logger.warning("%s: its numbers will differ by rounding: %s", now, error)
            return self
        return Convolution(before, "as this run had them before")


BY_TORCH = Convolution("torch", "no other way was chosen")


def choose(asked: Literal["auto", "torch", "winograd"], nets: Iterable[nn.Module]) -> Convolution:
    """Choose how to compute the convolutions of networks that are trained on the CPU in fp32.

    Args:
        asked: "auto" takes the kernel where it runs and is faster, which is measured.
        nets: The networks; if no layer of theirs is for the kernel, nothing is compiled or measured.

    Raises:
        UsageError: "winograd" is asked for and cannot be had.
    """
    if asked == "torch":
        return Convolution("torch", "as the options say", asked=True)
    if asked == "auto" and not any(_could_take(layer) for net in nets for layer in net.modules()):
        return Convolution("torch", "no layer of these networks is for the Winograd kernel")
    try:
        gain = measured_gain()
    except UsageError as error:
        if asked == "winograd":
            raise
        return Convolution("torch", str(error))
    if asked == "auto" and gain < MIN_GAIN:
        return Convolution("torch", f"the Winograd kernel has only {gain:.2f} times their speed here")
    said = f"{gain:.1f} times as fast as torch's here (measured with {CHANNELS} channels)"
    return Convolution("winograd", said, asked=asked == "winograd")


def convolutions(way: Way) -> AbstractContextManager[object]:
    """Compute the convolutions inside the block in this way; those that the kernel does not take by torch."""
    return _ByKernel() if way == "winograd" else nullcontext()


def winograd(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return conv2d(x, weight, bias, padding=1) of 3 x 3 weights, by Winograd's F(4x4, 3x3).

    Args:
        x: (N, C, H, W), float32 on the CPU; C a multiple of 64. Best in channels-last order.
        weight: (K, C, 3, 3); K a multiple of 64.
        bias: (K,).

    Returns:
        (N, K, H, W) in channels-last order, within 1e-5 of the largest value.

    References:
        Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016, arXiv:1509.09308.
        The gradient of the weights takes the transposed transforms, so that it is by F(4x4, 3x3) too.
    """
    if torch.is_grad_enabled() and any(one is not None and one.requires_grad for one in (x, weight, bias)):
        return _Winograd.apply(x, weight, bias)
    return _convolve(x, weight, bias)


@cache
def kernel() -> ctypes.CDLL:
    """Return the compiled kernel, whose results were compared with torch's.

    Raises:
        UsageError: it cannot be had, with the reason.
    """
    flags = FLAGS_OF.get(torch.backends.cpu.get_cpu_capability())
    if flags is None:
        raise UsageError("the Winograd kernel needs an x86 processor with AVX2")
    library = compiled(flags)
    if not (error := largest_error(library)) <= MAX_ERROR:
        raise UsageError(
            f"the compiled Winograd kernel is off by {error:.1e} of the largest value, more than "
            f"{MAX_ERROR:.0e}; please report this with the name of the compiler and of the processor"
        )
    return library


def compiled(flags: Sequence[str]) -> ctypes.CDLL:
    """Return the kernel compiled with these flags for a processor, from the user's cache if it is there.

    Raises:
        UsageError: there is no compiler, or it fails.
    """
    source = Path(__file__).with_name("kernel.cpp")
    arguments = [*FLAGS, *flags]
    key = hashlib.sha256(source.read_bytes() + " ".join(arguments).encode()).hexdigest()[:16]
    try:
        path = cache_folder().parent / "kernels" / f"winograd-{key}.so"
        if not path.exists():
            make_folder(path.parent)
            with atomic_path(path) as temporary:
                _compile([*arguments, str(source), "-o", str(temporary)])
        library = ctypes.CDLL(str(path))
    except (OSError, OutputError) as error:
        raise UsageError(f"the Winograd kernel cannot be stored or loaded: {error}") from error
    sizes = (*[ctypes.c_int64] * 5, ctypes.c_int)
    library.srcx_convolve.argtypes = (*[ctypes.c_void_p] * 4, *sizes)
    library.srcx_weight_gradient.argtypes = (*[ctypes.c_void_p] * 3, *sizes)
    library.srcx_convolve.restype = library.srcx_weight_gradient.restype = None
    return library


def _compile(arguments: Sequence[str]) -> None:
    wanted = os.environ.get("CXX")
    found = next((path for name in ([wanted] if wanted else COMPILERS) if (path := shutil.which(name))), None)
    if found is None:
        named = (
            f"{wanted}, which CXX names, is not there"
            if wanted
            else f"none of {', '.join(COMPILERS)} is there"
        )
        raise UsageError(
            f"the Winograd kernel needs a C++ compiler, and {named}; install g++ for faster training"
        )
    done = subprocess.run([found, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        said = next((line for line in done.stderr.splitlines() if "error" in line), done.stderr.strip())
        raise UsageError(f"the Winograd kernel cannot be compiled by {found}: {said[:300]}")


def largest_error(library: ctypes.CDLL) -> float:
    """Return the largest difference to torch in output and gradients, as a share of the largest value.

    The maps are no whole number of tiles, and the numbers of channels differ.
    """
    draw = torch.Generator().manual_seed(0)  # the run's own generator stays as it is
    x, weight = (torch.randn(size, generator=draw) for size in ((2, 64, 13, 9), (128, 64, 3, 3)))
    bias, of_y = (torch.randn(size, generator=draw) for size in ((128,), (2, 128, 13, 9)))
    of_x = _gradient_of_input(weight, of_y, library)
    ours = [_convolve(x, weight, bias, library), of_x, _gradient_of_weight(x, of_y, library)]
    leaves = [x.requires_grad_(), weight.requires_grad_()]
    with torch.enable_grad():
        y = functional.conv2d(x, weight, bias, padding=1)
        theirs = [y.detach(), *torch.autograd.grad(y, leaves, of_y)]
    return max(
        float((one - other).abs().max() / other.abs().max()) for one, other in zip(ours, theirs, strict=True)
    )


@cache
def measured_gain() -> float:
    """Return torch's time for a convolution, forward and backward, over the kernel's; takes half a second.

    Raises:
        UsageError: there is no kernel.
    """
    kernel()
    by_torch, ours = (lambda x, weight, bias: functional.conv2d(x, weight, bias, padding=1)), winograd
    times_s: dict[Convolve, list[float]] = {by_torch: [], ours: []}
    for _ in range(1 + TIMED_RUNS):  # in turn, so that what else the machine does meets both
        for convolve, taken_s in times_s.items():
            taken_s.append(_step_s(convolve))
    return min(times_s[by_torch][1:]) / min(times_s[ours][1:])


@torch.enable_grad()
def _step_s(convolve: Convolve) -> float:
    """Time forward and backward of a convolution as in the shipped networks, of 64 channels."""
    x = torch.ones(4, CHANNELS, 48, 48).to(memory_format=torch.channels_last).requires_grad_()
    weight = torch.ones(CHANNELS, CHANNELS, 3, 3).to(memory_format=torch.channels_last).requires_grad_()
    start = time.perf_counter()
    convolve(x, weight, None).backward(torch.ones_like(x))
    return time.perf_counter() - start


class _ByKernel(TorchFunctionMode):
    """Inside its block, the kernel computes every convolution that it takes."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is functional.conv2d and (taken := _taken(*args, **(kwargs or {}))):
            return winograd(*taken)
        return func(*args, **(kwargs or {}))


def _taken(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> tuple[Tensor, Tensor, Tensor | None] | None:
    """Return what the kernel needs of conv2d's arguments, or None where torch is the better one."""
    takes = (
        _fits(weight.shape, stride, padding, dilation, groups)
        and input.dtype == weight.dtype == torch.float32
        and input.device.type == "cpu"
        and input.ndim == 4
        and not torch.is_autocast_enabled("cpu")
    )
    if not takes:
        return None
    n, c, height, width = input.shape
    pixels, tiled = n * height * width, 16 * n * -(-height // 4) * -(-width // 4)
    pays = pixels >= MIN_PIXELS and tiled <= MAX_WASTE * pixels
    bounded = c * len(weight) <= MAX_TRAINED or not weight.requires_grad
    return (input, weight, bias) if pays and bounded else None


def _could_take(layer: nn.Module) -> bool:
    return (
        isinstance(layer, nn.Conv2d)
        and layer.padding_mode == "zeros"
        and _fits(layer.weight.shape, layer.stride, layer.padding, layer.dilation, layer.groups)
    )


def _fits(shape: Sequence[int], stride: Any, padding: Any, dilation: Any, groups: int) -> bool:
    return (
        tuple(shape[2:]) == (3, 3)
        and shape[0] % CHANNELS == shape[1] % CHANNELS == 0
        and groups == 1
        and all(given in (1, (1, 1), [1, 1]) for given in (stride, padding, dilation))
    )


class _Winograd(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _convolve(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *of_outputs: Tensor) -> tuple[Tensor | None, ...]:
        (x, weight), (of_y,), needed = ctx.saved_tensors, of_outputs, ctx.needs_input_grad
        if torch.is_grad_enabled():  # for a second derivative, as in R1, which torch's own gradient has
            channels = [len(weight)] if needed[2] else None
            geometry = ([1, 1], [1, 1], [1, 1], False, [0, 0], 1)
            return torch.ops.aten.convolution_backward(of_y, x, weight, channels, *geometry, list(needed))
        return (
            _gradient_of_input(weight, of_y, kernel()) if needed[0] else None,
            _gradient_of_weight(x, of_y, kernel()) if needed[1] else None,
            of_y.sum((0, 2, 3)) if needed[2] else None,
        )


def _convolve(x: Tensor, weight: Tensor, bias: Tensor | None, library: ctypes.CDLL | None = None) -> Tensor:
    """Return the convolution by the kernel, (N, K, H, W) in channels-last order."""
    (n, c, height, width), k = x.shape, len(weight)
    inner, packed = _innermost(x), _packed(weight)
    y = torch.empty((n, k, height, width), memory_format=torch.channels_last)
    offsets = bias.contiguous() if bias is not None else None
    (library or kernel()).srcx_convolve(
        inner.data_ptr(), packed.data_ptr(), None if offsets is None else offsets.data_ptr(), y.data_ptr(),
        n, height, width, c, k, torch.get_num_threads(),
    )  # fmt: skip
    return y


def _gradient_of_input(weight: Tensor, of_y: Tensor, library: ctypes.CDLL) -> Tensor:
    return _convolve(of_y, weight.flip(2, 3).transpose(0, 1), None, library)


def _gradient_of_weight(x: Tensor, of_y: Tensor, library: ctypes.CDLL) -> Tensor:
    (n, c, height, width), k, threads = x.shape, of_y.shape[1], torch.get_num_threads()
    parts = torch.zeros(threads, k // CHANNELS, c // CHANNELS, 36, CHANNELS, CHANNELS)
    inner, of_inner = _innermost(x), _innermost(of_y)
    library.srcx_weight_gradient(
        inner.data_ptr(), of_inner.data_ptr(), parts.data_ptr(), n, height, width, c, k, threads
    )
    return _unpacked(parts.sum(0))


def _innermost(maps: Tensor) -> Tensor:
    """Return (N, C, H, W) as (N, H, W, C), contiguous; free where the memory is channels-last already."""
    return maps.detach().permute(0, 2, 3, 1).contiguous()


def _packed(weight: Tensor) -> Tensor:
    """Return weights (K, C, 3, 3) transformed, as the kernel reads them: (K / 64, C / 64, 36, 64, 64)."""
    k, c = weight.shape[:2]
    places = PLACES @ weight.detach().permute(2, 3, 1, 0).reshape(9, c * k)
    groups = places.view(36, c // CHANNELS, CHANNELS, k // CHANNELS, CHANNELS)
    return groups.permute(3, 1, 0, 2, 4).contiguous()


def _unpacked(gradient: Tensor) -> Tensor:
    """Return the gradient of the weights from that of the packed ones."""
    k, c = (CHANNELS * groups for groups in gradient.shape[:2])
    places = gradient.permute(2, 1, 3, 0, 4).reshape(36, c * k)
    return (PLACES.T @ places).view(3, 3, c, k).permute(3, 2, 0, 1)

"""3 x 3 convolutions by Winograd's method in training on the CPU, where that is faster than torch's.

In a run of precision bf16 the maps are bf16, as torch has them there. Weights, products and sums stay fp32.

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
MAX_PRODUCT = 2**16
"""Largest product of the numbers of channels for a gradient of the weights: each thread sums 36 times it.
In bf16 torch is faster beyond it, also without that gradient (scripts/bench/convolution.py)."""
MIN_GAIN = 1.1
"""The kernel must be this much faster than torch to be worth another rounding."""
MAX_ERRORS = {torch.float32: 1e-5, torch.bfloat16: 4e-3}
"""Of the largest value, by the number format of the maps; bf16 itself rounds by up to 2^-8. The kernel is
compared with torch in fp32 before its first use."""
TIMED_RUNS = 4
SUFFIXES = {torch.float32: "", torch.bfloat16: "_bf16"}
"""Of the names of the kernel's functions, by the number format of the maps."""
COMPILERS = ("c++", "g++", "clang++")
FLAGS = ("-O3", "-std=c++17", "-fno-math-errno", "-fopenmp", "-shared", "-fPIC")
FLAGS_OF = {"AVX2": ("-mavx2", "-mfma"), "AVX512": ("-mavx512f", "-mfma")}
"""By torch's name of what the processor can do."""


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


def choose(
    asked: Literal["auto", "torch", "winograd"], nets: Iterable[nn.Module], dtype: torch.dtype = torch.float32
) -> Convolution:
    """Choose how to compute the convolutions of networks that are trained on the CPU.

    Args:
        asked: "auto" takes the kernel where it runs and is faster, which is measured.
        nets: The networks; if no layer of theirs is for the kernel, nothing is compiled or measured.
        dtype: The number format of the maps, fp32 or bf16.

    Raises:
        UsageError: "winograd" is asked for and cannot be had.
    """
    if asked == "torch":
        return Convolution("torch", "as the options say", asked=True)
    if asked == "auto" and not any(_could_take(layer) for net in nets for layer in net.modules()):
        return Convolution("torch", "no layer of these networks is for the Winograd kernel")
    try:
        gain = measured_gain(dtype)
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
        x: (N, C, H, W), float32 or bfloat16 on the CPU; C a multiple of 64. Best in channels-last order.
        weight: (K, C, 3, 3), float32; K a multiple of 64.
        bias: (K,), float32.

    Returns:
        (N, K, H, W) of the dtype of x in channels-last order, within 1e-5 of the largest value before the
        result is rounded to bfloat16.

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
    for dtype, limit in MAX_ERRORS.items():
        if not (error := largest_error(library, dtype)) <= limit:
            raise UsageError(
                f"the compiled Winograd kernel is off by {error:.1e} of the largest value in {dtype}, more "
                f"than {limit:.0e}; please report this with the name of the compiler and of the processor"
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
    pointer, size, count = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int
    signatures: dict[str, list[Any]] = {
        "pack": [pointer, *[size] * 4, pointer, *[size] * 2, count],
        "unpack": [*[pointer] * 2, *[size] * 6, count],
    }
    for suffix in SUFFIXES.values():
        for name in ("convolve", "weight_gradient"):
            signatures[name + suffix] = [*[pointer] * 4, *[size] * 5, count]
    for name, arguments in signatures.items():
        function = getattr(library, f"srcx_{name}")
        function.argtypes, function.restype = arguments, None
    return library


def _function(library: ctypes.CDLL, name: str, dtype: torch.dtype) -> Any:
    """Return a function of the kernel for maps of this number format."""
    return getattr(library, f"srcx_{name}{SUFFIXES[dtype]}")


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


def largest_error(library: ctypes.CDLL, dtype: torch.dtype = torch.float32) -> float:
    """Return the largest difference to torch in output and gradients, as a share of the largest value.

    The maps are no whole number of tiles, and the numbers of channels differ. Torch computes in fp32.
    """
    draw = torch.Generator().manual_seed(0)  # the run's own generator stays as it is
    x, of_y = (torch.randn(size, generator=draw).to(dtype) for size in ((2, 64, 13, 9), (2, 128, 13, 9)))
    weight, bias = (torch.randn(size, generator=draw) for size in ((128, 64, 3, 3), (128,)))
    of_x = _gradient_of_input(weight, of_y, library)
    ours = [_convolve(x, weight, bias, library), of_x, *_gradient_of_weight(x, weight, of_y, library)]
    leaves = [x.float().requires_grad_(), weight.requires_grad_(), bias.requires_grad_()]
    with torch.enable_grad():
        y = functional.conv2d(leaves[0], weight, bias, padding=1)
        theirs = [y.detach(), *torch.autograd.grad(y, leaves, of_y.float())]
    return max(
        float((one - other).abs().max() / other.abs().max()) for one, other in zip(ours, theirs, strict=True)
    )


@cache
def measured_gain(dtype: torch.dtype = torch.float32) -> float:
    """Return torch's time for a convolution, forward and backward, over the kernel's; takes half a second.

    Args:
        dtype: The number format of the maps; torch's weights have it too.

    Raises:
        UsageError: there is no kernel.
    """
    kernel()

    def by_torch(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return functional.conv2d(x, weight.to(x.dtype), bias, padding=1)

    times_s: dict[Convolve, list[float]] = {by_torch: [], winograd: []}
    for _ in range(1 + TIMED_RUNS):  # in turn, so that other load on the machine affects both
        for convolve, taken_s in times_s.items():
            taken_s.append(_step_s(convolve, dtype))
    return min(times_s[by_torch][1:]) / min(times_s[winograd][1:])


@torch.enable_grad()
def _step_s(convolve: Convolve, dtype: torch.dtype) -> float:
    """Time forward and backward of a convolution as in the shipped networks, of 64 channels."""
    x = torch.ones(8, CHANNELS, 48, 48, dtype=dtype).to(memory_format=torch.channels_last).requires_grad_()
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
            with torch.autocast("cpu", enabled=False):  # it would round the transformed weights
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
    if input.device.type != "cpu" or input.ndim != 4 or weight.dtype != torch.float32:
        return None
    dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else input.dtype
    if dtype not in SUFFIXES or not _fits(weight.shape, stride, padding, dilation, groups):
        return None
    n, c, height, width = input.shape
    pixels, tiled = n * height * width, 16 * n * -(-height // 4) * -(-width // 4)
    pays = pixels >= MIN_PIXELS and tiled <= MAX_WASTE * pixels
    bounded = c * len(weight) <= MAX_PRODUCT or (dtype == torch.float32 and not weight.requires_grad)
    return (input.to(dtype), weight, bias) if pays and bounded else None


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
            same = weight.to(x.dtype)
            return torch.ops.aten.convolution_backward(of_y, x, same, channels, *geometry, list(needed))
        of_y = of_y.contiguous(memory_format=torch.channels_last)  # once for both gradients
        of_x = _gradient_of_input(weight, of_y, kernel()) if needed[0] else None
        of_weight, of_bias = (
            _gradient_of_weight(x, weight, of_y, kernel()) if any(needed[1:]) else (None, None)
        )
        return of_x, of_weight if needed[1] else None, of_bias if needed[2] else None


def _convolve(x: Tensor, weight: Tensor, bias: Tensor | None, library: ctypes.CDLL | None = None) -> Tensor:
    """Return the convolution by the kernel, (N, K, H, W) in channels-last order."""
    library = library or kernel()
    k, c, *_ = weight.shape
    return _convolve_packed(x, _packed(weight.data_ptr(), weight.stride(), k, c, library), bias, k, library)


def _gradient_of_input(weight: Tensor, of_y: Tensor, library: ctypes.CDLL) -> Tensor:
    """Return the gradient of the input: a convolution with the weights flipped, outputs taken for inputs."""
    k, c, *_ = weight.shape
    stride_k, stride_c, stride_y, stride_x = weight.stride()
    last = weight.data_ptr() + 2 * (stride_y + stride_x) * weight.element_size()
    packed = _packed(last, (stride_c, stride_k, -stride_y, -stride_x), c, k, library)
    return _convolve_packed(of_y, packed, None, c, library)


def _convolve_packed(x: Tensor, packed: Tensor, bias: Tensor | None, k: int, library: ctypes.CDLL) -> Tensor:
    n, c, height, width = x.shape
    inner = _innermost(x)
    y = torch.empty((n, k, height, width), dtype=x.dtype, memory_format=torch.channels_last)
    offsets = bias.contiguous() if bias is not None else None
    _function(library, "convolve", x.dtype)(
        inner.data_ptr(), packed.data_ptr(), None if offsets is None else offsets.data_ptr(), y.data_ptr(),
        n, height, width, c, k, torch.get_num_threads(),
    )  # fmt: skip
    return y


def _gradient_of_weight(
    x: Tensor, weight: Tensor, of_y: Tensor, library: ctypes.CDLL
) -> tuple[Tensor, Tensor]:
    """Return the gradients of the weights, in their order of memory, and of the bias."""
    (n, c, height, width), k, threads = x.shape, of_y.shape[1], torch.get_num_threads()
    parts, bias_parts = torch.empty(threads, 36 * k * c), torch.empty(threads, k)
    inner, of_inner = _innermost(x), _innermost(of_y)
    _function(library, "weight_gradient", x.dtype)(
        inner.data_ptr(), of_inner.data_ptr(), parts.data_ptr(), bias_parts.data_ptr(),
        n, height, width, c, k, threads,
    )  # fmt: skip
    of_weight = torch.empty_like(weight)
    library.srcx_unpack(parts.data_ptr(), of_weight.data_ptr(), *of_weight.stride(), c, k, threads)
    return of_weight, bias_parts.sum(0)


def _innermost(maps: Tensor) -> Tensor:
    """Return (N, C, H, W) as (N, H, W, C), contiguous; free where the memory is channels-last already."""
    return maps.detach().permute(0, 2, 3, 1).contiguous()


def _packed(weight: int, strides: Sequence[int], k: int, c: int, library: ctypes.CDLL) -> Tensor:
    """Return weights (K, C, 3, 3) at this address, with these strides, as the kernel reads them."""
    packed = torch.empty(36 * k * c)
    library.srcx_pack(weight, *strides, packed.data_ptr(), c, k, torch.get_num_threads())
    return packed

"""Memory and cores that this process may use, and the number format and memory order that are fastest."""

import ctypes
import math
import os
import platform
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    # torch is imported where it is used alone: a small image is upscaled in less time than this takes.
    import torch
    from torch import nn

__all__ = [
    "NO_VIEW",
    "cores",
    "cudnn_benchmark",
    "fast_dtype",
    "free_bytes",
    "keep_freed_memory",
    "may_have_gpu",
    "processor",
    "threads",
    "to_channels_last",
]

CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUP = Path("/proc/self/cgroup")
CPUINFO = Path("/proc/cpuinfo")

FLAGS = frozenset({"avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8"})
"""Instructions of x86 that decide which program runs a network fastest."""
GPU_FILES = (
    Path("/dev/nvidiactl"),
    Path("/dev/nvmap"),  # Jetson
    Path("/dev/kfd"),  # AMD
    Path("/dev/dxg"),  # Linux in Windows
    Path(os.environ.get("SYSTEMROOT", "/"), "System32", "nvcuda.dll"),
)
"""Files that the drivers of GPUs that torch calls CUDA make."""

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # parameters of mallopt, from glibc's malloc.h

MIN_BF16_GAIN = 1.2
"""bf16 must be this much faster than fp32 to be worth its rounding."""
TIMED_RUNS = 4
NO_VIEW = "view size is not compatible"
"""Part of torch's error for a network that only works in channels-first order, such as IPT."""


def cores() -> int:
    """Return how many cores this process may use: the least of its affinity and its cgroups' quotas."""
    affinity = getattr(os, "sched_getaffinity", None)
    count: float = len(affinity(0)) if affinity else (os.cpu_count() or 1)
    for folder in _cgroups("cpu"):
        version_1 = _words(folder / "cpu.cfs_quota_us") + _words(folder / "cpu.cfs_period_us")
        quota = _words(folder / "cpu.max") or version_1
        if len(quota) == 2 and quota[0].isdigit() and int(quota[1]) > 0:
            count = min(count, int(quota[0]) / int(quota[1]))
    return max(math.floor(count), 1)


def threads() -> int:
    """Return how many threads a network runs on: as torch has it, also where torch is not imported.

    That is torch's own number, else OMP_NUM_THREADS, else the physical cores that this process may use.
    """
    if torch := sys.modules.get("torch"):
        return int(torch.get_num_threads())
    given = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    return int(given) if given.isdecimal() and int(given) else min(psutil.cpu_count(False) or 1, cores())


@cache
def processor() -> tuple[str, frozenset[str]]:
    """Return the processor's name, and those of `FLAGS` that it has; outside Linux torch is asked."""
    if not CPUINFO.is_file():
        import torch

        flags = frozenset(name for name, has in _torch_capabilities().items() if has)
        return f"{platform.processor()} {torch.backends.cpu.get_cpu_capability()}", FLAGS & flags
    words: dict[str, str] = {}
    for line in CPUINFO.read_text("utf-8", errors="replace").splitlines():
        name, _, value = line.partition(":")
        words.setdefault(name.strip(), value.strip())
    return words.get("model name", platform.machine()), FLAGS & set(words.get("flags", "").split())


def may_have_gpu() -> bool:
    """Return False where no driver of a CUDA GPU is installed; torch need not be asked then."""
    return any(file.exists() for file in GPU_FILES)


def free_bytes(device: "torch.device | str | None" = None) -> int:
    """Return the memory that can still be taken.

    Args:
        device: A GPU for its own memory; otherwise the least of the machine's and each cgroup's is returned.
    """
    if str(device).startswith("cuda"):
        import torch

        return torch.cuda.mem_get_info(device)[0]
    free = psutil.virtual_memory().available
    for folder in _cgroups("memory"):
        limit = _number(folder / "memory.max", folder / "memory.limit_in_bytes")
        used = _number(folder / "memory.current", folder / "memory.usage_in_bytes")
        if limit is not None and used is not None:
            # The kernel takes the memory of the page cache back when a process needs it.
            free = min(free, max(limit - used + _inactive_file(folder / "memory.stat"), 0))
    return free


def _cgroups(controller: str) -> Iterator[Path]:
    """Yield this process's cgroup and all above it, of version 2 and of version 1."""
    try:
        lines = OWN_CGROUP.read_text("utf-8", errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        root = CGROUPS / controller if controllers else CGROUPS
        own = root / path.lstrip("/")
        # In a container its own cgroup is the root, and the path does not exist.
        yield from (folder for folder in (own, *own.parents) if folder.is_relative_to(root))


def _words(file: Path) -> list[str]:
    try:
        return file.read_text("ascii").split()
    except (OSError, ValueError):
        return []


def _number(*files: Path) -> int | None:
    words = next((words for file in files if (words := _words(file))), ["max"])
    return int(words[0]) if words[0].isdigit() else None


def _inactive_file(file: Path) -> int:
    words = _words(file)
    figures = dict(zip(words[::2], words[1::2], strict=False))
    return int(figures.get("total_inactive_file") or figures.get("inactive_file") or 0)


def fast_dtype(device: "torch.device") -> "torch.dtype":
    """Return the format this device multiplies fastest: fp16 on CUDA, bf16 or fp32 on a CPU.

    The processor's flag does not suffice: of two processors with `avx512_bf16`, one multiplies bf16 three
    times as fast as fp32 and another half as fast. So where the flag is set, a convolution is timed, once in
    a process.
    """
    import torch

    if device.type == "cuda":
        return torch.float16
    if device.type != "cpu":
        return torch.float32
    flags = _torch_capabilities()
    has_bf16 = bool(flags.get("avx512_bf16") or flags.get("amx_bf16"))
    return torch.bfloat16 if has_bf16 and bf16_gain() > MIN_BF16_GAIN else torch.float32


def _torch_capabilities() -> dict[str, object]:
    import torch

    return dict(getattr(torch.cpu, "get_capabilities", dict)())  # older torch has no such function


@cache
def bf16_gain() -> float:
    """Return the time of a 3 x 3 convolution in fp32 over its time in bf16; takes a tenth of a second."""
    import torch

    times_s: dict[torch.dtype, list[float]] = {torch.float32: [], torch.bfloat16: []}
    for _ in range(TIMED_RUNS):  # in turn, so that other load on the machine affects both
        for dtype, taken_s in times_s.items():
            taken_s.append(_convolution_s(dtype))
    return min(times_s[torch.float32]) / min(times_s[torch.bfloat16])


def _convolution_s(dtype: "torch.dtype") -> float:
    """Time a convolution of 64 to 64 channels on 64 x 64 pixels, as in the bundled networks."""
    import torch

    image = torch.ones(1, 64, 64, 64, dtype=dtype).to(memory_format=torch.channels_last)
    weight = torch.ones(64, 64, 3, 3, dtype=dtype).to(memory_format=torch.channels_last)
    start = time.perf_counter()
    with torch.inference_mode():
        torch.nn.functional.conv2d(image, weight, padding=1)
    return time.perf_counter() - start


@contextmanager
def cudnn_benchmark() -> Iterator[None]:
    """Let cuDNN time its ways of each convolution inside the block and keep the fastest.

    It pays where the same shapes come again and again, as in training, but not for images of many sizes.
    """
    import torch

    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


def to_channels_last(net: "nn.Module") -> None:
    """Put the weights of 2-D convolutions in channels-last order; all others stay as they are.

    `Module.to` with this order fails on weights of five dimensions, which FFTformer and AuraSR have.
    """
    import torch

    for weight in net.parameters():
        if weight.dim() == 4:
            weight.data = weight.data.to(memory_format=torch.channels_last)


def keep_freed_memory() -> bool:
    """Let this process keep the memory it frees, up to 1 GiB a piece, instead of returning it at once.

    A training step on the CPU allocates and frees the same large tensors each time. By default glibc returns
    them to the system, which gives them out again as fresh pages, zeroed one page fault at a time: 25,000
    faults in each step of MSRResNet 64 x 16 at batch 16. The peak of memory is the same; it only stays there.

    Returns:
        Whether the C library has this setting: glibc has, the usual one of Linux.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    return bool(libc.mallopt(M_MMAP_THRESHOLD, 2**30) and libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1))

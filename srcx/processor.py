"""The number format and memory order that the processor at hand multiplies fastest."""

import time
from functools import cache

import torch
from torch import nn
from torch.nn import functional

__all__ = ["NO_VIEW", "fast_dtype", "to_channels_last"]

GAIN = 1.2
"""bf16 must be this much faster than fp32 to be worth its rounding."""
TURNS = 4
NO_VIEW = "view size is not compatible"
"""What torch says of networks that work on images with the channels first alone, such as IPT."""


def fast_dtype(device: torch.device) -> torch.dtype:
    """Return the format this device multiplies fastest: fp16 on CUDA, bf16 or fp32 on a CPU.

    A flag does not tell: of two processors with `avx512_bf16`, one multiplies bf16 three times as fast as
    fp32 and another half as fast. So a convolution is timed where the flag is set, once in a process.
    """
    if device.type == "cuda":
        return torch.float16
    if device.type != "cpu":
        return torch.float32
    # Older torch cannot tell.
    flags: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    has_bf16 = bool(flags.get("avx512_bf16") or flags.get("amx_bf16"))
    return torch.bfloat16 if has_bf16 and bf16_gain() > GAIN else torch.float32


@cache
def bf16_gain() -> float:
    """Return the time of a 3 x 3 convolution in fp32 over its time in bf16; takes a tenth of a second."""
    fp32, bf16 = (
        min(_convolution_s(dtype) for _ in range(TURNS)) for dtype in (torch.float32, torch.bfloat16)
    )
    return fp32 / bf16


@torch.inference_mode()
def _convolution_s(dtype: torch.dtype) -> float:
    """Time a convolution of 64 to 64 channels on 64 x 64 pixels, as in the shipped networks."""
    image = torch.ones(1, 64, 64, 64, dtype=dtype).to(memory_format=torch.channels_last)
    weight = torch.ones(64, 64, 3, 3, dtype=dtype).to(memory_format=torch.channels_last)
    start = time.perf_counter()
    functional.conv2d(image, weight, padding=1)
    return time.perf_counter() - start


def to_channels_last(net: nn.Module) -> None:
    """Put the weights of 2-D convolutions in channels-last order; all others stay as they are.

    `Module.to` with this order fails on weights of five dimensions, which FFTformer and AuraSR have.
    """
    for weight in net.parameters():
        if weight.dim() == 4:
            weight.data = weight.data.to(memory_format=torch.channels_last)

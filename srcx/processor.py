"""What the processor at hand multiplies fast."""

import torch

__all__ = ["fast_dtype"]


def fast_dtype(device: torch.device) -> torch.dtype:
    """The format this device multiplies fastest: fp16 on CUDA, bf16 on a CPU that has it, else fp32."""
    if device.type == "cuda":
        return torch.float16
    if device.type != "cpu":
        return torch.float32
    # Older torch cannot tell.
    flags: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return torch.bfloat16 if flags.get("avx512_bf16") or flags.get("amx_bf16") else torch.float32

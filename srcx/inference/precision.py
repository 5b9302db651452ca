"""The number format a network runs in: as asked for, or the fastest whose result stays that of fp32."""

import math
from typing import Literal, get_args

import torch
from torch import Tensor

from srcx.errors import UsageError

__all__ = ["DTYPES", "LEAST_DB", "NAMES", "Precision", "dtype_of", "likeness_db"]

Precision = Literal["auto", "fp32", "bf16", "fp16", "int8"]

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
NAMES = {dtype: name for name, dtype in DTYPES.items()}
LEAST_DB = 50.0
"""Likeness to fp32 that a faster format must keep; 50 dB is about one grey level of 255."""


def dtype_of(precision: Precision) -> torch.dtype | None:
    """The torch type of a precision; None for "auto", and for "int8", which torch does not run.

    Raises:
        UsageError: there is no such precision.
    """
    if precision not in get_args(Precision):
        raise UsageError(f"precision: expected one of {', '.join(get_args(Precision))}; got '{precision}'")
    return DTYPES.get(precision)


def likeness_db(one: Tensor, other: Tensor) -> float:
    """PSNR between two outputs in [0, 1], in dB; infinite where they are equal.

    Example:
        >>> round(likeness_db(torch.full((4,), 0.5), torch.full((4,), 0.6)), 3)
        20.0
    """
    error = float((one.float() - other.float()).square().mean())
    return -10 * math.log10(error) if error else math.inf

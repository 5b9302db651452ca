"""BasicSR's metric names and arguments, as its option files write them, in terms of srcx's metrics."""

from typing import Any, Literal

from srcx.metrics import niqe, psnr, ssim
from srcx.metrics.metric import MetricFunction, marked_as

__all__ = ["OLD_METRICS"]


@marked_as(psnr)
def calculate_psnr(
    sr: Any,
    gt: Any,
    /,
    *,
    crop_border: int,
    test_y_channel: bool = False,
    round_y: bool = True,
    input_order: Literal["HWC"] = "HWC",
) -> Any:
    """`psnr`; on Y it is MATLAB's rounded Y, and `round_y: false` gives BasicSR's number."""
    return psnr(sr, gt, y_only=test_y_channel, round_y=round_y, crop_px=crop_border)


@marked_as(ssim)
def calculate_ssim(
    sr: Any,
    gt: Any,
    /,
    *,
    crop_border: int,
    test_y_channel: bool = False,
    round_y: bool = True,
    input_order: Literal["HWC"] = "HWC",
) -> Any:
    """`ssim`; on Y it is MATLAB's rounded Y, and `round_y: false` gives BasicSR's number."""
    return ssim(sr, gt, y_only=test_y_channel, round_y=round_y, crop_px=crop_border)


@marked_as(niqe)
def calculate_niqe(
    sr: Any, /, *, crop_border: int, input_order: Literal["HWC"] = "HWC", convert_to: Literal["y"] = "y"
) -> Any:
    """`niqe`, which is always taken of Y."""
    return niqe(sr, crop_px=crop_border)


OLD_METRICS: dict[str, MetricFunction] = {
    "calculate_niqe": calculate_niqe,
    "calculate_psnr": calculate_psnr,
    "calculate_ssim": calculate_ssim,
}

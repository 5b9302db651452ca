"""BasicSR's metric names and arguments, as its option files write them, in terms of srcx's metrics."""

from collections.abc import Callable
from typing import Any, Literal, TypeVar, cast

from srcx.registry import METRICS, Metric

__all__ = ["OLD_METRICS"]

Function = TypeVar("Function", bound=Callable[..., Any])


def _speaks_for(name: str) -> Callable[[Callable[..., Any]], Metric]:
    """Give a function what srcx's metric of this name says of itself."""

    def decorate(function: Callable[..., Any]) -> Metric:
        marked = cast(Metric, function)
        marked.higher_is_better, marked.needs_gt = METRICS[name].higher_is_better, METRICS[name].needs_gt
        return marked

    return decorate


@_speaks_for("psnr")
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
    return METRICS["psnr"](sr, gt, y_only=test_y_channel, round_y=round_y, crop_px=crop_border)


@_speaks_for("ssim")
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
    return METRICS["ssim"](sr, gt, y_only=test_y_channel, round_y=round_y, crop_px=crop_border)


@_speaks_for("niqe")
def calculate_niqe(
    sr: Any, /, *, crop_border: int, input_order: Literal["HWC"] = "HWC", convert_to: Literal["y"] = "y"
) -> Any:
    """`niqe`, which is always taken of Y."""
    return METRICS["niqe"](sr, crop_px=crop_border)


OLD_METRICS: dict[str, Metric] = {
    "calculate_niqe": calculate_niqe,
    "calculate_psnr": calculate_psnr,
    "calculate_ssim": calculate_ssim,
}

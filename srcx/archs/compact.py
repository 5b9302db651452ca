"""The fast generator: plain convolutions at low resolution, interchangeable with BasicSR's network."""

from typing import Literal

from torch import Tensor, nn
from torch.nn import functional

from srcx.archs.layers import SubPixelConv, check_count
from srcx.errors import OptionsError

__all__ = ["SRVGGNetCompact"]

Activation = Literal["relu", "prelu", "leakyrelu"]


class SRVGGNetCompact(nn.Module):
    """Plain convolutions at low resolution and one pixel shuffle; it adds detail to lq's repeated pixels.

    Args:
        num_in_ch: Channels of lq.
        num_out_ch: Channels of sr: as many as lq has, or any number if lq has one.
        num_feat: Channels inside.
        num_conv: Convolutions between the first and the last.
        upscale: Scale factor s, at least 1.
        act_type: Activation after each convolution but the last: "prelu" has one slope for each channel,
            "leakyrelu" has the slope 0.1.

    Called with lq, RGB in [0, 1], (N, num_in_ch, H, W), it returns sr, (N, num_out_ch, s·H, s·W).

    Raises:
        OptionsError: the scale is below 1, a count below 0, or the activation has another name.

    References:
        Wang et al., "Real-ESRGAN", ICCVW 2021, arXiv:2107.10833, whose code has it as the small network;
        as in BasicSR 1.4.2 (Apache-2.0): same constructor, keys, outputs and random weights.
        Differs from BasicSR: under autocast the skip keeps the precision of lq.

    Example:
        >>> import torch
        >>> SRVGGNetCompact(num_feat=4, num_conv=1, upscale=2)(torch.zeros(1, 3, 5, 7)).shape
        torch.Size([1, 3, 10, 14])
    """

    def __init__(
        self,
        num_in_ch: int = 3,
        num_out_ch: int = 3,
        num_feat: int = 64,
        num_conv: int = 16,
        upscale: int = 4,
        act_type: Activation = "prelu",
    ) -> None:
        super().__init__()
        check_count("SRVGGNetCompact", "upscale", upscale, least=1)
        check_count("SRVGGNetCompact", "num_conv", num_conv)
        self.upscale = upscale
        self.body = nn.Sequential(
            nn.Conv2d(num_in_ch, num_feat, 3, padding=1), activation(act_type, num_feat)
        )
        for _ in range(num_conv):
            self.body.append(nn.Conv2d(num_feat, num_feat, 3, padding=1))
            self.body.append(activation(act_type, num_feat))
        self.body.append(SubPixelConv(num_feat, num_out_ch, upscale))

    def forward(self, lq: Tensor) -> Tensor:
        return self.body(lq) + functional.interpolate(lq, scale_factor=self.upscale, mode="nearest")


def activation(act_type: str, num_feat: int) -> nn.Module:
    """Return the activation of this name for `num_feat` channels."""
    match act_type:
        case "relu":
            return nn.ReLU(inplace=True)
        case "prelu":
            return nn.PReLU(num_feat)
        case "leakyrelu":
            return nn.LeakyReLU(0.1, inplace=True)
    raise OptionsError(f"SRVGGNetCompact: act_type must be relu, prelu or leakyrelu; got {act_type!r}")

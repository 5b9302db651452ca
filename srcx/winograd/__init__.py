"""Winograd convolutions for training on a CPU in fp32."""

from srcx.winograd.convolution import BY_TORCH, Convolution, choose, convolutions

__all__ = ["BY_TORCH", "Convolution", "choose", "convolutions"]

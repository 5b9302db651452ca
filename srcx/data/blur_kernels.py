"""The blur kernels of Real-ESRGAN's degradations."""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import j1

__all__ = ["gaussian_kernel", "generalized_kernel", "plateau_kernel", "sinc_kernel"]

Kernel = NDArray[np.float32]


def gaussian_kernel(size_px: int, sigma_x: float, sigma_y: float, angle: float) -> Kernel:
    """Return exp(-q / 2) with q = v^T S^-1 v: a Gaussian with S = R(angle) diag(sigma^2) R(angle)^T.

    Args:
        size_px: Side of the kernel, odd.
        sigma_x: Standard deviation along the first axis before the rotation, in pixels.
        sigma_y: Standard deviation along the second axis, in pixels.
        angle: Rotation in radians.

    Returns:
        Kernel (size_px, size_px) with sum 1.

    References:
        Wang et al., "Real-ESRGAN", ICCVW 2021, arXiv:2107.10833, section 3.2, equal to the functions of
        BasicSR 1.4.2's `basicsr/data/degradations.py`, as are the other kernels here.
    """
    return _unit_sum(np.exp(-0.5 * _squared_distance(size_px, sigma_x, sigma_y, angle)))


def generalized_kernel(size_px: int, sigma_x: float, sigma_y: float, angle: float, beta: float) -> Kernel:
    """Return exp(-q^beta / 2), a generalised Gaussian; see `gaussian_kernel` for q."""
    return _unit_sum(np.exp(-0.5 * _squared_distance(size_px, sigma_x, sigma_y, angle) ** beta))


def plateau_kernel(size_px: int, sigma_x: float, sigma_y: float, angle: float, beta: float) -> Kernel:
    """Return 1 / (1 + q^beta), a kernel with a flat top; see `gaussian_kernel` for q."""
    return _unit_sum(1 / (1 + _squared_distance(size_px, sigma_x, sigma_y, angle) ** beta))


def sinc_kernel(size_px: int, cutoff: float) -> Kernel:
    """Return cutoff J1(cutoff r) / (2 pi r), the ideal circular low-pass filter.

    Args:
        size_px: Side of the kernel, odd.
        cutoff: Highest frequency that passes, in radians per pixel, (0, pi].

    Returns:
        Kernel (size_px, size_px) with sum 1.
    """
    radius = np.hypot(*_offsets(size_px))
    middle = size_px // 2
    radius[middle, middle] = 1  # any number; the limit at 0 is written below
    kernel = cutoff * j1(cutoff * radius) / (2 * math.pi * radius)
    kernel[middle, middle] = cutoff**2 / (4 * math.pi)
    return _unit_sum(kernel)


def _offsets(size_px: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Coordinates x and y of each place, counted from the middle."""
    steps = np.arange(size_px, dtype=np.float64) - size_px // 2
    x, y = np.meshgrid(steps, steps)
    return x, y


def _squared_distance(size_px: int, sigma_x: float, sigma_y: float, angle: float) -> NDArray[np.float64]:
    x, y = _offsets(size_px)
    along, across = x * math.cos(angle) + y * math.sin(angle), -x * math.sin(angle) + y * math.cos(angle)
    return (along / sigma_x) ** 2 + (across / sigma_y) ** 2


def _unit_sum(kernel: NDArray[np.float64]) -> Kernel:
    return (kernel / kernel.sum()).astype(np.float32)

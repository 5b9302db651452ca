"""Losses of frequencies: all, low ones, those of a grid, and those that are hardest to reproduce."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from srcx.errors import ImageError, OptionsError
from srcx.losses.pixel import ReducedLoss
from srcx.tensors import check_batches, check_same_shape, gaussian_blur

__all__ = ["FFTLoss", "FocalFrequencyLoss", "GridLoss", "LowFrequencyLoss", "check_kernel_size"]


class LowFrequencyLoss(nn.Module):
    """Distance of the blurred images.

    Args:
        kernel_size: Width of the Gaussian in pixels, odd.
        sigma: Its standard deviation in pixels.
        criterion: `l2` is the mean square, `l1` the mean absolute difference.

    Raises:
        OptionsError: `kernel_size` is even or not positive, or the criterion is unknown.
        ImageError: the shapes differ.

    References:
        Mechrez et al., "Maintaining Natural Image Statistics with the Contextual
        Loss", ACCV 2018, arXiv:1803.04626, equation 6.
        Differs from the paper: it writes the norm of the difference; the mean square here
        has the same zero and direction and does not grow with the patch.
    """

    def __init__(self, kernel_size: int = 21, sigma: float = 3.0, criterion: str = "l2") -> None:
        super().__init__()
        check_kernel_size("LowFrequencyLoss", kernel_size)
        if criterion not in ("l1", "l2"):
            raise OptionsError(f"LowFrequencyLoss: criterion must be 'l1' or 'l2'; got {criterion!r}")
        self.kernel_size, self.sigma, self.criterion = kernel_size, sigma, criterion

    def forward(self, sr: Tensor, gt: Tensor) -> Tensor:
        check_same_shape("LowFrequencyLoss", sr, gt)
        # The blur is linear: one blur of the difference replaces one of each image.
        low = gaussian_blur(sr.float() - gt.float(), kernel_size=self.kernel_size, sigma=self.sigma)
        return low.square().mean() if self.criterion == "l2" else low.abs().mean()


class GridLoss(nn.Module):
    """Distance of the patterns that repeat every few pixels, which upscaling networks leave behind.

    The difference sr - gt is divided into squares of period x period pixels. All pixels at the same place in
    their squares make up one small image, so there are period² small images. Blurred, they are equal if there
    is no grid. The loss is the mean square of their differences from their mean. In terms of frequency: the
    low-frequency loss around all multiples of 1 / period but 0.

    Args:
        period: Of the grid in pixels, which is the scale of the network.
        kernel_size: Width of the Gaussian in squares, odd.
        sigma: Its standard deviation in squares. A larger one leaves more of the texture near those
            frequencies to the other terms.

    Raises:
        OptionsError: an argument is out of range.
        ImageError: height or width is no multiple of the period, or too small for the Gaussian.

    References:
        Ours: the low-frequency term of arXiv:1803.04626, equation 6, around other frequencies. Adversarial
        and feature losses of short trainings reward a texture aligned with the pixels of lq, which is a grid.
    """

    def __init__(self, period: int = 4, kernel_size: int = 17, sigma: float = 3.0) -> None:
        super().__init__()
        check_kernel_size("GridLoss", kernel_size)
        if period < 2:
            raise OptionsError(f"GridLoss: period must be at least 2; got {period}")
        self.period, self.kernel_size, self.sigma = period, kernel_size, sigma

    def forward(self, sr: Tensor, gt: Tensor) -> Tensor:
        check_batches("GridLoss", sr, gt)
        least = self.period * (self.kernel_size // 2 + 1)
        if any(side % self.period or side < least for side in sr.shape[-2:]):
            raise ImageError(
                f"GridLoss: height and width must be multiples of {self.period}, at least {least}; "
                f"got shape {tuple(sr.shape)}; change gt_size, period or kernel_size"
            )
        places = functional.pixel_unshuffle(sr.float() - gt.float(), self.period)
        low = gaussian_blur(places, kernel_size=self.kernel_size, sigma=self.sigma)
        low = low.unflatten(1, (-1, self.period**2))
        return (low - low.mean(2, keepdim=True)).square().mean()


class FocalFrequencyLoss(nn.Module):
    """Mean square of the difference of spectra, weighted by the size of the difference at each frequency.

    With F the orthonormal discrete Fourier transform of a channel, of the whole image or of each patch,

        w(u, v) = |F_sr - F_gt|^alpha / max over (u, v) of the same, without gradient
        loss = mean of w |F_sr - F_gt|^2

    Args:
        alpha: Exponent, not negative: 0 makes all weights 1, and the loss the mean square of sr - gt.
        patch_factor: The image is cut into patch_factor x patch_factor patches; 1 is the whole image.

    Called with sr and gt, RGB in [0, 1], (N, C, H, W), it returns a scalar, 0 for equal images.

    Raises:
        OptionsError: an argument is out of range.
        ImageError: the shapes differ, or height or width is no multiple of `patch_factor`.

    References:
        Jiang et al., "Focal Frequency Loss for Image Reconstruction and Synthesis", ICCV 2021,
        arXiv:2012.12821; values are those of the authors' package focal-frequency-loss.
        Differs from it: without its average over the batch, its logarithm, and its maximum over the batch.

    Example:
        >>> grey = torch.full((1, 1, 8, 8), 0.5)
        >>> FocalFrequencyLoss()(grey + 0.25, grey)  # one frequency alone differs
        tensor(0.0625)
    """

    def __init__(self, alpha: float = 1.0, patch_factor: int = 1) -> None:
        super().__init__()
        if alpha < 0 or patch_factor < 1:
            raise OptionsError(
                "FocalFrequencyLoss: expected alpha of at least 0 and patch_factor of at least 1; "
                f"got {alpha} and {patch_factor}"
            )
        self.alpha, self.patch_factor = alpha, patch_factor

    def forward(self, sr: Tensor, gt: Tensor) -> Tensor:
        check_same_shape("FocalFrequencyLoss", sr, gt)
        factor = self.patch_factor
        if any(side % factor for side in sr.shape[-2:]):
            raise ImageError(
                f"FocalFrequencyLoss: height and width must be multiples of patch_factor {factor}; "
                f"got {tuple(sr.shape)}; change gt_size or patch_factor"
            )
        # The transform is linear: one of the difference replaces one of each image.
        patches = (sr.float() - gt.float()).unflatten(-2, (factor, -1)).unflatten(-1, (factor, -1))
        difference = torch.fft.fft2(patches, dim=(-3, -1), norm="ortho")  # (N, C, factor, h, factor, w)
        squared = difference.real.square() + difference.imag.square()
        with torch.no_grad():
            weight = squared ** (self.alpha / 2)
            weight /= weight.amax(dim=(-3, -1), keepdim=True).clamp(min=torch.finfo(weight.dtype).tiny)
        return (weight * squared).mean()


class FFTLoss(ReducedLoss):
    """Mean (or sum) of the absolute differences of the spectra, real and imaginary parts apart.

    sr and gt are RGB in [0, 1], (N, C, H, W). The spectra are not normalised: they grow with the image.

    Args:
        reduction: "mean" or "sum".

    Raises:
        OptionsError: `reduction` is another word.
        ImageError: the shapes differ.

    References:
        Sun et al., "Spatially-Adaptive Feature Modulation for Efficient Image Super-Resolution", ICCV 2023,
        arXiv:2302.13800; numbers as in the authors' FFTLoss.

    Example:
        >>> FFTLoss()(torch.ones(1, 1, 4, 4), torch.zeros(1, 1, 4, 4))  # 16 at frequency 0, of 32 numbers
        tensor(0.5000)
    """

    def errors(self, sr: Tensor, gt: Tensor) -> Tensor:
        # The transform is linear: one of the difference replaces one of each image.
        return torch.view_as_real(torch.fft.fft2(sr.float() - gt.float())).abs()


def check_kernel_size(name: str, kernel_size: int) -> None:
    """Refuse a width of a Gaussian that is even or not positive.

    Raises:
        OptionsError: it is; the message begins with `name`.
    """
    if kernel_size % 2 == 0 or kernel_size < 1:
        raise OptionsError(f"{name}: kernel_size must be odd and positive; got {kernel_size}")

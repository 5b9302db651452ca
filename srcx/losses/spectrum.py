"""The spectrum loss: textures as strong as those of natural pictures at every frequency, and no grid."""

import torch
from torch import Tensor, nn

from srcx.errors import OptionsError
from srcx.imaging.tensors import check_same_shape

__all__ = ["SpectrumLoss", "power_spectrum"]

FLOOR = 1e-4
"""Added to the power: about that of rounding to 8 bits, below which nothing can be seen."""


def power_spectrum(x: Tensor, *, window_px: int = 32) -> Tensor:
    """Mean power of windows of the pictures by frequency, Hann-weighted, every half window.

    Args:
        x: Pictures, (N, C, H, W); H and W at least `window_px`.
        window_px: Side of the windows in pixels, even.

    Returns:
        (window_px, window_px // 2 + 1): rows are vertical frequencies in the order of the FFT, columns
        horizontal ones from 0 to half a cycle per pixel.

    References:
        Welch, "The use of fast Fourier transform for the estimation of power spectra", IEEE Transactions
        on Audio and Electroacoustics 15, 1967.
    """
    hann = torch.hann_window(window_px, dtype=x.dtype, device=x.device)
    windows = x.unfold(-2, window_px, window_px // 2).unfold(-2, window_px, window_px // 2)
    waves = torch.fft.rfft2(windows * torch.outer(hann, hann))
    return (waves.real.square() + waves.imag.square()).flatten(0, -3).mean(0)


class SpectrumLoss(nn.Module):
    """Mean square difference of the logarithms of the two power spectra, over all frequencies.

    A grid is a peak of the spectrum that natural pictures do not have. The contextual loss hardly sees
    it, since its distances are relative to the nearest match and what all features have in common
    cancels out; a young discriminator does not see it yet.

    Args:
        window_px: Side of the windows in pixels, even.

    Called with sr and gt, RGB in [0, 1], (N, C, H, W), it returns a scalar.

    Raises:
        OptionsError: `window_px` is odd or less than 4.

    References:
        Ours; neither SRGAN nor "Maintaining Natural Image Statistics with the Contextual Loss" has it.
        That up-sampling convolutions get spectra wrong, and that a loss can mend it: Durall et al.,
        "Watch your Up-Convolution", CVPR 2020, arXiv:2003.01826. Differs from it: both axes, not the
        azimuthal mean, in which a peak on the lattice is lost; windows of the batch, not whole pictures.
    """

    def __init__(self, window_px: int = 32) -> None:
        super().__init__()
        if window_px < 4 or window_px % 2:
            raise OptionsError(f"SpectrumLoss: window_px must be even and at least 4; got {window_px}")
        self.window_px = window_px

    def forward(self, sr: Tensor, gt: Tensor) -> Tensor:
        check_same_shape("SpectrumLoss", sr, gt)
        of_sr, of_gt = (
            (power_spectrum(picture.float(), window_px=self.window_px) + FLOOR).log() for picture in (sr, gt)
        )
        return (of_sr - of_gt).square().mean()

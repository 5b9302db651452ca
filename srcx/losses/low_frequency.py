"""The low-frequency loss: both images blurred, then compared; only coarse colour and light count."""

from torch import Tensor, nn

from srcx.errors import OptionsError
from srcx.imaging.tensors import check_same_shape, gaussian_blur

__all__ = ["LowFrequencyLoss"]


class LowFrequencyLoss(nn.Module):
    """Distance of the blurred images.

    Args:
        kernel_size: Width of the Gaussian in pixels, odd.
        sigma: Its standard deviation in pixels.
        criterion: `l2` is the mean square, `l1` the mean absolute difference.

    References:
        Mechrez et al., "Maintaining Natural Image Statistics with the Contextual
        Loss", ACCV 2018, arXiv:1803.04626, equation 6.
        Differs from the paper: it writes the norm of the difference; the mean square here
        has the same zero and direction and does not grow with the patch.
    """

    def __init__(self, kernel_size: int = 21, sigma: float = 3.0, criterion: str = "l2") -> None:
        super().__init__()
        if kernel_size % 2 == 0 or kernel_size < 1:
            raise OptionsError(f"LowFrequencyLoss: kernel_size must be odd and positive; got {kernel_size}")
        if criterion not in ("l1", "l2"):
            raise OptionsError(f"LowFrequencyLoss: criterion must be 'l1' or 'l2'; got {criterion!r}")
        self.kernel_size, self.sigma, self.criterion = kernel_size, sigma, criterion

    def forward(self, sr: Tensor, gt: Tensor) -> Tensor:
        check_same_shape("LowFrequencyLoss", sr, gt)
        # The blur is linear: one blur of the difference does for both images.
        low = gaussian_blur(sr.float() - gt.float(), kernel_size=self.kernel_size, sigma=self.sigma)
        return low.square().mean() if self.criterion == "l2" else low.abs().mean()

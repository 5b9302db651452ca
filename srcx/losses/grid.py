"""The grid loss: only what repeats with the period of an enlargement counts."""

from torch import Tensor, nn
from torch.nn import functional

from srcx.errors import ImageError, OptionsError
from srcx.imaging.tensors import check_same_shape, gaussian_blur

__all__ = ["GridLoss"]


class GridLoss(nn.Module):
    """Distance of the patterns that repeat every few pixels, which enlarging networks leave behind.

    Both images are taken apart by place in squares of period x period pixels. Blurred, the small images
    that come of it are all alike where there is no grid; what sets each apart from their mean is compared, sr
    against gt, as a mean square. In terms of frequency: the low-frequency loss around all multiples of
    1 / period but 0.

    Args:
        period: Of the grid in pixels, which is the scale of the network.
        kernel_size: Width of the Gaussian in squares, odd.
        sigma: Its standard deviation in squares. The wider, the more of the texture near those frequencies
            is left to the other terms.

    Raises:
        OptionsError: an argument is out of range.
        ImageError: height or width is no multiple of the period, or too small for the Gaussian.

    References:
        Ours: the low-frequency term of arXiv:1803.04626, equation 6, around other frequencies. Adversarial
        and feature losses of short trainings reward a texture locked to the pixels of lq, which is a grid.
    """

    def __init__(self, period: int = 4, kernel_size: int = 17, sigma: float = 3.0) -> None:
        super().__init__()
        if kernel_size % 2 == 0 or kernel_size < 1:
            raise OptionsError(f"GridLoss: kernel_size must be odd and positive; got {kernel_size}")
        if period < 2:
            raise OptionsError(f"GridLoss: period must be at least 2; got {period}")
        self.period, self.kernel_size, self.sigma = period, kernel_size, sigma

    def forward(self, sr: Tensor, gt: Tensor) -> Tensor:
        check_same_shape("GridLoss", sr, gt)
        least = self.period * (self.kernel_size // 2 + 1)
        if any(side % self.period or side < least for side in sr.shape[-2:]):
            raise ImageError(
                f"GridLoss: made for multiples of {self.period} from {least} on, "
                f"got shape {tuple(sr.shape)}; change gt_size, period or kernel_size"
            )
        places = functional.pixel_unshuffle(sr.float() - gt.float(), self.period)
        low = gaussian_blur(places, kernel_size=self.kernel_size, sigma=self.sigma)
        low = low.unflatten(1, (-1, self.period**2))
        return (low - low.mean(2, keepdim=True)).square().mean()

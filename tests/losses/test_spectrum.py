import pytest
import torch
from torch.testing import assert_close

from srcx.errors import OptionsError
from srcx.losses.spectrum import FLOOR, SpectrumLoss, power_spectrum


def test_a_wave_has_its_power_at_its_frequency():
    columns = torch.arange(64)
    wave = torch.cos(2 * torch.pi * columns / 4).expand(1, 1, 64, 64)  # a quarter of a cycle per pixel
    power = power_spectrum(wave, window_px=32)
    assert power.shape == (32, 17)
    assert divmod(power.argmax().item(), 17) == (0, 8)
    # Hann windows sum to 16 each way; half of the amplitude is at the positive frequency.
    assert_close(power.max(), torch.tensor((16.0 * 16.0 / 2) ** 2))


def test_equal_pictures_cost_nothing_and_a_grid_costs_whatever_its_contrast_to_the_picture():
    torch.manual_seed(0)
    gt = torch.rand(2, 3, 64, 64) * 0.2 + 0.4
    grid = 0.05 * (-1.0) ** torch.arange(64)
    loss = SpectrumLoss()
    assert loss(gt, gt) == 0
    assert loss(gt + grid, gt) > 100 * loss(gt.roll((1, 1), (2, 3)), gt)


def test_twice_the_contrast_is_the_logarithm_of_four():
    gt = torch.rand(1, 1, 64, 64, dtype=torch.float64) * 100
    expected = (4 * power_spectrum(gt.float()) + FLOOR).log() - (power_spectrum(gt.float()) + FLOOR).log()
    assert_close(SpectrumLoss()(2 * gt, gt), expected.square().mean())
    assert_close(SpectrumLoss()(2 * gt, gt), torch.tensor(4.0).log().square(), rtol=1e-3, atol=0)


def test_an_odd_window_is_refused():
    with pytest.raises(OptionsError, match="even and at least 4; got 31"):
        SpectrumLoss(31)

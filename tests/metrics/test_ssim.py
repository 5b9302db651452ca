import numpy as np
import pytest
from skimage.metrics import structural_similarity

from srcx.basicsr_compat.adapters import BASICSR_METRICS
from srcx.errors import ImageError
from srcx.metrics import ssim


def ssim_window_by_window(one, other):
    """Wang's formula written out for each window of 11 x 11."""
    ramp = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    weights = np.outer(ramp, ramp) / ramp.sum() ** 2
    values = []
    for i in range(one.shape[0] - 10):
        for j in range(one.shape[1] - 10):
            x, y = (image[i : i + 11, j : j + 11].astype(float) for image in (one, other))
            mx, my = (weights * x).sum(), (weights * y).sum()
            vx, vy = (weights * (x - mx) ** 2).sum(), (weights * (y - my) ** 2).sum()
            vxy = (weights * (x - mx) * (y - my)).sum()
            c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
            values.append((2 * mx * my + c1) * (2 * vxy + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2)))
    return np.mean(values)


def test_equals_the_formula_written_out(rng):
    one, other = rng.integers(0, 256, (2, 23, 26), dtype=np.uint8)
    assert ssim(one, other) == pytest.approx(ssim_window_by_window(one[4:-4, 4:-4], other[4:-4, 4:-4]))


def test_equal_images_give_one(photo):
    assert ssim(photo, photo) == 1


def test_is_symmetric(photo, blurred):
    assert ssim(photo, blurred) == pytest.approx(ssim(blurred, photo), abs=1e-12)


def test_without_y_it_is_the_mean_over_the_channels(photo, blurred):
    channels = [ssim(photo[..., k].copy(), blurred[..., k].copy()) for k in range(3)]
    assert ssim(photo, blurred, y_only=False) == pytest.approx(np.mean(channels))


def test_constant_images_have_a_value():
    black, grey = np.zeros((19, 19), np.uint8), np.full((19, 19), 100, np.uint8)
    assert ssim(black, grey) == pytest.approx(6.5025 / (100**2 + 6.5025))


@pytest.mark.parametrize(("name", "index"), [("Set5", 3), ("Set14", 5)])
def test_equals_the_matlab_tables(reference, name, index):
    ours = ssim(reference.bicubic(name, index), reference.hr(name, index))
    assert ours == pytest.approx(reference.figures(name, index)["published_bicubic_SSIM"], abs=1e-10)


def test_a_grey_image_is_taken_as_y(reference):
    ours = ssim(reference.bicubic("Set14", 3), reference.hr("Set14", 3))
    assert ours == pytest.approx(reference.figures("Set14", 3, "gray_as_Y")["SSIM_Y"], abs=1e-10)


def test_less_than_a_window_is_an_error():
    small = np.zeros((18, 30), np.uint8)
    with pytest.raises(ImageError, match="ssim: needs at least 11 x 11 pixels after shaving 4"):
        ssim(small, small)


def test_without_rounding_it_is_the_formula_of_unrounded_y(rng):
    sr, gt = (rng.integers(0, 256, (24, 24, 3), np.uint8) for _ in range(2))
    plain = [image @ np.array([65.481, 128.553, 24.966]) / 255 + 16 for image in (sr, gt)]
    expected = structural_similarity(
        *plain, data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    assert ssim(sr, gt, round_y=False, crop_px=0) == pytest.approx(expected, abs=1e-12)
    assert ssim(sr, gt, crop_px=0) != ssim(sr, gt, round_y=False, crop_px=0)
    assert BASICSR_METRICS["calculate_ssim"](
        sr, gt, crop_border=0, test_y_channel=True, round_y=False
    ) == ssim(sr, gt, round_y=False, crop_px=0)

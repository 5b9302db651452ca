import math

import numpy as np
import pytest
import torch

from srcx.basicsr_compat.adapters import BASICSR_METRICS
from srcx.errors import ImageError
from srcx.metrics import psnr, rmse, rmse_of_set


def test_matches_the_formula_by_hand():
    gt = np.zeros((9, 9), np.uint8)
    sr = gt.copy()
    sr[4, 4] = 255
    assert psnr(sr, gt) == 0  # the one pixel that shaving leaves
    assert psnr(sr, gt, crop_px=0) == pytest.approx(10 * math.log10(81))


def test_equal_images_are_infinitely_good(photo):
    assert psnr(photo, photo) == math.inf


def test_is_symmetric(photo, blurred):
    assert psnr(photo, blurred) == psnr(blurred, photo)


def test_bytes_do_not_wrap_around():
    low, high = np.zeros((9, 9), np.uint8), np.full((9, 9), 200, np.uint8)
    assert psnr(low, high) == psnr(high, low) == pytest.approx(20 * math.log10(255 / 200))


def test_all_channels_count_without_y():
    gt = np.zeros((9, 9, 3), np.uint8)
    sr = gt.copy()
    sr[..., 2] = 30
    assert psnr(sr, gt, y_only=False) == pytest.approx(10 * math.log10(255**2 / 300))


def test_y_is_rounded():
    gt, sr = np.zeros((9, 9, 3), np.uint8), np.zeros((9, 9, 3), np.uint8)
    sr[..., 2] = 5  # Y goes from 16 to 16.49
    assert psnr(sr, gt) == math.inf


def test_16_bits_score_as_8(photo, blurred):
    assert psnr(blurred.astype(np.uint16) * 257, photo.astype(np.uint16) * 257) == psnr(blurred, photo)


@pytest.mark.parametrize(("name", "index"), [("Set5", 3), ("Set5", 5), ("Set14", 6)])
def test_equals_the_matlab_tables(reference, name, index):
    ours = psnr(reference.bicubic(name, index), reference.hr(name, index))
    assert ours == pytest.approx(reference.figures(name, index)["published_bicubic_PSNR"], abs=1e-10)


@pytest.mark.parametrize("metric_input", ["sizes", "nan"])
def test_bad_input_is_an_error(metric_input):
    good = torch.rand(1, 3, 16, 16)
    bad = {"sizes": torch.rand(1, 3, 16, 20), "nan": torch.full_like(good, torch.nan)}[metric_input]
    with pytest.raises(ImageError, match="psnr: "):
        psnr(bad, good)


def basicsr_y(image):
    """BasicSR's `to_y_channel`: `bgr2ycbcr` of float32, not rounded."""
    b, g, r = (image[..., c].astype(np.float32) / 255 for c in (2, 1, 0))
    return 24.966 * b + 128.553 * g + 65.481 * r + 16.0


@pytest.mark.parametrize("sigma", [2.5, 25])
def test_without_rounding_it_is_basicsrs_number(rng, sigma):
    gt = rng.integers(0, 256, (40, 50, 3), np.uint8)
    sr = np.clip(gt + rng.normal(0, sigma, gt.shape), 0, 255).astype(np.uint8)
    inner = (slice(4, -4), slice(4, -4))
    error = np.mean((basicsr_y(sr[inner]).astype(np.float64) - basicsr_y(gt[inner])) ** 2)
    assert psnr(sr, gt, round_y=False) == pytest.approx(10 * math.log10(255**2 / error), abs=1e-4)
    assert BASICSR_METRICS["calculate_psnr"](
        sr, gt, crop_border=4, test_y_channel=True, round_y=False
    ) == psnr(sr, gt, round_y=False)
    assert psnr(sr, gt) != psnr(sr, gt, round_y=False)
    assert psnr(sr, gt, y_only=False) == psnr(sr, gt, y_only=False, round_y=False)


def test_grey_is_y_rounded_or_not(rng):
    sr, gt = rng.integers(0, 256, (2, 20, 20), np.uint8)
    assert psnr(sr, gt, round_y=False) == psnr(sr, gt)


def test_rmse_matches_the_formula_by_hand():
    gt = np.full((2, 2), 100, np.uint8)
    sr = np.array([[103, 96], [100, 100]], np.uint8)
    assert rmse(sr, gt, crop_px=0) == 2.5


def test_rmse_agrees_with_psnr(photo, blurred):
    assert psnr(blurred, photo) == pytest.approx(20 * np.log10(255 / rmse(blurred, photo)))


def test_the_rmse_of_a_set_is_the_root_of_the_mean_square():
    assert rmse_of_set([3.0, 4.0]) == pytest.approx(np.sqrt(12.5))


def test_rmse_equals_pirms_code(reference):
    ours = rmse(reference.bicubic("Set5", 2), reference.hr("Set5", 2))
    assert ours == pytest.approx(reference.figures("Set5", 2)["RMSE"], abs=1e-10)


def test_rmse_says_both_shapes_when_they_differ():
    with pytest.raises(ImageError, match=r"rmse: .*\(9, 9\) and gt \(9, 10\)"):
        rmse(np.zeros((9, 9), np.uint8), np.zeros((9, 10), np.uint8))

import numpy as np
import pytest

from srcx.errors import ImageError
from srcx.metrics import psnr, rmse, rmse_of_set


def test_matches_the_formula_by_hand():
    gt = np.full((2, 2), 100, np.uint8)
    sr = np.array([[103, 96], [100, 100]], np.uint8)
    assert rmse(sr, gt, crop_px=0) == 2.5


def test_agrees_with_psnr(photo, blurred):
    assert psnr(blurred, photo) == pytest.approx(20 * np.log10(255 / rmse(blurred, photo)))


def test_a_set_is_the_root_of_the_mean_square():
    assert rmse_of_set([3.0, 4.0]) == pytest.approx(np.sqrt(12.5))


def test_equals_pirms_code(reference):
    ours = rmse(reference.bicubic("Set5", 2), reference.hr("Set5", 2))
    assert ours == pytest.approx(reference.figures("Set5", 2)["RMSE"], abs=1e-10)


def test_says_both_shapes_when_they_differ():
    with pytest.raises(ImageError, match=r"rmse: .*\(9, 9\) and gt \(9, 10\)"):
        rmse(np.zeros((9, 9), np.uint8), np.zeros((9, 10), np.uint8))

import numpy as np
import pytest

from srcx.imaging import write_picture
from srcx.report import PictureResult
from srcx.report.crops import ROWS_PER_SET, busiest_square, crop_rows, data_uri


@pytest.mark.parametrize("shape", [(50, 300), (300, 50, 3), (3, 3), (1, 1)])
def test_a_picture_smaller_than_the_square_is_taken_whole(shape, rng):
    top, left = busiest_square(rng.integers(0, 256, shape, np.uint8), 128)
    assert 0 <= top <= max(shape[0] - 128, 0)
    assert 0 <= left <= max(shape[1] - 128, 0)


def test_16_bits_are_shown_as_8():
    bright = np.full((4, 4, 3), 65535, np.uint16)
    assert data_uri(bright) == data_uri(np.full((4, 4, 3), 255, np.uint8))


def test_the_pictures_on_which_models_differ_most_are_shown_in_the_order_of_the_set(tmp_path, rng):
    write_picture(tmp_path / "x.png", rng.integers(0, 256, (16, 16, 3), np.uint8))
    write_picture(tmp_path / "lq.png", rng.integers(0, 256, (4, 4, 3), np.uint8))
    files = ("x.png", str(tmp_path / "x.png"), str(tmp_path / "lq.png"), "", "", "")
    pictures = [
        PictureResult(model, "Set", 4, f"p{index:02}", {"psnr": 20.0 + gain * index}, {}, *files)
        for model, gain in (("a", 0.0), ("b", 1.0))
        for index in range(ROWS_PER_SET + 3)
    ]
    rows = crop_rows(tmp_path, pictures, "psnr")
    assert [row.picture for row in rows] == [f"p{index:02}" for index in range(3, ROWS_PER_SET + 3)]
    assert [crop.label for crop in rows[0].crops] == ["ground truth", "input", "a", "b"]
    assert [crop.note for crop in rows[0].crops] == ["", "as pixels", "psnr 20.000", "psnr 23.000"]

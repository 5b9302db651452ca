import base64
import io

import numpy as np
import pytest
from PIL import Image

from srcx.evaluation.report import ImageResult
from srcx.evaluation.report.crops import (
    MARGIN_PX,
    ROWS_PER_SET,
    busiest_square,
    crop_rows,
    crops_of_inputs,
    data_uri,
    flat_square,
)
from srcx.imaging import imresize, write_image


@pytest.mark.parametrize("shape", [(50, 300), (300, 50, 3), (3, 3), (1, 1)])
def test_an_image_smaller_than_the_square_is_taken_whole(shape, rng):
    top, left = busiest_square(rng.integers(0, 256, shape, np.uint8), 128)
    assert 0 <= top <= max(shape[0] - 128, 0)
    assert 0 <= left <= max(shape[1] - 128, 0)


def test_16_bits_are_shown_as_8():
    bright = np.full((4, 4, 3), 65535, np.uint16)
    assert data_uri(bright) == data_uri(np.full((4, 4, 3), 255, np.uint8))


def test_the_images_on_which_models_differ_most_are_shown_in_the_order_of_the_set(tmp_path, rng):
    write_image(tmp_path / "x.png", rng.integers(0, 256, (16, 16, 3), np.uint8))
    write_image(tmp_path / "lq.png", rng.integers(0, 256, (4, 4, 3), np.uint8))
    files = ("x.png", str(tmp_path / "x.png"), str(tmp_path / "lq.png"), "", "", "")
    images = [
        ImageResult(model, "Set", 4, f"p{index:02}", {"psnr": 20.0 + gain * index}, {}, *files)
        for model, gain in (("a", 0.0), ("b", 1.0))
        for index in range(ROWS_PER_SET + 3)
    ]
    rows = crop_rows(tmp_path, images, "psnr")
    assert [row.image for row in rows] == [f"p{index:02}" for index in range(3, ROWS_PER_SET + 3)]
    assert [crop.label for crop in rows[0].crops] == ["ground truth", "input", "a", "b"]
    assert [crop.note for crop in rows[0].crops] == ["", "as pixels", "psnr 20.000", "psnr 23.000"]


def test_the_flat_square_is_clear_of_the_busiest_and_is_not_of_one_colour(rng):
    image = np.full((200, 300), 128, np.uint8)
    image[:, 200:] = rng.integers(0, 256, (200, 100))
    image[:, :100] += rng.integers(0, 3, (200, 100), np.uint8)
    top, left = flat_square(image, 50)
    busy_left = busiest_square(image, 50)[1]
    assert abs(left - busy_left) >= 50
    assert image[top : top + 50, left : left + 50].std() > 0
    assert left < 100


def test_an_image_of_one_colour_has_a_flat_square_and_a_small_one_none():
    assert flat_square(np.full((100, 100, 3), 7, np.uint8), 50) is not None
    assert flat_square(np.zeros((60, 60), np.uint8), 50) is None


@pytest.mark.parametrize("shape", [(150, 140, 3), (150, 140, 4), (150, 140)])
@pytest.mark.parametrize("models", [["a"], ["a", "bicubic"]])
def test_without_ground_truth_two_squares_of_each_image_stand_beside_bicubic(tmp_path, rng, shape, models):
    lq = imresize(rng.integers(0, 256, (15, 14, *shape[2:]), np.uint8), size=shape[:2])
    sr = imresize(lq, scale=4)
    write_image(tmp_path / "lq.png", lq)
    write_image(tmp_path / "sr.png", sr)
    files = ("sr.png", None, str(tmp_path / "lq.png"), "", None, "")
    images = [
        ImageResult(model, "photos", 4, f"{name}.jpg", {"niqe": 5.0}, {}, *files)
        for model in models
        for name in "xy"
    ]
    rows = crops_of_inputs(tmp_path, images, "niqe")
    assert [(row.image, row.place) for row in rows] == [
        ("x.jpg", "most detail"), ("x.jpg", "flat"), ("y.jpg", "most detail"), ("y.jpg", "flat"),
    ]  # fmt: skip
    labels = [crop.label for crop in rows[0].crops]
    assert labels == (["a", "bicubic"] if "bicubic" in models else ["input", "a"])
    assert [[crop.note for crop in row.crops if crop.label == "a"] for row in rows[:2]] == [
        ["niqe 5.000"],
        [""],
    ]
    # sr is bicubic's here: the piece enlarged alone is the same as the piece of the whole.
    assert all(len({crop.data_uri for crop in row.crops}) == 1 for row in rows)
    assert MARGIN_PX >= 2, "bicubic reads two pixels on each side"


def test_an_input_that_cannot_be_read_has_no_squares_and_the_others_have(tmp_path, rng):
    for name in ("lq.png", "sr.png"):
        write_image(tmp_path / name, rng.integers(0, 256, (150, 140, 3), np.uint8))
    (tmp_path / "cut.png").write_bytes((tmp_path / "lq.png").read_bytes()[:60])
    images = [
        ImageResult("a", "photos", 1, lq, {"niqe": 5.0}, {}, "sr.png", None, str(tmp_path / lq), "", None, "")
        for lq in ("cut.png", "lq.png")
    ]
    assert {row.image for row in crops_of_inputs(tmp_path, images, "niqe")} == {"lq.png"}


def test_what_alpha_hides_is_not_the_most_detail(tmp_path, rng):
    lq = np.dstack([np.full((150, 150, 3), 99, np.uint8), np.full((150, 150), 255, np.uint8)])
    lq[:, :75, :3] = rng.integers(0, 256, (150, 75, 3))
    lq[:, :75, 3] = 0
    lq[70:74, 120:124, :3] = 0
    write_image(tmp_path / "lq.png", lq)
    write_image(tmp_path / "sr.png", imresize(lq, scale=4))
    one = ImageResult(
        "a", "photos", 4, "x", {"niqe": 5.0}, {}, "sr.png", None, str(tmp_path / "lq.png"), "", None, ""
    )
    detail = crops_of_inputs(tmp_path, [one], "niqe")[0].crops[1]
    shown = Image.open(io.BytesIO(base64.b64decode(detail.data_uri.split(",")[1])))
    assert (np.asarray(shown.convert("RGBA"))[..., :3].min(axis=2) < 50).any(), "the dark square"
    assert np.asarray(shown.convert("RGBA"))[..., 3].mean() > 200

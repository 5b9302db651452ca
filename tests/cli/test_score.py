import json
import os

import numpy as np
import pytest

from srcx.imaging import write_image
from srcx.metrics import psnr


@pytest.fixture
def pairs(tmp_path, rng):
    """Folders sr and gt with two images each, of the same names."""
    images = {}
    for folder in ("sr", "gt"):
        (tmp_path / folder).mkdir()
        for name in ("x", "y"):
            images[folder, name] = rng.integers(0, 256, (24, 26, 3), np.uint8)
            write_image(tmp_path / folder / f"{name}.png", images[folder, name])
    return images


def test_images_are_scored_against_their_namesakes(srcx, pairs):
    said = srcx("score", "--sr", "sr", "--gt", "gt", "--metrics", "psnr", "--json")
    assert said.code == 0
    scores = json.loads(said.out)
    expected = {name: psnr(pairs["sr", name], pairs["gt", name]) for name in ("x", "y")}
    assert {name: one["metrics"]["psnr"] for name, one in scores["images"].items()} == expected
    assert scores["mean"]["metrics"]["psnr"] == pytest.approx(sum(expected.values()) / 2)


def test_the_table_ends_in_the_mean(srcx, pairs):
    said = srcx("score", "--sr", "sr", "--gt", "gt")
    rows = [line.split("│")[1].strip() for line in said.out.splitlines() if "│" in line]
    assert rows == ["x", "y", "mean"]


def test_the_border_can_be_chosen(srcx, pairs):
    said = srcx("score", "--sr", "sr", "--gt", "gt", "--metrics", "psnr", "--border", "0", "--json")
    expected = psnr(pairs["sr", "x"], pairs["gt", "x"], crop_px=0)
    assert json.loads(said.out)["images"]["x"]["metrics"]["psnr"] == expected


def test_all_mismatches_are_listed_at_once(srcx, pairs, tmp_path, rng):
    (tmp_path / "gt/x.png").rename(tmp_path / "gt/z.png")
    write_image(tmp_path / "gt/y.png", rng.integers(0, 256, (24, 24, 3), np.uint8))
    said = srcx("score", "--sr", "sr", "--gt", "gt")
    assert said.code == 1
    assert said.sentences == [
        "the images do not match; only in sr: x; only in gt: z; y is 26 x 24 in sr and 24 x 24 in gt: "
        "rename or cut them, so that each image has a ground truth of its name and size"
    ]


def test_what_cannot_be_computed_is_null_with_a_reason_and_exits_with_1(srcx, pairs):
    said = srcx("score", "--sr", "sr", "--metrics", "niqe", "--json")
    assert said.code == 1
    scores = json.loads(said.out)
    assert scores["images"]["x"]["metrics"]["niqe"] is None
    assert "niqe: needs at least" in scores["images"]["x"]["reasons"]["niqe"]
    assert scores["mean"]["metrics"]["niqe"] is None


def test_equal_images_have_no_finite_psnr(srcx, pairs):
    said = srcx("score", "--sr", "sr", "--gt", "sr", "--metrics", "psnr", "ssim", "--json")
    mean = json.loads(said.out)["mean"]
    assert mean["metrics"] == {"psnr": None, "ssim": 1.0}
    assert mean["reasons"] == {"psnr": "infinite: sr equals gt"}


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        ("--sr sr --metrics psnr", 2, "psnr: compares with the ground truth; give --gt, or other --metrics"),
        ("--sr sr --gt gt --metrics pnsr", 2, "pnsr: no such metric; did you mean 'psnr'?"),
        ("--sr gone", 1, "gone: this folder does not exist; check the path"),
        ("--sr empty", 1, "empty: there are no images in this folder"),
        ("--gt gt", 2, "srcx score: Missing option '--sr'; 'srcx score --help' tells more"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(srcx, pairs, tmp_path, words, code, sentence):
    (tmp_path / "empty").mkdir()
    said = srcx("score", *words.split())
    assert (said.code, said.sentences) == (code, [sentence])


def test_two_files_of_one_name_are_refused(srcx, pairs, tmp_path, rng):
    write_image(tmp_path / "sr/x.jpg", rng.integers(0, 256, (24, 26, 3), np.uint8))
    assert "sr: has both x.jpg and x.png; keep one" in srcx("score", "--sr", "sr").err


@pytest.mark.parametrize("damaged", ["sr", "gt"])
@pytest.mark.parametrize("size", [0, 100, -9])
def test_a_damaged_image_is_null_with_a_reason_and_the_others_are_scored(
    srcx, pairs, tmp_path, damaged, size
):
    path = tmp_path / damaged / "x.png"
    path.write_bytes(path.read_bytes()[:size])
    said = srcx("score", "--sr", "sr", "--gt", "gt", "--metrics", "psnr", "ssim", "--json")
    assert said.code == 1
    scores = json.loads(said.out)
    x, y = scores["images"]["x"], scores["images"]["y"]
    assert x["metrics"] == {"psnr": None, "ssim": None}
    assert f"{damaged}/x.png: is " in x["reasons"]["psnr"]
    assert y["metrics"]["psnr"] == psnr(pairs["sr", "y"], pairs["gt", "y"])
    assert scores["mean"]["metrics"]["psnr"] is None
    assert scores["mean"]["reasons"]["psnr"].startswith("1 of 2 images have none: ")
    table = srcx("score", "--sr", "sr", "--gt", "gt")
    assert table.code == 1
    assert f"{psnr(pairs['sr', 'y'], pairs['gt', 'y']):.4f}" in table.out


@pytest.mark.parametrize("grey", [False, True])
def test_alpha_that_hides_nothing_is_left_out(srcx, pairs, tmp_path, grey):
    for side in ("sr", "gt"):
        for name in ("x", "y"):
            pixels = pairs[side, name][..., :1] if grey else pairs[side, name]
            alpha = np.full(pixels.shape[:2], 255, np.uint8)
            opaque = np.dstack([pixels[..., 0]] * 3 + [alpha]) if grey else np.dstack([pixels, alpha])
            write_image(tmp_path / side / f"{name}.png", opaque if side == "sr" else pixels.squeeze())
    said = srcx("score", "--sr", "sr", "--gt", "gt", "--metrics", "psnr", "--json")
    assert said.code == 0
    x = [pairs[side, "x"][..., 0] if grey else pairs[side, "x"] for side in ("sr", "gt")]
    assert json.loads(said.out)["images"]["x"]["metrics"]["psnr"] == psnr(*x)


@pytest.mark.parametrize("grey", [False, True])
def test_alpha_that_hides_something_is_named(srcx, pairs, tmp_path, grey):
    write_image(tmp_path / "sr/x.png", np.dstack([pairs["sr", "x"], pairs["sr", "x"][..., 0]]))
    write_image(tmp_path / "gt/x.png", pairs["gt", "x"][..., 0] if grey else pairs["gt", "x"])
    said = srcx("score", "--sr", "sr", "--gt", "gt", "--metrics", "psnr", "--json")
    reason = json.loads(said.out)["images"]["x"]["reasons"]["psnr"]
    assert reason == "sr is transparent in places (alpha channel); put it on a background first"


def test_names_that_are_not_utf8_are_escaped(srcx, pairs, tmp_path):
    name = os.fsdecode(b"caf\xe9.png")
    for side in ("sr", "gt"):
        (tmp_path / side / "x.png").rename(tmp_path / side / name)
    said = srcx("score", "--sr", "sr", "--gt", "gt", "--metrics", "psnr", "--json")
    assert said.code == 0
    assert "caf\\udce9" in said.out
    assert set(json.loads(said.out)["images"]) == {os.fsdecode(b"caf\xe9"), "y"}
    assert srcx("score", "--sr", "sr", "--gt", "gt").code == 0

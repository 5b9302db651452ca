import dataclasses

import cv2
import numpy as np
import pytest

from srcx.benchmarks.manifest import known_set
from srcx.benchmarks.verify import sets_in, verify
from srcx.imaging import imresize, read_image, write_image


@pytest.fixture
def div2k(tmp_path, rng, monkeypatch):
    """DIV2K of four images: 0001 to 0003, and 0801."""
    true = known_set("DIV2K")
    short = [dataclasses.replace(one, last=3 if one.first == 1 else 801) for one in true.archives]
    known = dataclasses.replace(true, archives=tuple(short))
    monkeypatch.setattr("srcx.benchmarks.div2k.known_set", lambda _: known)
    folder = tmp_path / "DIV2K"
    for number, part in ((1, "train"), (2, "train"), (3, "train"), (801, "valid")):
        gt = rng.integers(0, 256, (24, 36, 3), np.uint8)
        for place in (f"DIV2K_{part}_HR", f"DIV2K_{part}_LR_bicubic/X4"):
            (folder / place).mkdir(parents=True, exist_ok=True)
        write_image(folder / f"DIV2K_{part}_HR/{number:04d}.png", gt)
        write_image(folder / f"DIV2K_{part}_LR_bicubic/X4/{number:04d}x4.png", imresize(gt, scale=0.25))
    return folder


def verdict(folder):
    return verify(folder, lambda *_: None)


def test_a_complete_copy_is_right_and_its_method_is_named(div2k):
    assert sets_in(div2k) == [div2k]
    found = verdict(div2k)
    assert found.problems == ()
    assert "DIV2K_train_HR has 3 of 3 images" in found.sentence
    assert (
        "by 3 of them LR x4: made by MATLAB's imresize of today, borders mirrored (close)" in found.sentence
    )


def test_a_part_that_nobody_wants_is_said_and_not_wrong(div2k):
    for path in sorted((div2k / "DIV2K_valid_LR_bicubic").rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    found = verdict(div2k)
    assert "DIV2K_valid_LR_bicubic/X4 is not here" in found.sentence
    assert found.problems == ()


def test_all_that_is_wrong_is_said(div2k):
    high, low = div2k / "DIV2K_train_HR", div2k / "DIV2K_train_LR_bicubic/X4"
    (high / "0002.png").unlink()
    write_image(high / "0900.png", np.zeros((24, 24, 3), np.uint8))
    (low / "0001x4.png").write_bytes((low / "0001x4.png").read_bytes()[:60])
    write_image(low / "0003x4.png", read_image(low / "0003x4.png")[:-1])
    text = "\n".join(verdict(div2k).problems)
    for words in (
        "DIV2K_train_HR: 1 image of 3 not here: 0002.png",
        "DIV2K_train_HR: 1 image not of DIV2K: 0900.png",
        "0001x4.png: is damaged or cut off",
        "X4: 1 image not 1/4 the size of their ground truth: 0003",
    ):
        assert words in text


def test_a_wrong_method_is_named(div2k):
    for path in (div2k / "DIV2K_train_LR_bicubic/X4").iterdir():
        gt = read_image(div2k / "DIV2K_train_HR" / path.name.replace("x4", ""))
        write_image(path, cv2.resize(gt, (9, 6), interpolation=cv2.INTER_CUBIC))
    assert any("made by OpenCV's INTER_CUBIC" in problem for problem in verdict(div2k).problems)

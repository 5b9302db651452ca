from pathlib import Path

import numpy as np
import pytest

from srcx.benchmarks.layout import find_sets
from srcx.errors import DataError
from srcx.imaging import write_image


def save(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, image)


@pytest.mark.parametrize(
    ("gt", "lq"),
    [
        ("HR/{}.png", "LR_bicubic/X4/{}x4.png"),
        ("HR/{}.png", "LR/X4/{}x4.png"),
        ("GTmod12/{}.png", "LRbicx4/{}.png"),
        ("image_SRF_4/{}_SRF_4_HR.png", "image_SRF_4/{}_SRF_4_LR.png"),
    ],
)
def test_each_layout_is_read(gt, lq, tmp_path, rng):
    for name in ("2", "10"):
        save(tmp_path / "Some" / gt.format(name), rng.integers(0, 256, (8, 8), np.uint8))
        save(tmp_path / "Some" / lq.format(name), rng.integers(0, 256, (2, 2), np.uint8))
    (found,) = find_sets(tmp_path, None, scale=4)
    assert [(pair.name, pair.lq) for pair in found.pairs] == [
        (name, tmp_path / "Some" / lq.format(name)) for name in ("2", "10")
    ]


def test_sets_come_in_the_order_of_the_tables(tmp_path, rng):
    for name in ("BSD100", "Mine", "Set14", "Set5"):
        save(tmp_path / name / "HR" / "a.png", rng.integers(0, 256, (8, 8), np.uint8))
    assert [one.name for one in find_sets(tmp_path, None, scale=4)] == ["Set5", "Set14", "BSD100", "Mine"]
    assert [one.name for one in find_sets(tmp_path, ["Mine", "Set5"], scale=4)] == ["Mine", "Set5"]


def test_an_empty_set_is_refused(tmp_path):
    (tmp_path / "Set5/HR").mkdir(parents=True)
    with pytest.raises(DataError, match="HR: there are no images in this folder"):
        find_sets(tmp_path, None, scale=4)


def test_results_in_selfexsr_s_folder_are_no_ground_truth(tmp_path, rng):
    for ending in ("HR", "LR", "SRCNN"):
        save(tmp_path / f"Some/image_SRF_4/a_SRF_4_{ending}.png", rng.integers(0, 256, (8, 8), np.uint8))
    (found,) = find_sets(tmp_path, None, scale=4)
    assert [pair.gt.name for pair in found.pairs] == ["a_SRF_4_HR.png"]


def test_a_lacking_partner_is_named(tmp_path, rng):
    save(tmp_path / "Some/HR/a.png", rng.integers(0, 256, (8, 8), np.uint8))
    (tmp_path / "Some/LR_bicubic/X4").mkdir(parents=True)
    with pytest.raises(DataError, match=r"X4: has no image for 1 of 1 in HR \(a\); add them"):
        find_sets(tmp_path, None, scale=4)

"""The script of docs/nonaligned.md: how gt is moved, crops, and the tables."""

import runpy
from pathlib import Path

import numpy as np
import pytest

PAGES = Path(__file__).resolve().parents[1] / "scripts/pages"
TABLES = runpy.run_path(str(PAGES / "_nonaligned_page.py"))


@pytest.fixture(scope="module")
def pairs():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(PAGES)
        return runpy.run_path(str(PAGES / "_nonaligned_pairs.py"))


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_offsets_are_whole_pixels_up_to_the_most(pairs, rng):
    drawn = np.array([pairs["offset"](rng, most=2) for _ in range(200)])
    assert (drawn == drawn[:, :1, :1]).all()
    assert sorted(set(drawn.ravel())) == [-2, -1, 0, 1, 2]


@pytest.mark.parametrize(("motion", "corner_px"), [("rotation", 3.6), ("zoom", 2.7)])
def test_turned_and_resized_crops_keep_their_middle(pairs, rng, motion, corner_px):
    drawn = np.linalg.norm([pairs[motion](rng) for _ in range(200)], axis=3)
    middle = pairs["GT_PX"] // 2
    assert drawn[:, middle, middle].max() < 0.04
    assert 0.9 * corner_px < drawn[:, 0, 0].max() < corner_px


def test_a_warp_is_a_piece_of_a_measured_field_in_gt_pixels(pairs, rng):
    field = np.full((48, 48, 2), (0.5, -0.25), np.float32)
    field[:, 24:] *= 2
    drawn = pairs["warp"](rng, fields=[field], scale=4)
    assert drawn.shape == (96, 96, 2)
    assert np.allclose(drawn[..., 0], -2 * drawn[..., 1])
    assert 2 <= drawn[..., 0].min() <= drawn[..., 0].max() <= 4


@pytest.mark.parametrize("scale", [1, 4])
def test_a_crop_without_motion_is_aligned_and_a_moved_one_is_moved(pairs, scale):
    rows, columns = np.mgrid[:160, :200].astype(np.uint8)
    gt = np.stack([rows, columns, 0 * rows], axis=2)
    data = pairs["Data"](scale, [(gt[::scale, ::scale], gt)], [])

    def crops(right, down):
        still = np.full((96, 96, 2), (right, down), np.float32)
        return pairs["moved_crop"](data, lambda _: still, np.random.default_rng(3))

    lq, aligned = crops(0, 0)
    assert lq.shape == (96 // scale, 96 // scale, 3)
    at = np.s_[
        aligned[..., 0].min() : aligned[..., 0].max() + 1, aligned[..., 1].min() : aligned[..., 1].max() + 1
    ]
    assert gt[at].shape == (96, 96, 3)
    assert {tuple(one) for one in lq.reshape(-1, 3)} == {
        tuple(one) for one in gt[at][::scale, ::scale].reshape(-1, 3)
    }
    assert (crops(3, 5)[1] - aligned == (5, 3, 0)).all()
    assert (crops(0, 0)[1] == aligned).all()


def test_an_image_that_is_too_small_is_an_error(pairs, rng):
    gt = np.zeros((100, 100, 3), np.uint8)
    with pytest.raises(Exception, match=r"expected images of at least 144 gt pixels; got \(100, 100, 3\)"):
        pairs["moved_crop"](pairs["Data"](1, [(gt, gt)], []), lambda _: 0, rng)


RESULTS = {
    ("offset 0", "l1"): [
        {"lpips": 0.2, "dists": 0.2, "energy": 0.5, "psnr": 30.0, "steps": 9, "time_s": 2.0}
    ],
    ("offset 0", "cx"): [
        {"lpips": 0.1, "dists": 0.3, "energy": 0.9, "psnr": 28.0, "steps": 3, "time_s": 2.0},
        {"lpips": 0.2, "dists": 0.3, "energy": 0.9, "psnr": 29.0, "steps": 3, "time_s": 3.0},
    ],
    ("offset 8", "cx"): [
        {"lpips": 0.3, "dists": 0.3, "energy": 0.9, "psnr": 28.0, "steps": 4, "time_s": 1.0}
    ],
}
START = {"lpips": 0.4, "dists": 0.4, "energy": 0.4, "psnr": 29.5}


def test_a_table_has_means_and_their_spread_and_shows_the_best():
    lines = list(TABLES["figure_tables"](RESULTS, {"offset 0": START, "offset 8": START}))
    assert lines[:7] == [
        "LPIPS (AlexNet); lower is better:",
        "",
        "| loss | offset 0 | offset 8 |",
        "|---|---|---|",
        "| (the start) | 0.400 | 0.400 |",
        "| l1 | 0.200 | - |",
        "| cx | **0.150** ±0.071 | **0.300** |",
    ]
    assert "| l1 | **30.00** | - |" in lines
    assert "| l1 | 0.50 | - |" in lines  # no energy is the best


def test_the_costs_name_every_number_of_steps():
    costs = {loss: {"step_s": 0.05, "memory_mib": 10.4} for loss in ("l1", "cx")}
    assert list(TABLES["cost_table"](RESULTS, costs))[2:] == [
        "| l1 | 50 ms | 10 MiB | 9 | 2.0 |",
        "| cx | 50 ms | 10 MiB | 3, 4 | 2.0 |",
    ]


def test_changes_are_of_losses_that_have_both_cases():
    said = list(TABLES["changes"](RESULTS, of="offset 0", to="offset 8"))
    assert said == ["- cx: LPIPS +100.0 %, DISTS +0.0 %."]

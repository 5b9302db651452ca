import numpy as np
import pytest
from numpy.testing import assert_array_equal

from srcx.evaluation.report.contact_sheet import GAP_PX, LEAST_PX, SEAM_PX, TITLE_PX, WIDTH_PX, contact_sheet


def pairs_of(rng, count, gt_px, scale=4):
    return [
        tuple(rng.integers(0, 200, (side, side, 3), np.uint8) for side in (gt_px // scale, gt_px))
        for _ in range(count)
    ]


def test_lq_is_repeated_pixel_by_pixel_to_the_size_of_gt_at_its_left(rng):
    pairs = pairs_of(rng, 5, 192)
    sheet = contact_sheet(pairs)
    assert sheet.shape == (
        TITLE_PX + 2 * (192 + GAP_PX) + GAP_PX,
        4 * (2 * 192 + SEAM_PX + GAP_PX) + GAP_PX,
        3,
    )
    for number, (lq, gt) in enumerate(pairs):
        top = TITLE_PX + GAP_PX + number // 4 * (192 + GAP_PX)
        left = GAP_PX + number % 4 * (2 * 192 + SEAM_PX + GAP_PX)
        assert_array_equal(sheet[top : top + 192, left : left + 192], lq.repeat(4, 0).repeat(4, 1))
        right = left + 192 + SEAM_PX
        assert_array_equal(sheet[top : top + 192, right : right + 192], gt)


@pytest.mark.parametrize("gt_px", [4, 32, 96, 250, 2000])
def test_small_crops_are_repeated_and_a_sheet_is_not_much_wider_than_a_screen(rng, gt_px):
    sheet = contact_sheet(pairs_of(rng, 2, gt_px))
    factor = max(1, -(-LEAST_PX // gt_px))
    width = 2 * gt_px * factor + SEAM_PX + 2 * GAP_PX
    assert width <= sheet.shape[1] <= max(width, WIDTH_PX + GAP_PX)


def test_one_pair_is_a_sheet_too(rng):
    assert contact_sheet(pairs_of(rng, 1, 8, scale=1)).dtype == np.uint8

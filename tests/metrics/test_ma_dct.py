import math

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.fft import dctn
from scipy.special import gamma

from srcx.metrics.ma_dct import SECTORS, block_statistics, dct_features, shape_of, three_scales

UPPER = [(0, range(1, 7)), (1, range(2, 7)), (2, range(4, 7)), (3, range(5, 7))]
MIDDLE = [(1, [1]), (2, [2, 3]), (3, [2, 3, 4]), (4, [3, 4, 5, 6]), (5, [4, 5, 6]), (6, [4, 5, 6])]


def shape_by_the_book(values):
    """gama_gen_gauss of the authors' code."""
    shapes = np.arange(0.03, 10.0005, 0.001)
    ratios = gamma(1 / shapes) * gamma(3 / shapes) / gamma(2 / shapes) ** 2
    centred = values - values.mean()
    ratio = values.var(ddof=1) / (np.abs(centred).mean() ** 2 + 1e-7)
    return shapes[np.argmin(np.abs(ratios - ratio))]


def deviation_by_the_book(values, guard):
    return np.abs(values).std(ddof=1) / (np.abs(values).mean() + guard)


def statistics_by_the_book(image):
    """block_dct of the authors' code: 7 x 7 blocks every 3 pixels, one after the other."""
    height, width = image.shape
    padded = np.zeros((height + 9, width + 9))
    padded[2 : 2 + height, 2 : 2 + width] = image
    shapes, variations, orientations = [], [], []
    for i in range(math.ceil(height / 3)):
        for j in range(math.ceil(width / 3)):
            block = dctn(padded[3 * i : 3 * i + 7, 3 * j : 3 * j + 7], norm="ortho")
            shapes.append(shape_by_the_book(block.ravel()[1:]))
            variations.append(deviation_by_the_book(block.ravel()[1:], 1e-7))
            upper, middle, lower = (
                np.concatenate([turned[row, list(cols)] for row, cols in sector])
                for turned, sector in ((block, UPPER), (block, MIDDLE), (block.T, UPPER))
            )
            orientations.append(
                np.var([deviation_by_the_book(part, 1e-8) for part in (upper, middle, lower)], ddof=1)
            )
    shapes, variations, orientations = sorted(shapes), sorted(variations), sorted(orientations)
    count = len(shapes)
    highest = int(0.9 * count) - 1
    return [
        np.mean(shapes[: math.ceil(0.1 * count)]),
        np.mean(shapes),
        np.mean(variations[highest:]),
        np.mean(variations),
        np.mean(orientations[highest:]),
        np.mean(orientations),
    ]


@pytest.mark.parametrize(("height", "width"), [(21, 24), (22, 26), (20, 25)])
def test_equals_the_authors_steps_written_out(height, width, rng):
    image = rng.uniform(0, 1, (height, width)) ** 2
    assert_allclose(block_statistics(image), statistics_by_the_book(image), rtol=1e-10)


def test_the_sectors_hold_16_coefficients_each_and_mirror():
    assert [int((k == SECTORS).sum()) for k in range(4)] == [1, 16, 16, 16]
    assert_allclose(SECTORS.T == 1, SECTORS == 3)


def test_a_constant_block_has_the_largest_shape():
    assert shape_of(np.zeros((48, 1)))[0] == pytest.approx(10)


def test_each_scale_is_smoothed_and_every_second_pixel_kept():
    grey = np.zeros((9, 8), np.uint8)
    grey[3, 5] = 255
    one, two, three = three_scales(grey)
    assert [scale.shape for scale in (one, two, three)] == [(9, 8), (4, 4), (2, 2)]
    assert two[1, 2] == pytest.approx(1 / (1 + 2 * math.exp(-2)) ** 2)
    assert np.count_nonzero(two > 1e-12) == 1


def test_beyond_the_border_it_is_black():
    two = three_scales(np.full((8, 8), 255, np.uint8))[1]
    side = math.exp(-2) / (1 + 2 * math.exp(-2))
    assert_allclose(two[:3, :3], 1)
    assert two[3, 3] == pytest.approx((1 - side) ** 2)


def test_six_numbers_for_each_scale(photo):
    scales = three_scales(photo[..., 0])
    assert_allclose(dct_features(scales)[6:12], block_statistics(scales[1]))

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose

from srcx.metrics.generalised_gaussian import (
    ShapeTable,
    asymmetric_fit,
    ma_table,
    moment_ratio,
    niqe_table,
    symmetric_shape,
)


def test_knows_the_ratios_of_laplace_and_normal():
    assert_allclose(moment_ratio(np.array([1.0, 2.0])), [2, np.pi / 2])


@pytest.mark.parametrize(("table", "first"), [(niqe_table(), 0.2), (ma_table(), 0.03)])
def test_covers_the_authors_range(table, first):
    assert_allclose([table.shapes[0], table.shapes[-1]], [first, 10])
    assert_allclose(np.diff(table.shapes), 0.001)


@pytest.mark.parametrize("table", [niqe_table(), ma_table()])
def test_equals_a_search_through_the_whole_table(table, rng):
    low, high = sorted((table.ratios[0], table.ratios[-1]))
    ratio = np.concatenate([rng.uniform(low, min(high, 20), 300), [low - 1, high + 1, 0.0]])
    whole = [table.shapes[np.argmin(np.abs(table.ratios - one))] for one in ratio]
    assert_allclose(table.nearest(ratio), whole, rtol=0, atol=0)


@pytest.mark.parametrize("table", [niqe_table(), ma_table()])
def test_nan_gives_the_first_shape_as_in_matlab(table):
    assert table.nearest(np.array([np.nan]))[0] == table.shapes[0]


@pytest.mark.parametrize("ratios", [[0.0, 1.0, 2.0], [2.0, 1.0, 0.0]])
def test_of_two_as_near_the_first_is_taken_as_in_matlab(ratios):
    table = ShapeTable(np.array([5.0, 6.0, 7.0]), np.array(ratios))
    assert_allclose(table.nearest(np.array([0.5, 1.5])), [5, 6] if ratios[0] == 0 else [6, 5])


def test_a_normal_distribution_is_recognised(rng):
    shape, left, right = asymmetric_fit(3 * rng.standard_normal((1, 200_000)))
    assert_allclose([shape[0], left[0], right[0]], [2, 3 * math.sqrt(2), 3 * math.sqrt(2)], rtol=0.02)


def test_one_sided_values_give_nan_on_the_other_side():
    shape, left, right = asymmetric_fit(np.array([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]]))
    assert_allclose(shape, 0.2)
    assert_allclose(np.isnan(left), [True, True])
    assert_allclose(np.isnan(right), [False, True])


def test_a_constant_block_has_the_largest_shape():
    assert symmetric_shape(np.zeros((48, 1)))[0] == pytest.approx(10)

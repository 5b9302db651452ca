import numpy as np
import pytest
from numpy.testing import assert_allclose

from srcx.errors import WeightsError
from srcx.metrics.forest import pack_forest


def grow(rng, trees, nodes, features):
    """Tables as regRF_train fills them: children come in pairs after their parent, unused rows are 0."""
    left, right, feature = (np.zeros((nodes, trees), np.int32) for _ in range(3))
    threshold, mean = np.zeros((nodes, trees)), np.zeros((nodes, trees))
    for tree in range(trees):
        last = 0  # the last node in use
        for node in range(nodes):
            if node > last:
                break
            mean[node, tree] = rng.standard_normal()
            if last + 2 < nodes and (node == 0 or rng.random() < 0.7) and tree != trees - 1:
                left[node, tree], right[node, tree] = last + 2, last + 3
                feature[node, tree] = rng.integers(1, features + 1)
                threshold[node, tree] = rng.integers(-2, 3)
                last += 2
    return left, right, feature, threshold, mean


def predict_one_by_one(tables, sample):
    left, right, feature, threshold, mean = tables
    values = []
    for tree in range(left.shape[1]):
        node = 0
        while left[node, tree] > 0:
            goes_left = sample[feature[node, tree] - 1] <= threshold[node, tree]
            node = (left if goes_left else right)[node, tree] - 1
        values.append(mean[node, tree])
    return np.mean(values)


def test_equals_walking_down_each_tree(rng):
    tables = grow(rng, trees=12, nodes=41, features=5)  # the last tree is a single leaf
    samples = rng.integers(-3, 4, (50, 5)).astype(float)  # many equal a threshold
    wanted = [predict_one_by_one(tables, sample) for sample in samples]
    assert_allclose(pack_forest("toy", *tables).predict(samples), wanted, rtol=0, atol=1e-14)


def test_a_tie_goes_left():
    column = [np.array([[2], [0], [0]]), np.array([[3], [0], [0]]), np.array([[1], [0], [0]])]
    forest = pack_forest("toy", *column, np.array([[0.5], [0], [0]]), np.array([[0.0], [10], [20]]))
    assert_allclose(forest.predict(np.array([[0.5], [np.nextafter(0.5, 1)]])), [10, 20])


def test_unused_rows_are_not_kept(rng):
    tables = grow(rng, trees=3, nodes=9, features=2)
    padded = [np.pad(table, ((0, 500), (0, 0))) for table in tables]
    assert len(pack_forest("toy", *padded).number) <= 27


def test_no_samples_have_no_predictions(rng):
    forest = pack_forest("toy", *grow(rng, trees=3, nodes=9, features=2))
    assert forest.predict(np.zeros((0, 2))).shape == (0,)


@pytest.mark.parametrize("children", [(1, 3), (2, 1), (2, 99)])
def test_a_loop_or_a_child_outside_is_an_error(children):
    left, right = (np.array([[child], [0], [0]]) for child in children)
    with pytest.raises(WeightsError, match=r"toy: .*damaged"):
        pack_forest("toy", left, right, np.array([[1], [0], [0]]), np.zeros((3, 1)), np.zeros((3, 1)))


def test_tables_of_different_shape_are_an_error():
    tables = [np.zeros((3, 2))] * 4 + [np.zeros((3, 1))]
    with pytest.raises(WeightsError, match="toy: its tables differ in shape"):
        pack_forest("toy", *tables)

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.io import savemat

from srcx.errors import WeightsError
from srcx.metrics import ma_model as module
from srcx.metrics.ma_model import ma_model, pack_forest, read_mat
from srcx.weights.published import cache_folder


def stump(feature, low, high):
    """A forest of one tree that says `low` where the feature is at most 0.5, else `high`."""
    return {
        "lDau": np.array([[2], [0], [0]], np.int32),
        "rDau": np.array([[3], [0], [0]], np.int32),
        "mbest": np.array([[feature], [0], [0]], np.int32),
        "upper": np.array([[0.5], [0.0], [0.0]]),
        "avnode": np.array([[0.0], [low], [high]]),
    }


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def write(tmp_path):
    def write_mat(*forests, linear=(1.0, 10.0, 100.0, 1000.0), compressed=False):
        cell = np.empty((3, 1), object)
        cell[:, 0] = forests or (stump(1, 1, 2), stump(45, 3, 4), stump(75, 5, 6))
        file = tmp_path / "model.mat"
        savemat(file, {"model": {"rf": cell, "linear": np.array(linear)[:, None]}}, do_compression=compressed)
        return file

    return write_mat


def features(*last):
    return tuple(
        np.array([[0.0] * (size - 1) + [value]]) for size, value in zip((18, 45, 75), last, strict=True)
    )


def test_combines_three_forests_linearly(write):
    model = ma_model(write())
    assert_allclose(model.score(features(0, 0, 0)), 1 + 10 * 1 + 100 * 3 + 1000 * 5)
    assert_allclose(model.score(features(9, 9, 9)), 1 + 10 * 1 + 100 * 4 + 1000 * 6)


def test_is_packed_once_into_the_cache_without_pickles(write, monkeypatch):
    file = write()
    ma_model(file)
    packed = list(cache_folder().glob("ma-*.safetensors"))
    assert len(packed) == 1
    module._model_of.cache_clear()
    monkeypatch.setattr(module, "read_mat", None)
    assert_allclose(ma_model(file).score(features(0, 9, 0)), 1 + 10 + 400 + 5000)


def test_a_changed_file_is_read_again(write):
    ma_model(write())
    changed = ma_model(write(stump(1, 7, 7), stump(1, 0, 0), stump(1, 0, 0)))
    assert_allclose(changed.score(features(0, 0, 0)), 71)


@pytest.mark.parametrize("layout", ["model.mat", "model_matlab_char_layout.mat"])
def test_the_toy_forests_predict_as_the_authors_c_code(reference, layout):
    folder = reference.folder / "toy_forest"
    stored = np.load(folder / "model_and_predictions.npz")
    model = read_mat(folder / layout)
    samples = stored["X1"], stored["X2"], stored["X3"]
    predictions = [forest.predict(group) for forest, group in zip(model.forests, samples, strict=True)]
    assert_allclose(np.transpose([*predictions, model.score(samples)]), stored["P"], rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "content", [b"", b"not a mat file" * 100, b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM"]
)
def test_another_file_is_an_error(tmp_path, content):
    file = tmp_path / "model.mat"
    file.write_bytes(content)
    with pytest.raises(WeightsError, match=r"model.mat: not the author's model.mat .*srcx weights fetch ma"):
        ma_model(file)


@pytest.mark.parametrize("compressed", [True, False])
def test_a_damaged_file_is_an_error(write, compressed):
    file = write(compressed=compressed)
    content = file.read_bytes()
    file.write_bytes(content[:200] + bytes(40) + content[240:-100])
    with pytest.raises(WeightsError, match="not the author's"):
        ma_model(file)


def test_another_mat_file_is_an_error(tmp_path):
    savemat(tmp_path / "model.mat", {"something": np.eye(3)})
    with pytest.raises(WeightsError, match="not the author's"):
        ma_model(tmp_path / "model.mat")


def test_too_few_weights_are_an_error(write):
    with pytest.raises(WeightsError, match="expected 3 forests and 4 weights; got 3 and 2"):
        ma_model(write(linear=(1.0, 2.0)))


def test_a_feature_that_is_not_there_is_an_error(write):
    with pytest.raises(WeightsError, match="forest of dct uses more than 18 features"):
        ma_model(write(stump(19, 1, 2), stump(1, 3, 4), stump(1, 5, 6)))


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


def test_unused_rows_are_left_out(rng):
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

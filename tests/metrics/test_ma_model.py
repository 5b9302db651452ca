import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.io import savemat

from srcx.errors import WeightsError
from srcx.metrics import ma_model as module
from srcx.metrics.ma_model import ma_model, read_mat
from srcx.weights.fixed import cache_folder


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


def test_a_changed_file_is_read_anew(write):
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
    with pytest.raises(WeightsError, match="forest of dct asks for more than 18 features"):
        ma_model(write(stump(19, 1, 2), stump(1, 3, 4), stump(1, 5, 6)))

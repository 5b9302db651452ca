import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from srcx.errors import ImageError, WeightsError
from srcx.imaging.color import rgb_to_grey, rgb_to_y
from srcx.metrics import ma, ma_features
from srcx.metrics import ma_model as module


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def test_three_groups_on_the_shaved_y(photo):
    groups = ma_features(photo)
    assert [group.shape for group in groups] == [(18,), (45,), (75,)]
    y = np.ascontiguousarray(rgb_to_y(photo)[4:-4, 4:-4])
    for one, other in zip(groups, ma_features(y, crop_px=0), strict=True):
        assert_allclose(one, other)


def test_a_batch_gives_batches_of_features(photo, draw):
    images = [photo, draw(*photo.shape[:2], seed=1)]
    batch = torch.stack([torch.from_numpy(image / 255).permute(2, 0, 1).float() for image in images])
    for one, rows in zip(ma_features(batch), zip(*map(ma_features, images), strict=True), strict=True):
        assert_allclose(one, np.stack(rows))


@pytest.mark.parametrize(
    ("key", "name", "index"),
    [
        ("pirm__Set5_003_HR", "Set5", 3),
        ("rgb__Set5_003_bicubic", "Set5", 3),
        ("pirm__Set14_006_bicubic", "Set14", 6),
    ],
)
def test_equal_the_authors_features(reference, key, name, index):
    stored = np.load(reference.folder / "features.npz")
    row = list(stored["keys"]).index(key)
    image = (reference.hr if key.endswith("HR") else reference.bicubic)(name, index)
    ours = ma_features(image) if key.startswith("pirm") else ma_features(rgb_to_grey(image), crop_px=0)
    for group, table in zip(ours, ("F1", "F2", "F3"), strict=True):
        assert_allclose(group, stored[table][row], rtol=1e-7)


def test_the_score_of_a_image_equals_the_authors(reference):
    toy = reference.folder / "toy_forest"
    stored = np.load(toy / "model_and_predictions.npz")
    row = list(stored["keys"]).index("pirm__Set5_004_HR")
    score = ma(reference.hr("Set5", 4), weights_path=toy / "model.mat")
    assert score == pytest.approx(stored["s"][row, 3], abs=1e-12)


def test_without_the_model_it_says_so(photo, monkeypatch):
    def nothing_found(name, *, path=None):
        raise WeightsError(f"weights of {name} are not on this machine")

    monkeypatch.setattr(module, "find_weights", nothing_found)
    with pytest.raises(WeightsError, match="weights of ma are not on this machine"):
        ma(photo)


@pytest.mark.parametrize(("height", "width"), [(52, 200), (91, 91)])
def test_too_small_a_image_is_an_error(height, width, draw):
    with pytest.raises(ImageError, match="ma: needs"):
        ma_features(draw(height, width))


def test_the_smallest_image_has_features(draw):
    assert all(np.isfinite(group).all() for group in ma_features(draw(92, 92)))


def test_a_constant_image_is_an_error():
    with pytest.raises(ImageError, match="no structure"):
        ma_features(np.full((120, 120, 3), 90, np.uint8))


def test_alpha_and_floats_are_errors():
    with pytest.raises(ImageError, match="ma: sr has an alpha channel"):
        ma_features(np.zeros((120, 120, 4), np.uint8))
    with pytest.raises(ImageError, match="float64"):
        ma_features(np.zeros((120, 120, 3)))

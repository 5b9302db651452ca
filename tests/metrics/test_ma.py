import math

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from scipy.fft import dctn
from scipy.special import gamma

from srcx.errors import ImageError, WeightsError
from srcx.imaging.color import rgb_to_grey, rgb_to_y
from srcx.metrics import ma, ma_features
from srcx.metrics import ma_model as module
from srcx.metrics.ma import (
    SECTORS,
    block_statistics,
    dct_features,
    patches,
    pca_features,
    three_scales,
)


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


def test_the_score_of_an_image_equals_the_authors(reference):
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
def test_too_small_an_image_is_an_error(height, width, draw):
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


UPPER = [(0, range(1, 7)), (1, range(2, 7)), (2, range(4, 7)), (3, range(5, 7))]
MIDDLE = [(1, [1]), (2, [2, 3]), (3, [2, 3, 4]), (4, [3, 4, 5, 6]), (5, [4, 5, 6]), (6, [4, 5, 6])]


def shape_written_out(values):
    """gama_gen_gauss of the authors' code."""
    shapes = np.arange(0.03, 10.0005, 0.001)
    ratios = gamma(1 / shapes) * gamma(3 / shapes) / gamma(2 / shapes) ** 2
    centred = values - values.mean()
    ratio = values.var(ddof=1) / (np.abs(centred).mean() ** 2 + 1e-7)
    return shapes[np.argmin(np.abs(ratios - ratio))]


def deviation_written_out(values, guard):
    return np.abs(values).std(ddof=1) / (np.abs(values).mean() + guard)


def statistics_written_out(image):
    """block_dct of the authors' code: 7 x 7 blocks every 3 pixels, one after the other."""
    height, width = image.shape
    padded = np.zeros((height + 9, width + 9))
    padded[2 : 2 + height, 2 : 2 + width] = image
    shapes, variations, orientations = [], [], []
    for i in range(math.ceil(height / 3)):
        for j in range(math.ceil(width / 3)):
            block = dctn(padded[3 * i : 3 * i + 7, 3 * j : 3 * j + 7], norm="ortho")
            shapes.append(shape_written_out(block.ravel()[1:]))
            variations.append(deviation_written_out(block.ravel()[1:], 1e-7))
            upper, middle, lower = (
                np.concatenate([turned[row, list(cols)] for row, cols in sector])
                for turned, sector in ((block, UPPER), (block, MIDDLE), (block.T, UPPER))
            )
            orientations.append(
                np.var([deviation_written_out(part, 1e-8) for part in (upper, middle, lower)], ddof=1)
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
    assert_allclose(block_statistics(image), statistics_written_out(image), rtol=1e-10)


def test_the_sectors_hold_16_coefficients_each_and_mirror():
    assert [int((k == SECTORS).sum()) for k in range(4)] == [1, 16, 16, 16]
    assert_allclose(SECTORS.T == 1, SECTORS == 3)


def test_each_scale_is_smoothed_and_every_second_pixel_taken():
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


def test_patches_lie_side_by_side_and_are_filled_with_black():
    image = np.arange(1.0, 43).reshape(6, 7)
    cut = patches(image)
    assert cut.shape == (4, 25)
    assert_allclose(np.sort(cut[0]), np.sort(image[:5, :5].ravel()))
    assert_allclose(cut[3][cut[3] > 0], image[5, 5:])


def test_values_are_the_roots_of_the_eigenvalues(rng):
    image = rng.uniform(0, 1, (30, 40))
    vectors = np.array(
        [image[i : i + 5, j : j + 5].ravel() for i in range(0, 30, 5) for j in range(0, 40, 5)]
    )
    eigenvalues = np.linalg.eigvalsh(vectors.T @ vectors)[::-1]
    assert_allclose(pca_features([image]), np.sqrt(eigenvalues), rtol=1e-8)


def test_scales_follow_each_other(rng):
    scales = [rng.uniform(0, 1, (40, 40)), rng.uniform(0, 1, (30, 30)), rng.uniform(0, 1, (25, 25))]
    features = pca_features(scales)
    assert features.shape == (75,)
    assert_allclose(features[50:], pca_features(scales[2:]))


def test_too_few_patches_are_an_error():
    scales = [np.zeros((83, 90)), np.zeros((41, 45)), np.zeros((20, 22))]
    with pytest.raises(ImageError, match=r"ma: needs 25 patches .* got 20 in one of 90 x 83"):
        pca_features(scales)

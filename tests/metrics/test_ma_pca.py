import numpy as np
import pytest
from numpy.testing import assert_allclose

from srcx.errors import ImageError
from srcx.metrics.ma_pca import patches, pca_features


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

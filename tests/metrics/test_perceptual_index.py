import pytest

from srcx.metrics import index_of, ma, niqe, perceptual_index


def test_is_the_mean_of_niqe_and_what_ma_lacks_to_ten():
    assert index_of(ma=3.72, niqe=7.71) == pytest.approx(6.995)  # bicubic on BSD100, as published


def test_combines_the_two_scores_of_an_image(reference, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    model = reference.folder / "toy_forest" / "model.mat"
    image = reference.hr("Set5", 3)
    wanted = (10 - ma(image, weights_path=model) + niqe(image)) / 2
    assert perceptual_index(image, weights_path=model) == pytest.approx(wanted, abs=1e-12)

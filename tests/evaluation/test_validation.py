import math
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from torch import nn

from srcx.data import WholePair
from srcx.errors import ImageError, WeightsError
from srcx.evaluation.folders import score_folders
from srcx.evaluation.scoring import find_metrics
from srcx.evaluation.validation import ValidationSet, upscale, validate
from srcx.imaging import read_image, to_image, write_image
from srcx.metrics import rmse, rmse_of_set
from srcx.metrics.metric import Metric
from srcx.registry import METRICS


def mean_difference(sr, gt):
    return float(np.abs(sr.astype(int) - gt).mean())


def pair(name, value=0.2, *, gt=True):
    lq = torch.full((1, 3, 4, 6), value)
    return WholePair(name, lq, torch.full((1, 3, 8, 12), value) if gt else None)


@pytest.fixture
def doubling():
    """Upscales by repeating pixels, exactly."""
    net = nn.Sequential(nn.Conv2d(3, 3, 1), nn.Upsample(scale_factor=2))
    net[0].weight.data.copy_(torch.eye(3)[..., None, None])
    net[0].bias.data.zero_()
    return net


def test_results_are_means_over_images(doubling):
    metrics = [Metric("difference", mean_difference, True, False), Metric("mean", np.mean, False, True)]
    pairs = [pair("a", 0.2), pair("b", 0.4)]
    assert validate(doubling, ValidationSet("set", pairs, metrics)) == {
        "difference": 0,
        "mean": pytest.approx(76.5),
    }


def test_images_are_saved_where_asked(doubling, tmp_path):
    validate(
        doubling, ValidationSet("set", [pair("a")]), save_as=lambda name: tmp_path / "new" / f"{name}.png"
    )
    assert (read_image(tmp_path / "new/a.png") == 51).all()


def test_the_network_runs_in_eval_mode_and_gets_its_mode_back():
    seen = []

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1))

        def forward(self, x):
            seen.append((self.training, torch.is_inference_mode_enabled()))
            return x

    net = Net().train()
    validate(net, ValidationSet("set", [pair("a")]))
    assert set(seen) == {(False, True)}
    assert net.training


def test_a_metric_that_cannot_rate_an_image_has_no_value_and_the_others_have(doubling, caplog):
    def of_large_ones(sr):
        if sr.mean() > 100:
            raise ImageError("too bright to rate")
        return sr.mean()

    metrics = [Metric("some", of_large_ones, False, True), Metric("mean", np.mean, False, True)]
    results = validate(doubling, ValidationSet("Set5", [pair("a", 0.2), pair("b", 0.8)], metrics))
    assert results == {"some": None, "mean": pytest.approx(127.5)}
    assert caplog.messages == ["Set5: no some: 1 of 2 images have none: b: too bright to rate"]


def test_a_metric_that_needs_ground_truth_says_where_it_is_missing(doubling, caplog):
    metrics = [Metric("difference", mean_difference, True, False)]
    assert validate(doubling, ValidationSet("Set5", [pair("bird", gt=False)], metrics)) == {
        "difference": None
    }
    assert "Set5: no difference: bird: difference: compares with a ground truth" in caplog.text


@pytest.mark.parametrize(("value", "said"), [(math.inf, "infinite: sr equals gt"), (math.nan, "not a num")])
def test_a_value_that_is_not_finite_is_none(doubling, caplog, value, said):
    metrics = [Metric("odd", lambda sr: value, False, True)]
    assert validate(doubling, ValidationSet("Set5", [pair("a")], metrics)) == {"odd": None}
    assert said in caplog.text


def test_the_network_gets_its_mode_back_where_validation_fails(doubling):
    def broken(sr):
        raise RuntimeError("out of luck")

    metrics = [Metric("broken", broken, False, True)]
    with pytest.raises(RuntimeError, match="out of luck"):
        validate(doubling.train(), ValidationSet("Set5", [pair("a")], metrics))
    assert doubling.training


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_looks_for_its_weights_before_there_is_an_image(name, monkeypatch, rng):
    """Which metrics need weights, their docstrings say; the others rate an image without any."""

    def missing(*_, **__):
        raise WeightsError("the weights are not available")

    monkeypatch.setattr("srcx.weights.fixed.local_file", lambda name: None)
    monkeypatch.setattr("srcx.weights.fixed.fetch", missing)
    metric = METRICS[name]
    checked = Metric.of(name, metric, {})
    if "WeightsError" in metric.__doc__:
        with pytest.raises(WeightsError, match="not available"):
            checked.check()
    else:
        metric(*[rng.integers(0, 256, (200, 200, 3), np.uint8)] * (2 if metric.needs_gt else 1))
        checked.check()


def test_window_networks_get_whole_windows_and_the_rest_is_cut_off(doubling):
    shapes = []

    class Windowed(nn.Module):
        window_size = 4

        def __init__(self):
            super().__init__()
            self.inner = doubling

        def forward(self, x):
            shapes.append(tuple(x.shape[-2:]))
            return self.inner(x)

    lq = torch.rand(1, 3, 5, 7)
    sr = upscale(Windowed().eval(), lq)
    assert shapes[-1] == (8, 8)
    assert torch.equal(sr, doubling(lq))


@pytest.mark.parametrize(("height", "width"), [(70, 41), (9, 3), (1, 1), (16, 24)])
def test_basicsr_s_swinir_gets_whole_windows_as_swinirmodel_gives_it(height, width):
    """Set5's head is 70 x 70; the network itself takes multiples of its window of 8 alone."""
    if find_spec("basicsr") is None:
        pytest.skip("BasicSR is not installed")
    from srcx.basicsr_compat.parts import AllParts

    net = AllParts().network("SwinIR")(
        img_size=16,
        window_size=8,
        embed_dim=12,
        depths=[2],
        num_heads=[2],
        upscale=2,
        upsampler="pixelshuffledirect",
    )
    lq = torch.rand(1, 3, height, width)
    sr = upscale(net.eval(), lq)
    padded = np.pad(lq.numpy(), [(0, 0), (0, 0), (0, -height % 8), (0, -width % 8)], mode="reflect")
    with torch.inference_mode():
        expected = net(torch.from_numpy(padded))[..., : 2 * height, : 2 * width]
    torch.testing.assert_close(sr, expected)


def test_the_rmse_of_a_set_is_that_of_the_benchmark(doubling):
    def wrong_by(value):
        made = pair(str(value), 0.5)
        return WholePair(made.name, made.lq, made.gt + value)

    metrics = [Metric.of("rmse", rmse, {"crop_px": 0})]
    both = [wrong_by(0.1), wrong_by(0.3)]
    each = [validate(doubling, ValidationSet("set", [one], metrics))["rmse"] for one in both]
    assert validate(doubling, ValidationSet("set", both, metrics))["rmse"] == pytest.approx(rmse_of_set(each))


def test_validation_scores_images_as_the_benchmark_scores_their_files(doubling, tmp_path):
    metrics = find_metrics(["psnr", "ssim", "niqe", "rmse"], scale=2)
    pairs = [WholePair(name, torch.rand(1, 3, 12, 14), torch.rand(1, 3, 24, 28)) for name in ("a", "b")]
    values = validate(
        doubling, ValidationSet("set", pairs, metrics), save_as=lambda name: tmp_path / f"sr/{name}.png"
    )
    (tmp_path / "gt").mkdir()
    for one in pairs:
        write_image(tmp_path / f"gt/{one.name}.png", to_image(one.gt))
    scores = score_folders(tmp_path / "sr", tmp_path / "gt", list(values), border_px=2)
    assert values == scores.means.values
    assert [name for name, value in values.items() if value is None] == ["niqe"]

import json
import math
import os
import subprocess
import sys
import time
from importlib.util import find_spec

import numpy as np
import psutil
import pytest
import torch
from torch import nn

from srcx.data import WholePair
from srcx.data.dataset import Levels
from srcx.errors import ImageError, TrainingError, WeightsError
from srcx.evaluation.folders import score_folders
from srcx.evaluation.scoring import InThisProcess, find_metrics, metric_executor
from srcx.evaluation.validation import (
    ValidationSet,
    start_validation,
    upscale,
    validate,
    validate_bicubic,
)
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


def test_figures_and_images_are_those_of_the_pixels_whatever_mean_and_std_are(doubling, tmp_path):
    def results(levels, tile_px):
        images = np.random.default_rng(0).integers(0, 256, (1, 80, 60, 3), np.uint8)
        pairs = [WholePair("a", levels(images[:, ::2, ::2]), levels(images), levels)]
        one = ValidationSet("set", pairs, find_metrics(["psnr"], scale=2))
        saved = tmp_path / f"{tile_px}.png"
        figures = validate(doubling, one, tile_px=tile_px, save_as=lambda name: saved)
        return figures, validate_bicubic(one, scale=2), read_image(saved).tolist()

    normalised = Levels(mean=(0.5, 0.4, 0.3), std=(0.5, 0.6, 0.7))
    for tile_px in (0, 32):
        assert results(normalised, tile_px) == results(Levels(), tile_px)


def test_images_are_saved_where_asked(doubling, tmp_path):
    validate(
        doubling, ValidationSet("set", [pair("a")]), save_as=lambda name: tmp_path / "new" / f"{name}.png"
    )
    assert (read_image(tmp_path / "new/a.png") == 51).all()


def test_the_network_runs_in_eval_mode_without_gradients_and_gets_its_mode_back():
    seen = []

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1))

        def forward(self, x):
            seen.append((self.training, torch.is_grad_enabled()))
            return x

    net = Net().train()
    validate(net, ValidationSet("set", [pair("a")]))
    assert set(seen) == {(False, False)}
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

    lq, images = torch.rand(1, 3, 5, 7), []
    validation_set = ValidationSet("set", [WholePair("a", lq, None)])
    start_validation(
        Windowed(), validation_set, InThisProcess(), on_image=lambda _, image: images.append(image)
    )
    assert shapes[-1] == (8, 8)
    assert np.array_equal(images, [to_image(doubling(lq))])


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
    sr = upscale(net.eval(), lq, multiple_of=8)
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


class Wide(nn.Module):
    """Sees 25 pixels around, takes multiples of 4, and doubles the size."""

    window_size = 4

    def __init__(self, channels):
        super().__init__()
        self.blur = nn.Conv2d(channels, 4 * channels, 51, padding=25)
        self.shuffle = nn.PixelShuffle(2)
        self.seen = []

    def forward(self, x):
        self.seen.append(tuple(x.shape[-2:]))
        return self.shuffle(self.blur(x))


@pytest.mark.parametrize("channels", [1, 3])
def test_tiles_give_the_image_of_the_whole(channels):
    net, images = Wide(channels).eval(), []
    pairs = [WholePair("large", torch.rand(1, channels, 150, 101), None)]
    for tile_px in (0, 60):
        net.seen.clear()
        start_validation(
            net, ValidationSet("set", pairs), metric_executor(0), tile_px=tile_px,
            on_image=lambda pair, sr: images.append(sr),
        )  # fmt: skip
        largest = max(max(size) for size in net.seen)
        assert (largest > 150) == (tile_px == 0)
    whole, tiled = images
    assert whole.shape == tiled.shape == (300, 202, 3)[: 2 + (channels > 1)]
    difference = np.abs(whole.astype(int) - tiled)
    assert difference.max() <= 1  # rounding, where a tile fades into the next
    assert (difference > 0).mean() < 0.01


def test_a_smaller_image_is_run_whole():
    net = Wide(3).eval()
    validate(net, ValidationSet("set", [WholePair("a", torch.rand(1, 3, 60, 56), None)]), tile_px=60)
    assert net.seen[-1] == (60, 56)


@pytest.fixture(scope="module")
def processes():
    with metric_executor(1) as executor:
        yield executor


@pytest.mark.parametrize("waiting", [1, 2**30])
def test_other_processes_give_the_same_figures_and_reasons(doubling, processes, caplog, monkeypatch, waiting):
    monkeypatch.setattr("srcx.evaluation.validation.WAITING_BYTES", waiting)
    metrics = find_metrics(["psnr", "rmse", "niqe"], scale=1)
    pairs = [WholePair(str(n), torch.rand(1, 3, 12, 14), torch.rand(1, 3, 24, 28)) for n in range(3)]
    expected = validate(doubling, ValidationSet("set", pairs, metrics))
    said = list(caplog.messages)
    caplog.clear()
    started = start_validation(doubling, ValidationSet("set", pairs, metrics), processes)
    assert started.results() == expected
    assert caplog.messages == said
    assert started.is_done()


def test_an_error_of_a_metric_in_another_process_arrives(doubling, processes):
    broken = ValidationSet("set", [pair("a")], [Metric("broken", json.dumps, False, True)])
    started = start_validation(doubling, broken, processes)
    with pytest.raises(TypeError, match="not JSON serializable"):
        started.results()


class Deadly:
    """The process that receives it dies."""

    def __reduce__(self):
        return os._exit, (1,)


def test_a_process_that_dies_is_named_with_the_option(doubling):
    metrics = [Metric("dead", np.mean, False, True, args={"axis": Deadly()})]
    with metric_executor(1) as executor:
        started = start_validation(doubling, ValidationSet("Set5", [pair("a")], metrics), executor)
        with pytest.raises(TrainingError, match=r"Set5: a process that computes .* lower val.metric_workers"):
            started.results()
        with pytest.raises(TrainingError, match="Set5: a process that computes metrics has died"):
            start_validation(doubling, ValidationSet("Set5", [pair("b")], metrics), executor)


PARENT = """
import os, signal
from srcx.evaluation.scoring import metric_executor
if __name__ == "__main__":
    print(metric_executor(1).submit(os.getpid).result(), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_process_for_metrics_ends_with_the_one_that_started_it(tmp_path):
    (tmp_path / "parent.py").write_text(PARENT)
    command = [sys.executable, str(tmp_path / "parent.py")]
    worker = int(subprocess.run(command, capture_output=True, text=True, timeout=300).stdout)
    patience = time.monotonic() + 60
    while psutil.pid_exists(worker) and psutil.Process(worker).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < patience
        time.sleep(0.1)


STOPPED = """
import os, signal
from srcx.evaluation.scoring import metric_executor
if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: print("stopping", flush=True))
    with metric_executor(1) as executor:
        executor.submit(os.getpid).result()
        os.killpg(0, signal.SIGTERM)
        print(executor.submit(max, 2, 3).result(), flush=True)
"""


def test_a_process_for_metrics_outlives_a_signal_that_stops_the_training_after_the_iteration(tmp_path):
    (tmp_path / "stopped.py").write_text(STOPPED)
    command = [sys.executable, str(tmp_path / "stopped.py")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, start_new_session=True)
    assert done.stdout.split() == ["stopping", "3"]

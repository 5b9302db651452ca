import numpy as np
import pytest
import torch
from torch import nn

from srcx.data import WholePair
from srcx.errors import DataError
from srcx.imaging import read_picture
from srcx.validation import Metric, ValidationSet, super_resolve, validate


def mean_difference(sr, gt):
    return float(np.abs(sr.astype(int) - gt).mean())


def pair(name, value=0.2, *, gt=True):
    lq = torch.full((1, 3, 4, 6), value)
    return WholePair(name, lq, torch.full((1, 3, 8, 12), value) if gt else None)


@pytest.fixture
def doubling():
    """Enlarges by repeating pixels, exactly."""
    net = nn.Sequential(nn.Conv2d(3, 3, 1), nn.Upsample(scale_factor=2))
    net[0].weight.data.copy_(torch.eye(3)[..., None, None])
    net[0].bias.data.zero_()
    return net


def test_results_are_means_over_pictures(doubling):
    metrics = {"difference": Metric(mean_difference, False, True), "mean": Metric(np.mean, True, False)}
    pairs = [pair("a", 0.2), pair("b", 0.4)]
    assert validate(doubling, ValidationSet("set", pairs, metrics)) == {
        "difference": 0,
        "mean": pytest.approx(76.5),
    }


def test_pictures_are_saved_where_asked(doubling, tmp_path):
    validate(
        doubling, ValidationSet("set", [pair("a")]), save_as=lambda name: tmp_path / "new" / f"{name}.png"
    )
    assert (read_picture(tmp_path / "new/a.png") == 51).all()


def test_the_network_is_left_in_its_mode_and_judged_in_eval_mode():
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
    assert seen == [(False, True)]
    assert net.training


def test_a_metric_that_needs_ground_truth_says_where_it_is_missing(doubling):
    metrics = {"difference": Metric(mean_difference, False, True)}
    with pytest.raises(DataError, match=r"Set5: metric 'difference' .* bird has none"):
        validate(doubling, ValidationSet("Set5", [pair("bird", gt=False)], metrics))


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
    sr = super_resolve(Windowed().eval(), lq)
    assert shapes == [(8, 8)]
    assert torch.equal(sr, doubling(lq))

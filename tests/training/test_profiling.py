import gzip
import json
import re

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import nn

from srcx.losses.gan import GANLoss
from srcx.losses.pixel import L1Loss
from srcx.losses.weighted_sum import WeightedSum
from srcx.optim.schedules import multi_step
from srcx.training.adversarial import SRGANModel
from srcx.training.model import TrainedNetwork
from srcx.training.profiling import profile_steps


def trained(*layers):
    net = nn.Sequential(*layers)
    return TrainedNetwork(net, torch.optim.Adam(net.parameters(), lr=1e-4), multi_step([]))


@pytest.fixture
def profile(tmp_path):
    """Three steps of a generator with more work than all the rest."""
    AcceleratorState._reset_state()
    generator = trained(nn.Conv2d(3, 64, 3, padding=1), nn.Conv2d(64, 12, 9, padding=4), nn.PixelShuffle(2))
    discriminator = trained(
        nn.Conv2d(3, 4, 3, stride=2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 1)
    )
    model = SRGANModel(
        generator, discriminator, WeightedSum({"pixel": (L1Loss(), 1.0)}), GANLoss("vanilla"),
        gan_weight=1e-3, ema_decay=0.9, accelerator=Accelerator(cpu=True),
    )  # fmt: skip
    sides = (8, 8, 8, 16, 32, 32)  # crops that grow during the run; the first three are not measured
    batches = (
        {"lq": torch.rand(4, 3, side, side), "gt": torch.rand(4, 3, 2 * side, 2 * side)} for side in sides
    )
    return profile_steps(model, batches, tmp_path / "trace.json.gz", steps=3)


def test_the_parts_of_a_step_are_named_and_are_no_more_than_the_whole(profile):
    assert profile.forward_s.keys() >= {
        "data", "copy to the device", "net_g", "net_d", "loss pixel", "loss gan", "optimizer", "EMA"
    }  # fmt: skip
    assert profile.backward_s.keys() >= {"net_g", "net_d", "loss pixel", "loss gan"}
    assert all(one >= 0 for one in profile.forward_s.values())
    assert sum(profile.forward_s.values()) + sum(profile.backward_s.values()) <= profile.step_s


def test_the_backward_pass_counts_for_the_part_whose_gradient_it_is(profile):
    backward_s = dict(profile.backward_s)
    assert backward_s.pop("net_g") > sum(backward_s.values())


def test_the_table_begins_with_the_longest_part_and_its_shares_add_up(profile):
    head, columns, *parts, _, trace = profile.table().splitlines()
    assert re.match(r"# 3 steps with crops of 32 and 64 pixels, [\d.]+ ms each", head)
    assert columns.split() == ["part", "forward", "backward", "share"]
    assert parts[0].startswith("  generator (net_g) ")
    shares = [float(re.search(r"([0-9.]+)%$", part)[1]) for part in parts]
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) == pytest.approx(100, abs=1)
    assert trace.strip() == str(profile.trace)


def test_the_trace_holds_the_marks_of_each_step(profile):
    with gzip.open(profile.trace) as file:
        names = [event.get("name") for event in json.load(file)["traceEvents"]]
    assert names.count("srcx: data") == 3

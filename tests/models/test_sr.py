import copy
import math
from contextlib import contextmanager

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import nn
from torch.testing import assert_close

from srcx.errors import TrainingError
from srcx.losses.pixel import L1Loss, MSELoss
from srcx.losses.weighted_sum import WeightedSum
from srcx.models.schedule import multi_step
from srcx.models.sr import Learner, SRModel


@pytest.fixture
def accelerator():
    AcceleratorState._reset_state()
    return Accelerator(cpu=True)


def batch(size=4):
    lq = torch.rand(size, 3, 4, 4)
    return {"lq": lq, "gt": lq.repeat_interleave(2, 2).repeat_interleave(2, 3)}


def net():
    return nn.Sequential(nn.Conv2d(3, 12, 3, padding=1), nn.PixelShuffle(2))


def sr_model(accelerator, *, lr=0.1, optimizer=torch.optim.SGD, loss=None, schedule=None, **options):
    one = net()
    learner = Learner(one, optimizer(one.parameters(), lr=lr), schedule or multi_step([]))
    return SRModel(
        learner, WeightedSum({"pixel": (loss or MSELoss(), 1.0)}), accelerator=accelerator, **options
    )


def test_a_step_is_one_of_plain_gradient_descent(accelerator):
    model = sr_model(accelerator)
    before = {name: value.clone() for name, value in model.bare_nets["net_g"].named_parameters()}
    twin = net()
    twin.load_state_dict(before)
    data = batch()
    loss = nn.functional.mse_loss(twin(data["lq"]), data["gt"])
    loss.backward()

    terms = model.step(data)

    assert terms == {"pixel": pytest.approx(loss.item(), rel=1e-5)}
    for name, value in twin.named_parameters():
        assert_close(model.bare_nets["net_g"].get_parameter(name), before[name] - 0.1 * value.grad)


def test_accumulating_parts_gives_the_step_of_the_whole_batch(accelerator):
    whole, parts = sr_model(accelerator), sr_model(accelerator, accumulate=4)
    parts.load_state(copy.deepcopy(whole.state()))
    data = batch(8)
    assert whole.step(data)["pixel"] == pytest.approx(parts.step(data)["pixel"], rel=1e-5)
    for one, other in zip(whole.eval_net.parameters(), parts.eval_net.parameters(), strict=True):
        assert_close(one, other)


def test_ranks_average_gradients_in_the_last_part_alone(accelerator, monkeypatch):
    model, seen, local = sr_model(accelerator, accumulate=3), [], []

    @contextmanager
    def no_sync(net):
        local.append(net)
        yield
        local.remove(net)

    monkeypatch.setattr(accelerator, "no_sync", no_sync)
    model.learners["net_g"].net.register_forward_pre_hook(lambda net, _: seen.append(net in local))
    model.step(batch(6))
    assert seen == [True, True, False]


def test_averaged_weights_start_at_the_first_and_follow_with_their_decay(accelerator):
    model = sr_model(accelerator, ema_decay=0.75)
    first = model.bare_nets["net_g"][0].weight.detach().clone()
    model.step(batch())
    expected = 0.75 * first + 0.25 * model.bare_nets["net_g"][0].weight
    assert_close(model.eval_net[0].weight, expected)


def test_averaged_network_computes_with_its_own_weights(accelerator):
    model = sr_model(accelerator, ema_decay=0.5)
    model.step(batch())
    lq = batch()["lq"]
    assert not torch.equal(model.eval_net(lq), model.bare_nets["net_g"](lq))


def test_the_schedule_sets_the_rate_of_each_iteration(accelerator):
    model = sr_model(accelerator, schedule=multi_step([1], gamma=0.5))
    model.step(batch())
    assert model.learning_rate == 0.1
    model.step(batch())
    assert model.learning_rate == 0.05


def test_clipping_bounds_the_step(accelerator):
    model = sr_model(accelerator, lr=1.0, grad_clip=1e-3)
    before = torch.cat([p.detach().flatten().clone() for p in model.eval_net.parameters()])
    model.step(batch())
    moved = torch.cat([p.detach().flatten() for p in model.eval_net.parameters()]) - before
    assert moved.norm() == pytest.approx(1e-3, rel=1e-3)


def test_a_loss_that_is_not_finite_names_iteration_and_term_and_leaves_the_weights(accelerator):
    class Broken(nn.Module):
        def forward(self, sr, gt):
            return sr.mean() * math.nan

    model = sr_model(accelerator, loss=Broken())
    before = model.bare_nets["net_g"][0].weight.detach().clone()
    with pytest.raises(TrainingError, match=r"iteration 1: .*pixel = nan"):
        model.step(batch())
    assert torch.equal(model.bare_nets["net_g"][0].weight, before)


def test_state_goes_on_to_the_same_bits(accelerator):
    def made():
        return sr_model(accelerator, lr=1e-3, optimizer=torch.optim.Adam, loss=L1Loss(), ema_decay=0.9)

    batches = [batch() for _ in range(6)]
    straight = made()
    resumed = made()
    straight.load_state(copy.deepcopy(resumed.state()))
    for data in batches[:3]:
        straight.step(data)
    resumed.load_state(copy.deepcopy(straight.state()))
    after = [(straight.step(data), resumed.step(data)) for data in batches[3:]]
    assert all(one == other for one, other in after)
    for one, other in zip(straight.eval_net.parameters(), resumed.eval_net.parameters(), strict=True):
        assert torch.equal(one, other)


def test_bf16_keeps_master_weights_and_output_in_full():
    AcceleratorState._reset_state()
    model = sr_model(Accelerator(cpu=True, mixed_precision="bf16"))
    assert model.learners["net_g"].net(batch()["lq"]).dtype == torch.float32
    model.step(batch())
    assert {p.dtype for p in model.eval_net.parameters()} == {torch.float32}

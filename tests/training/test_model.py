import copy
import math
from contextlib import contextmanager
from functools import partial

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import nn
from torch.testing import assert_close

from srcx.errors import TrainingError
from srcx.features.extractor import FeatureExtractor
from srcx.losses.feature_loss import FeatureLoss
from srcx.losses.pixel import CharbonnierLoss, L1Loss, MSELoss
from srcx.losses.weighted_sum import WeightedSum
from srcx.optim.schedules import multi_step
from srcx.training.model import SRModel, TrainedNetwork


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
    generator = TrainedNetwork(one, optimizer(one.parameters(), lr=lr), schedule or multi_step([]))
    return SRModel(
        generator, WeightedSum({"pixel": (loss or MSELoss(), 1.0)}), accelerator=accelerator, **options
    )


def test_a_step_is_one_of_plain_gradient_descent(accelerator):
    model = sr_model(accelerator)
    before = {name: value.clone() for name, value in model.networks["net_g"].net.named_parameters()}
    twin = net()
    twin.load_state_dict(before)
    data = batch()
    loss = nn.functional.mse_loss(twin(data["lq"]), data["gt"])
    loss.backward()

    terms = model.step(data)

    assert terms == {"pixel": pytest.approx(loss.item(), rel=1e-5)}
    for name, value in twin.named_parameters():
        assert_close(model.networks["net_g"].net.get_parameter(name), before[name] - 0.1 * value.grad)


def test_accumulating_parts_gives_the_step_of_the_whole_batch(accelerator):
    whole, parts = sr_model(accelerator), sr_model(accelerator, accumulate=4)
    parts.load_state(copy.deepcopy(whole.state()))
    data = batch(8)
    assert whole.step(data)["pixel"] == pytest.approx(parts.step(data)["pixel"], rel=1e-5)
    for one, other in zip(whole.eval_net.parameters(), parts.eval_net.parameters(), strict=True):
        assert_close(one, other)


@pytest.mark.parametrize("images", [3, 6])
def test_a_batch_that_cannot_be_cut_into_equal_parts_is_refused(accelerator, images):
    model = sr_model(accelerator, accumulate=4)
    with pytest.raises(TrainingError, match=f"accumulate: {images} images cannot be cut into 4 equal parts"):
        model.step({"lq": torch.rand(images, 3, 4, 4), "gt": torch.rand(images, 3, 8, 8)})


def test_ranks_average_gradients_in_the_last_part_alone(accelerator, monkeypatch):
    model, seen, local = sr_model(accelerator, accumulate=3), [], []

    @contextmanager
    def no_sync(net):
        local.append(net)
        yield
        local.remove(net)

    monkeypatch.setattr(accelerator, "no_sync", no_sync)
    model.networks["net_g"].prepared.register_forward_pre_hook(lambda net, _: seen.append(net in local))
    model.step(batch(6))
    assert seen == [True, True, False]


def test_ema_weights_start_at_the_first_and_follow_with_their_decay(accelerator):
    model = sr_model(accelerator, ema_decay=0.75)
    first = model.networks["net_g"].net[0].weight.detach().clone()
    model.step(batch())
    expected = 0.75 * first + 0.25 * model.networks["net_g"].net[0].weight
    assert_close(model.eval_net[0].weight, expected)


def test_the_decay_of_the_ema_grows_with_the_steps_and_goes_on_after_resuming(accelerator):
    def made():
        return sr_model(accelerator, ema_decay=0.3, ema_warmup=True)

    model, data = made(), batch()
    expected = model.networks["net_g"].net[0].weight.detach().clone()
    for decay in (2 / 11, 3 / 12, 0.3, 0.3):
        state = copy.deepcopy(model.state())
        model.step(data)
        expected = decay * expected + (1 - decay) * model.networks["net_g"].net[0].weight
        assert_close(model.eval_net[0].weight, expected)
        resumed = made()
        resumed.load_state(state)
        resumed.step(data)
        assert torch.equal(resumed.eval_net[0].weight, model.eval_net[0].weight)


def test_the_ema_network_computes_with_its_own_weights(accelerator):
    model = sr_model(accelerator, ema_decay=0.5)
    model.step(batch())
    lq = batch()["lq"]
    assert not torch.equal(model.eval_net(lq), model.networks["net_g"].net(lq))


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


@pytest.mark.parametrize("options", [{}, {"accumulate": 2}, {"grad_clip": 1e-3}])
@pytest.mark.parametrize("is_scaled", [False, True])
def test_the_norm_of_the_gradient_is_that_of_the_whole_batch_before_it_is_clipped(
    accelerator, options, is_scaled
):
    if is_scaled:
        scaled(accelerator)
    model, plain = (sr_model(accelerator, grad_norms=given, **options) for given in (True, False))
    plain.load_state(copy.deepcopy(model.state()))
    one, data = copy.deepcopy(model.networks["net_g"].net), batch()
    model.losses(one(data["lq"]), data["gt"])[0].backward()
    expected = torch.cat([weight.grad.flatten() for weight in one.parameters()]).norm()
    terms = model.step(data)
    assert terms.pop("grad_norm_g") == pytest.approx(expected.item(), rel=1e-5)
    assert terms == plain.step(data)
    for weight, other in zip(model.eval_net.parameters(), plain.eval_net.parameters(), strict=True):
        assert_close(weight, other)


@pytest.mark.parametrize("is_scaled", [False, True])
def test_a_gradient_that_is_not_finite_stops_the_run_unless_the_scaler_passes_over_the_step(
    accelerator, is_scaled
):
    if is_scaled:
        scaled(accelerator)
    model = sr_model(accelerator, grad_norms=True)
    next(model.networks["net_g"].net.parameters()).register_hook(lambda gradient: gradient * math.inf)
    if is_scaled:
        assert "grad_norm_g" not in model.step(batch())
    else:
        with pytest.raises(TrainingError, match=r"iteration 1: the loss is not finite \(grad_norm_g = "):
            model.step(batch())


def test_a_loss_that_is_not_finite_names_the_iteration_and_the_guilty_term_alone(accelerator):
    class Broken(nn.Module):
        def forward(self, sr, gt):
            return sr.mean() * math.nan

    one = net()
    generator = TrainedNetwork(one, torch.optim.SGD(one.parameters(), lr=0.1), multi_step([]))
    objective = WeightedSum({"pixel": (L1Loss(), 1.0), "broken": (Broken(), 1.0)})
    model = SRModel(generator, objective, accelerator=accelerator)
    with pytest.raises(TrainingError, match=r"iteration 1: the loss is not finite \(broken = nan\)"):
        model.step(batch())


def test_a_step_reads_from_the_device_once(accelerator, monkeypatch, host_reads):
    lists, tolist = [], torch.Tensor.tolist
    monkeypatch.setattr(torch.Tensor, "tolist", lambda values: lists.append(values) or tolist(values))
    model = sr_model(accelerator, accumulate=2, grad_clip=1.0)  # an EMA counts its steps on the host
    with host_reads as reads:
        model.step(batch())
    assert reads.of_values == []
    assert len(lists) == 1


def test_convolutions_are_chosen_by_time_in_steps_alone(accelerator):
    model, seen = sr_model(accelerator), []
    model.networks["net_g"].net.register_forward_hook(lambda *_: seen.append(torch.backends.cudnn.benchmark))
    model.step(batch())
    assert seen == [True]
    assert not torch.backends.cudnn.benchmark


@pytest.mark.slow
def test_a_compiled_generator_takes_the_same_step_and_validates_as_it_is(accelerator):
    one = net()
    twin, data = copy.deepcopy(one), batch()
    compiled, plain = (
        SRModel(
            TrainedNetwork(each, torch.optim.SGD(each.parameters(), lr=0.1), multi_step([]), compiled=which),
            WeightedSum({"pixel": (MSELoss(), 1.0)}),
            accelerator=accelerator,
        )
        for each, which in ((one, True), (twin, False))
    )
    for _ in range(2):
        assert compiled.step(data)["pixel"] == pytest.approx(plain.step(data)["pixel"], rel=1e-5)
    assert_close(one[0].weight, twin[0].weight)
    assert compiled.eval_net is one
    assert compiled.weights()["net_g"]["params"].keys() == plain.weights()["net_g"]["params"].keys()


@pytest.mark.parametrize("before", [True, False])
def test_a_run_goes_on_where_its_optimizer_is_computed_in_another_way(accelerator, caplog, before):
    def made(fused):
        return sr_model(accelerator, lr=1e-3, optimizer=partial(torch.optim.Adam, fused=fused))

    model, data = made(before), batch()
    model.step(data)
    other = made(not before)
    other.load_state(copy.deepcopy(model.state()))
    assert other.networks["net_g"].optimizer.param_groups[0]["fused"] is not before
    model.step(data)
    other.step(data)
    assert_close(other.eval_net[0].weight, model.eval_net[0].weight)
    assert not caplog.records


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


def scaled(accelerator, scale=2.0**12):
    """`accelerator` with the loss scaling that fp16 brings, here on the CPU."""
    accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=scale, growth_interval=2)
    return accelerator


@pytest.mark.parametrize("options", [{}, {"grad_clip": 1e-2}])
def test_scaled_losses_give_the_step_of_unscaled_ones(accelerator, options):
    plain = sr_model(accelerator, **options)
    state, data = copy.deepcopy(plain.state()), batch()
    plain.step(data)
    model = sr_model(scaled(accelerator), **options)
    model.load_state(state)
    model.step(data)
    for one, other in zip(plain.eval_net.parameters(), model.eval_net.parameters(), strict=True):
        assert_close(one, other)


def test_a_step_whose_scaled_gradients_overflow_is_left_out_and_the_scale_halved(accelerator):
    model = sr_model(scaled(accelerator, scale=2.0**126))
    before = model.networks["net_g"].net[0].weight.detach().clone()
    model.step({"lq": batch()["lq"], "gt": 1e4 * batch()["gt"]})
    assert torch.equal(model.networks["net_g"].net[0].weight, before)
    assert accelerator.scaler.get_scale() == 2.0**125


def test_the_scale_of_the_losses_and_its_growth_are_saved(accelerator):
    model = sr_model(scaled(accelerator))
    for _ in range(3):  # grows after two steps, and is one step on to the next growth
        model.step(batch())
    state = copy.deepcopy(model.state())
    again = sr_model(scaled(accelerator))
    again.load_state(state)
    assert accelerator.scaler.get_scale() == 2.0**13
    again.step(batch())
    assert accelerator.scaler.get_scale() == 2.0**14


@pytest.mark.parametrize("channels_last", [True, False])
def test_weights_and_images_have_the_memory_format_that_is_asked_for(accelerator, channels_last):
    model, seen = sr_model(accelerator, channels_last=channels_last), []
    wanted = torch.channels_last if channels_last else torch.contiguous_format
    model.networks["net_g"].net.register_forward_pre_hook(lambda _, images: seen.append(images[0]))
    model.step(batch())
    assert seen[0].is_contiguous(memory_format=wanted)
    assert model.networks["net_g"].net[0].weight.is_contiguous(memory_format=wanted)


class FiveDimensions(nn.Module):
    """As FFTformer and AuraSR have them."""

    def __init__(self):
        super().__init__()
        self.net = net()
        self.gains = nn.Parameter(torch.ones(1, 3, 1, 1, 1))

    def forward(self, lq):
        return self.net(lq * self.gains[:, :, 0])


def test_weights_of_five_dimensions_are_trained_in_channels_last(accelerator):
    one = FiveDimensions()
    generator = TrainedNetwork(one, torch.optim.SGD(one.parameters(), lr=0.1), multi_step([]))
    model = SRModel(generator, WeightedSum({"pixel": (MSELoss(), 1.0)}), accelerator=accelerator)
    model.step(batch())
    assert model.networks["net_g"].net.net[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert not torch.equal(one.gains, torch.ones_like(one.gains))


class FirstLayer(FeatureLoss):
    """Compares one layer of a fixed network."""

    def compare(self, sr_features, gt_features):
        return (sr_features["conv1_1"] - gt_features["conv1_1"]).abs().mean()


def test_fixed_networks_of_the_objective_run_in_the_runs_precision():
    AcceleratorState._reset_state()
    network, seen = FeatureExtractor.random("vgg16"), []
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda _, images, out: seen.append(out.dtype))
    model = sr_model(
        Accelerator(cpu=True, mixed_precision="bf16"), loss=FirstLayer(network, ["conv1_1"]), lr=1e-3
    )
    lq = torch.rand(1, 3, 16, 16)
    model.step({"lq": lq, "gt": torch.rand(1, 3, 32, 32)})
    assert set(seen) == {torch.bfloat16}


@pytest.mark.parametrize("kind", [L1Loss, MSELoss, CharbonnierLoss])
def test_a_sum_over_the_batch_is_that_of_the_whole_batch_in_parts_too(accelerator, kind):
    whole, parts = (sr_model(accelerator, lr=1e-3, loss=kind("sum"), accumulate=n) for n in (1, 4))
    parts.load_state(copy.deepcopy(whole.state()))
    data = batch(8)
    assert whole.step(data)["pixel"] == pytest.approx(parts.step(data)["pixel"], rel=1e-5)
    for one, other in zip(whole.eval_net.parameters(), parts.eval_net.parameters(), strict=True):
        assert_close(one, other)


def adam(parameters, lr):
    return torch.optim.Adam(parameters, lr=lr, betas=(0.8, 0.9), weight_decay=0.1)


def test_going_on_with_other_hyper_parameters_takes_them(accelerator):
    before = sr_model(accelerator, optimizer=torch.optim.Adam, lr=1e-2)
    before.step(batch())
    now = sr_model(accelerator, optimizer=adam, lr=1e-3)
    now.load_state(copy.deepcopy(before.state()))
    now.step(batch())
    group = now.networks["net_g"].optimizer.param_groups[0]
    assert (now.learning_rate, group["betas"], group["weight_decay"]) == (1e-3, (0.8, 0.9), 0.1)
    moments = now.networks["net_g"].optimizer.state_dict()["state"][0]
    assert moments["step"] == 2  # Adam's moments went on


@pytest.mark.parametrize(
    ("ema_before", "ema_now", "optimizer", "said"),
    [(0.0, 0.9, adam, "no EMA weights"), (0.0, 0.0, torch.optim.SGD, "amsgrad.*another|another.*amsgrad")],
)
def test_a_state_that_lacks_what_the_options_ask_for_is_refused(
    accelerator, ema_before, ema_now, optimizer, said
):
    state = sr_model(accelerator, optimizer=adam, ema_decay=ema_before).state()
    with pytest.raises(ValueError, match=said):
        sr_model(accelerator, optimizer=optimizer, ema_decay=ema_now).load_state(state)


def test_what_a_state_has_and_the_options_leave_out_is_named(accelerator, caplog):
    state = sr_model(accelerator, ema_decay=0.9).state()
    state["nets"]["net_d"] = {}
    sr_model(accelerator).load_state(state)
    assert "the state also has net_d and the EMA weights" in caplog.text


def test_weights_and_ema_of_an_ignored_network_stay(accelerator):
    state = sr_model(accelerator, ema_decay=0.9).state()
    model = sr_model(accelerator, ema_decay=0.9)
    model.iteration, state["iteration"] = 0, 7
    first = copy.deepcopy(model.state())
    model.load_state(state, ignored=["net_g"])
    assert model.iteration == 7
    assert_close(model.state()["nets"], first["nets"])
    assert_close(model.state()["ema"], first["ema"])


def test_an_ignored_network_has_a_new_optimizer(accelerator):
    before = sr_model(accelerator, optimizer=adam)
    before.step(batch())
    model = sr_model(accelerator, optimizer=adam)
    model.load_state(before.state(), ignored=["net_g"])
    assert not model.state()["optimizers"]["net_g"]["state"]
    assert before.state()["optimizers"]["net_g"]["state"]


def test_in_bf16_master_weights_and_output_are_float32():
    AcceleratorState._reset_state()
    model = sr_model(Accelerator(cpu=True, mixed_precision="bf16"))
    assert model.networks["net_g"].prepared(batch()["lq"]).dtype == torch.float32
    model.step(batch())
    assert {p.dtype for p in model.eval_net.parameters()} == {torch.float32}

import copy
import math
from contextlib import contextmanager

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy
from torch.nn.utils import spectral_norm
from torch.testing import assert_close

from srcx.losses.gan import GANLoss, MultiScaleGANLoss, r1_penalty
from srcx.losses.locally_discriminative import LDLLoss
from srcx.losses.pixel import L1Loss
from srcx.losses.weighted_sum import WeightedSum
from srcx.optim.schedules import multi_step
from srcx.training.adversarial import ESRGANModel, SRGANModel
from srcx.training.model import TrainedNetwork


def trained(net, lr):
    return TrainedNetwork(net, torch.optim.SGD(net.parameters(), lr=lr), multi_step([]))


def gan_model(kind=SRGANModel, *, lr=0.1, net_d=None, jitter_px=0, **options):
    AcceleratorState._reset_state()
    net_g = nn.Sequential(nn.Conv2d(3, 12, 3, padding=1), nn.PixelShuffle(2))
    if net_d is None:
        net_d = nn.Sequential(nn.Conv2d(3, 4, 3), nn.LeakyReLU(0.2), nn.Flatten(), nn.Linear(4 * 36, 1))
    return kind(
        trained(net_g, lr),
        trained(net_d, lr),
        WeightedSum({"pixel": (L1Loss(), 1.0)}, jitter_px=jitter_px),
        GANLoss("vanilla"),
        gan_weight=0.5,
        accelerator=Accelerator(cpu=True),
        **options,
    )


def batch():
    lq = torch.rand(4, 3, 4, 4)
    return {"lq": lq, "gt": torch.rand(4, 3, 8, 8)}


def weights(model, name):
    return torch.cat([p.detach().flatten().clone() for p in model.networks[name].net.parameters()])


def test_terms_are_those_of_the_definition():
    model, data = gan_model(), batch()
    net_g, net_d = model.networks["net_g"].net, model.networks["net_d"].net
    with torch.no_grad():
        sr = net_g(data["lq"])
        fake, real = net_d(sr), net_d(data["gt"])
        expected = {
            "pixel": (sr - data["gt"]).abs().mean(),
            "gan": 0.5 * cross_entropy(fake, torch.ones_like(fake)),
            "d_real": cross_entropy(real, torch.ones_like(real)),
            "out_d_real": real.mean(),
            "d_fake": cross_entropy(fake, torch.zeros_like(fake)),
            "out_d_fake": fake.mean(),
        }
    assert model.step(data) == {
        name: pytest.approx(value.item(), abs=1e-6) for name, value in expected.items()
    }


def test_relativistic_terms_are_those_of_the_definition():
    model, data = gan_model(ESRGANModel), batch()
    net_g, net_d = model.networks["net_g"].net, model.networks["net_d"].net
    with torch.no_grad():
        sr = net_g(data["lq"])
        fake, real = net_d(sr), net_d(data["gt"])
        ones, zeros = torch.ones_like(fake), torch.zeros_like(fake)
        gan = cross_entropy(fake - real.mean(), ones) + cross_entropy(real - fake.mean(), zeros)
        d_real = cross_entropy(real - fake.mean(), ones) / 2
        d_fake = cross_entropy(fake - real.mean(), zeros) / 2
    terms = model.step(data)
    assert terms["gan"] == pytest.approx(0.5 * gan.item() / 2, abs=1e-6)
    assert terms["d_real"] == pytest.approx(d_real.item(), abs=1e-6)
    assert terms["d_fake"] == pytest.approx(d_fake.item(), abs=1e-6)


@pytest.mark.parametrize("kind", [SRGANModel, ESRGANModel])
def test_the_discriminator_takes_sharpened_gt_for_real_where_the_options_say_so(kind):
    plain, sharp = (gan_model(kind, gan_against=name, accumulate=2) for name in ("gt", "gt_sharp"))
    for name in ("net_g", "net_d"):
        sharp.networks[name].net.load_state_dict(plain.networks[name].net.state_dict())
    data = batch() | {"gt_sharp": torch.rand(4, 3, 8, 8)}
    terms = sharp.step(data)
    assert terms == pytest.approx(
        plain.step({"lq": data["lq"], "gt": data["gt_sharp"]}) | {"pixel": terms["pixel"]}, abs=1e-6
    )


class TwoScales(nn.Module):
    """Gives the logits of two scales, the larger one after a layer of its own."""

    def __init__(self):
        super().__init__()
        self.large, self.small = nn.Conv2d(3, 1, 3), nn.Conv2d(3, 1, 3)

    def forward(self, image):
        return [[image, self.large(image)], self.small(nn.functional.avg_pool2d(image, 2))]


def test_a_discriminator_may_give_the_logits_of_several_scales():
    model, data = gan_model(net_d=TwoScales(), lr=0.01), batch()
    model.gan_loss = MultiScaleGANLoss("vanilla")
    net_g, net_d = model.networks["net_g"].net, model.networks["net_d"].net
    with torch.no_grad():
        (_, large), small = net_d(net_g(data["lq"]))
    terms = model.step(data)
    costs = [cross_entropy(one, torch.ones_like(one)).item() for one in (large, small)]
    assert terms["gan"] == pytest.approx(0.5 * sum(costs) / 2, abs=1e-6)
    assert terms["out_d_fake"] == pytest.approx((large.mean() + small.mean()).item() / 2, abs=1e-6)


def test_the_loss_on_artifacts_sees_what_the_ema_network_makes_of_lq():
    model, data = gan_model(ema_decay=0.9, accumulate=2), batch()
    model.losses = WeightedSum({"ldl": (LDLLoss(window_px=3), 1.0)})
    net_g, ema = model.networks["net_g"].net, model.ema.module
    with torch.no_grad():
        for weight in ema.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
        halves = [(data["lq"][part], data["gt"][part]) for part in (slice(2), slice(2, 4))]
        expected = [LDLLoss(window_px=3)(net_g(lq), gt, ema(lq)).item() for lq, gt in halves]
    assert expected[0] > 0
    assert model.step(data)["ldl"] == pytest.approx(sum(expected) / 2, abs=1e-7)
    assert all(weight.grad is None for weight in ema.parameters())


class Seen(nn.Module):
    """Records its input images."""

    def __init__(self):
        super().__init__()
        self.weight, self.images = nn.Parameter(torch.ones(())), []

    def forward(self, x):
        self.images.append(x.detach())
        return self.weight * x.mean((1, 2, 3))


@pytest.mark.parametrize("kind", [SRGANModel, ESRGANModel])
def test_the_discriminator_sees_moved_crops(kind):
    seen_by_d = Seen()
    model, data = gan_model(kind, net_d=seen_by_d, jitter_px=4), batch()
    with torch.no_grad():
        whole = {"gt": data["gt"], "sr": model.networks["net_g"].net(data["lq"])}
    model.step(data)
    places = {
        (name, top, left)
        for seen in seen_by_d.images
        for name, image in whole.items()
        for top in range(4)
        for left in range(4)
        if torch.equal(seen, image[..., top : top + 4, left : left + 4])
    }
    assert {seen.shape for seen in seen_by_d.images} == {(4, 3, 4, 4)}
    assert {name for name, *_ in places} == {"gt", "sr"}


def test_the_generators_step_does_not_move_the_discriminator_and_back():
    model = gan_model(lr=0.1)
    model.networks["net_d"].optimizer.param_groups[0]["initial_lr"] = 0.0
    before_g, before_d = weights(model, "net_g"), weights(model, "net_d")
    model.step(batch())
    assert torch.equal(weights(model, "net_d"), before_d)
    assert not torch.equal(weights(model, "net_g"), before_g)


@pytest.mark.parametrize("kind", [SRGANModel, ESRGANModel])
def test_the_step_of_the_discriminator_is_the_gradient_of_its_own_terms_alone(kind):
    """The generator's pass goes through the discriminator too, and leaves no gradient there."""
    model, data = gan_model(kind), batch()
    net_d = copy.deepcopy(model.networks["net_d"].net)
    with torch.no_grad():
        sr = model.networks["net_g"].net(data["lq"])
    fake, real = net_d(sr), net_d(data["gt"])
    ones, zeros = torch.ones_like(fake), torch.zeros_like(fake)
    if kind is ESRGANModel:
        cost = cross_entropy(real - fake.mean().detach(), ones) / 2
        cost = cost + cross_entropy(fake - real.mean().detach(), zeros) / 2
    else:
        cost = cross_entropy(real, ones) + cross_entropy(fake, zeros)
    cost.backward()
    model.step(data)
    for before, now in zip(net_d.parameters(), model.networks["net_d"].net.parameters(), strict=True):
        assert_close(now, before - 0.1 * before.grad)


@pytest.mark.parametrize("kind", [SRGANModel, ESRGANModel])
def test_accumulating_parts_gives_the_step_of_the_whole_batch(kind):
    """The parts are alike, so that the means that ESRGANModel takes over a part are those of the batch."""
    whole, parts = gan_model(kind), gan_model(kind, accumulate=2)
    parts.load_state(copy.deepcopy(whole.state()))
    data = {name: torch.cat([value, value]) for name, value in batch().items()}
    expected = {name: pytest.approx(value, rel=1e-5) for name, value in whole.step(data).items()}
    assert parts.step(data) == expected
    for name in whole.networks:
        assert_close(weights(whole, name), weights(parts, name))


def test_at_first_only_the_discriminator_is_updated_where_asked():
    model = gan_model(net_d_init_iters=1)
    before_g, before_d = weights(model, "net_g"), weights(model, "net_d")
    assert "gan" not in model.step(batch())
    assert torch.equal(weights(model, "net_g"), before_g)
    assert not torch.equal(weights(model, "net_d"), before_d)
    assert "gan" in model.step(batch())


def test_the_generator_is_updated_every_net_d_iters():
    model = gan_model(net_d_iters=2)
    assert ["gan" in model.step(batch()) for _ in range(4)] == [False, True, False, True]


def test_the_discriminators_gradients_do_not_leak_between_steps():
    model = gan_model()
    model.step(batch())
    assert all(p.grad is None for net in model.networks.values() for p in net.net.parameters())
    assert all(p.requires_grad for p in model.networks["net_d"].net.parameters())


def test_weights_of_the_discriminator_that_were_frozen_before_stay_frozen():
    model = gan_model()
    first, *others = model.networks["net_d"].net.parameters()
    first.requires_grad_(False)
    model.step(batch())
    assert not first.requires_grad
    assert all(weight.requires_grad for weight in others)


def test_ranks_average_gradients_in_the_last_part_alone(monkeypatch):
    """DistributedDataParallel decides it at the forward pass; net_d's are not averaged for the generator."""
    model, seen, local = gan_model(accumulate=2), [], set()

    @contextmanager
    def no_sync(net):
        local.add(net)
        yield
        local.discard(net)

    monkeypatch.setattr(model.accelerator, "no_sync", no_sync)
    for name, network in model.networks.items():
        network.prepared.register_forward_pre_hook(
            lambda net, _, name=name: seen.append(f"{name} {'local' if net in local else 'averaged'}")
        )
    model.step(batch())
    assert seen == [
        "net_g local", "net_d local",  # the generator's first part
        "net_g averaged", "net_d local",
        "net_d local", "net_d local",  # the discriminator's first part, real and fake
        "net_d averaged", "net_d averaged",
    ]  # fmt: skip


def test_weights_have_both_networks_in_basicsrs_layout():
    model = gan_model(ema_decay=0.9)
    assert {name: set(sets) for name, sets in model.weights().items()} == {
        "net_g": {"params", "params_ema"},
        "net_d": {"params"},
    }


@pytest.mark.parametrize(
    ("gan_type", "real", "fake"),
    [
        ("vanilla", 1.0, 0.0), ("vanilla", 0.9, 0.1), ("vanilla", 0.9, 0.0),
        ("lsgan", 1.0, 0.0), ("lsgan", 1.0, -1.0),
        ("hinge", 1.0, 0.0), ("wgan_softplus", 1.0, 0.0), ("wgan", 1.0, 0.0),
    ],
)  # fmt: skip
def test_chance_is_the_least_loss_of_logits_that_are_the_same_for_both_sides(gan_type, real, fake):
    model = gan_model()
    model.gan_loss = GANLoss(gan_type, real, fake)
    logits = torch.linspace(-3, 3, 601)
    sums = [sum(model.gan_loss(one, side, is_disc=True) for side in (True, False)) for one in logits]
    assert model.chance == pytest.approx(min(sums).item(), abs=1e-4)


def test_the_chance_of_the_relativistic_loss_is_that_of_no_difference():
    model = gan_model(ESRGANModel)
    assert model.chance == pytest.approx(math.log(2))


def test_the_lead_is_that_of_the_smoothed_losses():
    model, data = gan_model(), batch()
    first = model.step(data)
    expected = 1 - (first["d_real"] + first["d_fake"]) / (2 * math.log(2))
    assert model.balance.lead == pytest.approx(expected)
    second = model.step(data)
    expected = 0.99 * expected + 0.01 * (1 - (second["d_real"] + second["d_fake"]) / (2 * math.log(2)))
    assert model.balance.lead == pytest.approx(expected)


@pytest.mark.parametrize("kind", [SRGANModel, ESRGANModel])
def test_a_discriminator_that_is_far_ahead_pauses_until_the_generator_has_caught_up(kind):
    model, free = (gan_model(kind, adaptive_d=margin, jitter_px=0) for margin in (0.5, 0.0))
    free.load_state(copy.deepcopy(model.state()))
    for lead, is_paused in ((0.4, False), (0.6, True), (0.6, True), (0.4, False)):
        model.balance.lead = free.balance.lead = lead
        before_d, before_g, data = weights(model, "net_d"), weights(model, "net_g"), batch()
        free.load_state(copy.deepcopy(model.state()))
        terms, others = model.step(data), free.step(data)
        assert terms.pop("d_paused") == is_paused
        assert terms == others  # the figures of a paused discriminator are known too
        assert torch.equal(weights(model, "net_d"), before_d) == is_paused
        assert not torch.equal(weights(model, "net_g"), before_g)
        assert torch.equal(weights(model, "net_g"), weights(free, "net_g"))


def test_a_discriminator_that_trains_alone_does_not_pause():
    model = gan_model(adaptive_d=0.5, net_d_init_iters=1)
    model.balance.lead = 0.9
    assert [model.step(batch())["d_paused"] for _ in range(2)] == [0.0, 1.0]


def test_the_generator_trains_in_each_iteration_of_a_pause():
    """Else an iteration of `net_d_iters: 2` in which it is not the generator's turn would train nothing."""
    model = gan_model(adaptive_d=0.5, net_d_iters=3, net_d_init_iters=1)
    seen = []
    for lead in (0.9, 0.9, 0.9, 0.4, 0.4, 0.4):
        model.balance.lead = lead
        before = {name: weights(model, name) for name in ("net_g", "net_d")}
        model.step(batch())
        seen.append([name for name in before if not torch.equal(weights(model, name), before[name])])
    assert seen == [["net_d"], ["net_g"], ["net_g"], ["net_d"], ["net_d"], ["net_g", "net_d"]]


def test_a_pause_draws_the_random_numbers_of_a_step():
    net_d = nn.Sequential(nn.Conv2d(3, 1, 3), nn.AdaptiveAvgPool2d(1))
    states = []
    for lead in (0.4, 0.6):
        model = gan_model(adaptive_d=0.5, net_d=copy.deepcopy(net_d), jitter_px=4)
        model.balance.lead = lead
        torch.manual_seed(3)
        model.step(batch())
        states.append(torch.get_rng_state())
    assert torch.equal(*states)


def smooth_net_d():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Softplus(), nn.Conv2d(4, 2, 3))


def test_the_penalty_is_the_squared_gradient_of_the_mean_logit():
    net_d, real = smooth_net_d(), torch.rand(3, 3, 8, 8, dtype=torch.float64)
    net_d = net_d.double()
    step, squares = 1e-6, torch.zeros(3, dtype=torch.float64)
    with torch.no_grad():
        for place in range(real[0].numel()):
            moved = real.clone()
            moved.view(3, -1)[:, place] += step
            squares += ((net_d(moved) - net_d(real)).flatten(1).mean(1) / step) ** 2
    assert r1_penalty(net_d, real).item() == pytest.approx(squares.mean().item(), rel=1e-4)


def test_the_penalty_of_several_scales_is_that_of_their_mean_logit():
    net_d, real = TwoScales(), torch.rand(2, 3, 8, 8)
    expected = r1_penalty(
        lambda image: (net_d(image)[0][-1].mean((1, 2, 3)) + net_d(image)[1].mean((1, 2, 3))) / 2, real
    )
    assert_close(r1_penalty(net_d, real), expected)


@pytest.mark.parametrize("kind", [SRGANModel, ESRGANModel])
def test_the_penalty_is_part_of_the_discriminators_step_in_every_nth_iteration(kind):
    model, plain = (
        gan_model(kind, net_d=smooth_net_d(), r1_reg_weight=w, net_d_reg_every=2) for w in (3.0, 0.0)
    )
    for is_regularised in (False, True, False):
        plain.load_state(copy.deepcopy(model.state()))
        net_d, data = copy.deepcopy(model.networks["net_d"].net), batch()
        terms = model.step(data)
        plain.step(data)
        assert ("d_r1" in terms) == is_regularised
        expected = weights(plain, "net_d")
        if is_regularised:
            penalty = r1_penalty(net_d, data["gt"])
            penalty.backward()
            assert terms["d_r1"] == pytest.approx(3.0 / 2 * 2 * penalty.item(), rel=1e-5)
            gradient = torch.cat(
                [
                    torch.zeros_like(p).flatten() if p.grad is None else p.grad.flatten()
                    for p in net_d.parameters()
                ]
            )
            expected = expected - 0.1 * 3.0 * gradient
        assert_close(weights(model, "net_d"), expected)


def test_the_penalty_of_parts_is_that_of_the_whole_batch():
    data = batch()
    whole, parts = (
        gan_model(net_d=smooth_net_d(), r1_reg_weight=3.0, net_d_reg_every=1, accumulate=n) for n in (1, 2)
    )
    parts.load_state(copy.deepcopy(whole.state()))
    assert parts.step(data) == pytest.approx(whole.step(data), rel=1e-5)
    assert_close(weights(whole, "net_d"), weights(parts, "net_d"))


@pytest.mark.parametrize("kind", [SRGANModel, ESRGANModel])
def test_the_generator_is_trained_against_the_ema_of_the_discriminator(kind):
    model, data = gan_model(kind, ema_decay_d=0.5), batch()
    before = weights(model, "net_d")
    model.step(data)
    average = torch.cat([weight.flatten() for weight in model.ema_d.module.parameters()])
    assert_close(average, (before + weights(model, "net_d")) / 2)
    assert model.weights()["net_d"]["params_ema"].keys() == model.weights()["net_d"]["params"].keys()
    plain = gan_model(kind)
    plain.load_state(copy.deepcopy(model.state()))
    plain.networks["net_d"].net.load_state_dict(model.ema_d.module.state_dict())
    assert model.step(data)["gan"] == plain.step(data)["gan"]
    assert_close(weights(model, "net_g"), weights(plain, "net_g"))
    assert all(weight.grad is None for weight in model.ema_d.parameters())


def test_relativistic_logits_are_subtracted_in_full_precision():
    seen = []

    class Watched(GANLoss):
        def forward(self, logits, *arguments, **others):
            seen.append(logits.dtype)
            return super().forward(logits, *arguments, **others)

    for ema_decay_d in (0.0, 0.5):
        model = gan_model(ESRGANModel, ema_decay_d=ema_decay_d)
        AcceleratorState._reset_state()
        model.accelerator = Accelerator(cpu=True, mixed_precision="bf16")
        model.gan_loss = Watched("vanilla")
        model.generator_gan(torch.rand(4, 3, 8, 8), torch.rand(4, 3, 8, 8))
    assert set(seen) == {torch.float32}


def test_the_ema_of_a_normalised_discriminator_is_at_first_the_discriminator():
    net_d = nn.Sequential(spectral_norm(nn.Conv2d(3, 4, 3)), nn.BatchNorm2d(4), nn.Conv2d(4, 1, 3))
    model, plain = (gan_model(net_d=copy.deepcopy(net_d), ema_decay_d=decay) for decay in (0.5, 0.0))
    plain.load_state(copy.deepcopy(model.state()))
    data = batch()
    assert model.step(data)["gan"] == pytest.approx(plain.step(data)["gan"], rel=1e-6)


def test_a_state_without_an_ema_of_the_discriminator_starts_one_at_its_weights():
    plain = gan_model()
    plain.step(batch())
    model = gan_model(ema_decay_d=0.5)
    model.load_state(copy.deepcopy(plain.state()))
    assert_close(dict(model.ema_d.module.state_dict()), dict(plain.networks["net_d"].net.state_dict()))
    older = {key: value for key, value in plain.state().items() if key not in ("ema_d", "balance")}
    model.load_state(older)
    assert model.balance.lead is None


STABLE = {"adaptive_d": 0.01, "r1_reg_weight": 3.0, "net_d_reg_every": 2, "ema_decay_d": 0.5, "warn_iter": 1}


@pytest.mark.parametrize("adaptive_d", [0.0, 0.5])
def test_ranks_share_figures_in_each_step_only_where_they_decide_by_them(monkeypatch, adaptive_d):
    model, shared = gan_model(SRGANModel, adaptive_d=adaptive_d), []
    monkeypatch.setattr(model.accelerator, "reduce", lambda figures, how: shared.append(how) or figures)
    model.step(batch())
    assert shared == (["mean"] if adaptive_d else [])


@pytest.mark.parametrize("kind", [SRGANModel, ESRGANModel])
def test_a_stabilised_training_goes_on_to_the_same_bits(kind):
    straight, batches, paused = gan_model(kind, **STABLE), [batch() for _ in range(12)], []
    for number, data in enumerate(batches):
        state = copy.deepcopy(straight.state())
        terms = straight.step(data)
        paused.append(terms["d_paused"])
        resumed = gan_model(kind, **STABLE)
        resumed.load_state(state)
        assert resumed.step(data) == terms, number
        ends = resumed.state(), straight.state()
        assert ends[0].pop("precision") == ends[1].pop("precision")
        assert_close(*ends, rtol=0, atol=0)
    assert 0 < sum(paused) < len(paused)


def test_a_lost_balance_is_warned_about_by_one_rank(caplog, monkeypatch):
    model = gan_model(lr=1e-30, warn_iter=2)
    lq = torch.rand(4, 3, 4, 4)
    with torch.no_grad():
        for weight in model.networks["net_d"].net.parameters():
            weight.zero_()
        gt = model.networks["net_g"].net(lq) - torch.tensor([0.1, 0.0, 0.0]).view(3, 1, 1)
    for _ in range(4):
        model.step({"lq": lq, "gt": gt})
    assert [message.split(",")[0][:60] for message in caplog.messages] == [
        f"iteration {n}: for {n} iterations the {what}"[:60]
        for n in (2, 4)
        for what in ("discriminator has classified real", "colours of the output have been off")
    ]
    assert "+25.5, +0.0, +0.0" in caplog.messages[1]
    caplog.clear()
    monkeypatch.setattr(type(model.accelerator), "is_main_process", False)
    for _ in range(2):
        model.step({"lq": lq, "gt": gt})
    assert caplog.messages == []


def test_colours_are_not_compared_where_gt_shows_something_else(caplog):
    model = gan_model(warn_iter=1, compares_colors=False, lr=1e-30)
    model.step(batch() | {"gt": torch.full((4, 3, 8, 8), 9.0)})
    assert model.balance.shift == []
    assert "colours" not in caplog.text

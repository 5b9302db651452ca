import copy
from contextlib import contextmanager

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy
from torch.testing import assert_close

from srcx.losses.gan import GANLoss, MultiScaleGANLoss
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

import copy

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy
from torch.testing import assert_close

from srcx.losses.gan import GANLoss
from srcx.losses.pixel import L1Loss
from srcx.losses.weighted_sum import WeightedSum
from srcx.optim.schedules import multi_step
from srcx.training.cycle import CycleGANModel
from srcx.training.model import TrainedNetwork

GENERATORS, DISCRIMINATORS = ("net_g", "net_g_back"), ("net_d", "net_d_back")


def cycle_model(*, lr=0.1, jitter_px=0, scaler=None, **options):
    AcceleratorState._reset_state()
    accelerator = Accelerator(cpu=True)
    accelerator.scaler = scaler

    def trained(out, size):
        net = nn.Conv2d(3, out, size, padding=size // 2)
        return TrainedNetwork(net, torch.optim.SGD(net.parameters(), lr=lr), multi_step([]))

    return CycleGANModel(
        (trained(3, 3), trained(3, 3)),
        (trained(1, 3), trained(1, 3)),
        WeightedSum({"pixel": (L1Loss(), 10.0)}, jitter_px=jitter_px),
        GANLoss("vanilla"),
        gan_weight=0.5,
        accelerator=accelerator,
        **options,
    )


def batch(size=2):
    return {"lq": torch.rand(size, 3, 8, 8), "gt": torch.rand(size, 3, 8, 8)}


def weights(model, name):
    return torch.cat([p.detach().flatten().clone() for p in model.networks[name].net.parameters()])


def test_terms_are_those_of_the_definition():
    model, data = cycle_model(), batch()
    lq, gt = data["lq"], data["gt"]
    there, back, net_d, net_d_back = (model.networks[name].net for name in GENERATORS + DISCRIMINATORS)
    expected = {}
    with torch.no_grad():
        expected["pixel"] = 10 * (back(there(lq)) - lq).abs().mean()
        expected["pixel_back"] = 10 * (there(back(gt)) - gt).abs().mean()
        for net, fake, real, ending in ((net_d, there(lq), gt, ""), (net_d_back, back(gt), lq, "_back")):
            of_fake, of_real = net(fake), net(real)
            ones, zeros = torch.ones_like(of_fake), torch.zeros_like(of_fake)
            expected |= {
                f"gan{ending}": 0.5 * cross_entropy(of_fake, ones),
                f"d_real{ending}": cross_entropy(of_real, ones),
                f"d_fake{ending}": cross_entropy(of_fake, zeros),
                f"out_d_real{ending}": of_real.mean(),
                f"out_d_fake{ending}": of_fake.mean(),
            }
    assert model.step(data) == {
        name: pytest.approx(value.item(), abs=1e-5) for name, value in expected.items()
    }


def test_the_step_of_the_generators_is_the_gradient_of_their_terms():
    model, data = cycle_model(), batch()
    nets = {name: copy.deepcopy(net.net) for name, net in model.networks.items()}
    there, back, net_d, net_d_back = (nets[name] for name in GENERATORS + DISCRIMINATORS)
    lq, gt = data["lq"], data["gt"]
    ahead, behind = net_d(there(lq)), net_d_back(back(gt))
    total = 10 * ((back(there(lq)) - lq).abs().mean() + (there(back(gt)) - gt).abs().mean())
    total = total + 0.5 * cross_entropy(ahead, torch.ones_like(ahead))
    total = total + 0.5 * cross_entropy(behind, torch.ones_like(behind))
    total.backward()
    model.step(data)
    for name in GENERATORS:
        for before, now in zip(nets[name].parameters(), model.networks[name].net.parameters(), strict=True):
            assert_close(now, before - 0.1 * before.grad)


def test_the_step_of_the_discriminators_is_the_gradient_of_theirs():
    model, data = cycle_model(), batch()
    nets = {name: copy.deepcopy(net.net) for name, net in model.networks.items()}
    there, back, net_d, net_d_back = (nets[name] for name in GENERATORS + DISCRIMINATORS)
    lq, gt = data["lq"], data["gt"]
    for net, fake, real in ((net_d, there(lq), gt), (net_d_back, back(gt), lq)):
        of_real, of_fake = net(real), net(fake.detach())
        cost = cross_entropy(of_real, torch.ones_like(of_real))
        (cost + cross_entropy(of_fake, torch.zeros_like(of_fake))).backward()
    model.step(data)
    for name in DISCRIMINATORS:
        for before, now in zip(nets[name].parameters(), model.networks[name].net.parameters(), strict=True):
            assert_close(now, before - 0.1 * before.grad)


@pytest.mark.parametrize("still", GENERATORS + DISCRIMINATORS)
def test_each_network_is_updated_by_its_own_optimizer(still):
    model = cycle_model()
    model.networks[still].optimizer.param_groups[0]["initial_lr"] = 0.0
    before = {name: weights(model, name) for name in model.networks}
    model.step(batch())
    moved = {name for name in model.networks if not torch.equal(weights(model, name), before[name])}
    assert moved == set(GENERATORS + DISCRIMINATORS) - {still}


def test_accumulating_parts_gives_the_step_of_the_whole_batch():
    whole, parts = cycle_model(), cycle_model(accumulate=2)
    parts.load_state(copy.deepcopy(whole.state()))
    data = batch(4)
    assert whole.step(data)["pixel"] == pytest.approx(parts.step(data)["pixel"], rel=1e-5)
    for name in GENERATORS + DISCRIMINATORS:
        assert_close(weights(whole, name), weights(parts, name))


@pytest.mark.parametrize("options", [{}, {"grad_clip": 1e9}, {"grad_clip": 1e-2}])
def test_scaled_losses_give_the_step_of_unscaled_ones_to_all_four_networks(options):
    """As fp16 trains, here on the CPU; the scale grows at every step, so an update too many shows."""
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**12, growth_interval=1)
    plain, scaled = cycle_model(**options), cycle_model(**options, scaler=scaler)
    state = plain.state()
    state["scaler"] = scaler.state_dict()
    scaled.load_state(copy.deepcopy(state))
    data = batch()
    plain.step(data)
    scaled.step(data)
    for name in GENERATORS + DISCRIMINATORS:
        assert_close(weights(plain, name), weights(scaled, name))
    assert scaler.get_scale() == 2.0**14  # one update for the generators, one for the discriminators


def test_the_discriminators_see_crops_and_what_comes_back_is_compared_whole():
    sizes = []
    model = cycle_model(jitter_px=4)
    for name in DISCRIMINATORS:
        model.networks[name].net.register_forward_pre_hook(lambda _, seen: sizes.append(seen[0].shape[-2:]))
    model.step(batch())
    assert sizes == 6 * [(4, 4)]


def test_a_saved_step_goes_on_to_the_same_bits():
    model = cycle_model(ema_decay=0.9)
    model.step(batch())
    state, data = copy.deepcopy(model.state()), batch()
    model.step(data)
    again = cycle_model(ema_decay=0.9)
    again.load_state(state)
    again.step(data)
    for name in GENERATORS + DISCRIMINATORS:
        assert torch.equal(weights(model, name), weights(again, name))


def test_the_generator_with_an_ema_is_the_forward_one():
    model = cycle_model(ema_decay=0.9)
    assert {name: set(sets) for name, sets in model.weights().items()} == {
        "net_g": {"params", "params_ema"},
        "net_g_back": {"params"},
        "net_d": {"params"},
        "net_d_back": {"params"},
    }

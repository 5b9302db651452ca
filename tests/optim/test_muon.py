import copy
import math

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from srcx.errors import OptionsError
from srcx.optim.muon import Muon, orthogonal


def updated(weight, gradients, **args):
    """A weight after one step for each gradient."""
    weight = nn.Parameter(weight.clone())
    optimizer = Muon([weight], **args)
    for gradient in gradients:
        weight.grad = gradient.clone()
        optimizer.step()
    return weight.detach()


@pytest.mark.parametrize("shape", [(40, 90), (90, 40), (33, 33)])
def test_an_orthogonal_matrix_has_singular_values_near_one_and_the_same_vectors(shape):
    matrix = torch.randn(shape, dtype=torch.float64)
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    inside = left.T @ orthogonal(matrix) @ right.T
    values = inside.diagonal()
    assert values.min() > 0.3
    assert values.max() < 1.3
    assert_close(inside, torch.diag(values), atol=1e-9, rtol=0)


@pytest.mark.parametrize("smallest", [1, 1e-3, 1e-6])
def test_the_rounds_on_the_square_are_those_on_the_whole_matrix(smallest):
    left, _, right = torch.linalg.svd(torch.randn(64, 576), full_matrices=False)
    matrix = left * torch.logspace(0, math.log10(smallest), 64) @ right
    whole = matrix.double() / matrix.double().norm()
    for _ in range(5):
        square = whole @ whole.T
        whole = 3.4445 * whole + (-4.7750 * square + 2.0315 * square @ square) @ whole
    assert_close(orthogonal(matrix).double(), whole, rtol=0, atol=1e-4)


def test_a_zero_matrix_stays_zero():
    assert not orthogonal(torch.zeros(40, 50)).any()


def test_momentum_that_fades_behind_dead_units_fades_out_of_the_step():
    matrix = torch.randn(64, 576)
    for size in (1e-22, 1e-30, 1e-40):
        assert orthogonal(size * matrix).abs().max() < 1e-3
    assert_close(orthogonal(1e-12 * matrix), orthogonal(matrix), rtol=1e-3, atol=1e-5)


def test_the_step_of_a_kernel_has_the_root_mean_square_asked_for_whatever_the_gradient():
    kernel = torch.zeros(64, 64, 3, 3)
    for size in (1e-6, 1.0, 1e6):
        step = updated(kernel, [size * torch.randn(kernel.shape)], lr=0.01, step_rms=0.2)
        assert step.square().mean().sqrt() == pytest.approx(0.01 * 0.2, rel=0.25)


def test_the_step_goes_down_the_gradient_and_follows_the_momentum():
    kernel, first, second = torch.zeros(64, 32, 3, 3), torch.randn(64, 32, 3, 3), torch.randn(64, 32, 3, 3)
    one = updated(kernel, [first])
    assert (one * first).sum() < 0
    two = updated(kernel, [first, second], momentum=0.5) - updated(kernel, [first], momentum=0.5)
    ahead = second + 0.5 * (0.5 * first + second)
    expected = -1e-3 * 0.2 * (32 * 9) ** 0.5 * orthogonal(ahead.flatten(1)).view_as(ahead)
    assert_close(two, expected, atol=1e-7, rtol=1e-4)


@pytest.mark.parametrize("shape", [(64,), (3, 64, 3, 3), (64, 3, 3, 3)])
def test_biases_and_small_kernels_get_adams_steps_scaled(shape):
    weight, gradients = torch.randn(shape), [torch.randn(shape) for _ in range(5)]
    theirs = nn.Parameter(weight.clone())
    adam = torch.optim.Adam([theirs], lr=1e-2 * 0.3, betas=(0.8, 0.9), eps=1e-6)
    for gradient in gradients:
        theirs.grad = gradient.clone()
        adam.step()
    assert_close(
        updated(weight, gradients, lr=1e-2, betas=(0.8, 0.9), eps=1e-6, step_rms=0.3), theirs.detach()
    )


def test_weight_decay_shrinks_by_the_learning_rate_times_it():
    weight = torch.randn(64)
    assert_close(updated(weight, [torch.zeros(64)], lr=0.1, weight_decay=0.5), weight * 0.95)


@pytest.mark.parametrize("shape", [(64,), (64, 32, 3, 3)])
def test_cautious_decay_shrinks_only_the_weights_that_the_step_moves_towards_0(shape):
    weight, gradient = torch.randn(2, *shape, dtype=torch.float64)
    plain = updated(weight, [gradient], lr=1e-3)
    decayed = updated(weight, [gradient], lr=1e-3, weight_decay=100.0, cautious=True)
    towards_0 = weight * (plain - weight) < 0
    assert 0 < towards_0.float().mean() < 1
    assert_close(decayed, torch.where(towards_0, plain - 0.1 * weight, plain))


def test_its_state_goes_on_to_the_same_bits():
    def made():
        torch.manual_seed(3)
        net = nn.Conv2d(64, 64, 3)
        return net, Muon(net.parameters(), weight_decay=0.1, cautious=True)

    def step(net, optimizer, seed):
        net.weight.grad, net.bias.grad = (
            torch.randn(p.shape, generator=torch.Generator().manual_seed(seed)) for p in net.parameters()
        )
        optimizer.step()

    whole, optimizer = made()
    step(whole, optimizer, 1)
    saved = copy.deepcopy((optimizer.state_dict(), whole.state_dict()))
    resumed, again = made()
    again.load_state_dict(saved[0])
    resumed.load_state_dict(saved[1])
    step(whole, optimizer, 2)
    step(resumed, again, 2)
    assert torch.equal(whole.weight, resumed.weight)
    assert torch.equal(whole.bias, resumed.bias)


def test_a_weight_without_gradient_is_left_alone():
    weight = nn.Parameter(torch.ones(64))
    Muon([weight], weight_decay=0.1).step()
    assert torch.equal(weight, torch.ones(64))


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ({"momentum": 1.0}, r"momentum in \[0, 1\), got 1.0"),
        ({"lr": 0.0}, "lr above 0, got 0.0"),
        ({"betas": (0.9, -0.1)}, r"betas\[1\] in \[0, 1\), got -0.1"),
        ({"cautious": True}, "cautious needs a decay; set weight_decay above 0"),
        ({"cautious": "yes", "weight_decay": 0.1}, "cautious to be true or false, got 'yes'"),
    ],
)
def test_arguments_out_of_range_are_named(args, said):
    with pytest.raises(OptionsError, match=said):
        Muon([nn.Parameter(torch.ones(2))], **args)

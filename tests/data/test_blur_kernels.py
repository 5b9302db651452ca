import math

import numpy as np
import pytest
from numpy.testing import assert_allclose

from srcx.data.blur_kernels import gaussian_kernel, generalized_kernel, plateau_kernel, sinc_kernel

KERNELS = {
    "gaussian": lambda size, *shape: gaussian_kernel(size, *shape),
    "generalized": lambda size, *shape: generalized_kernel(size, *shape, 0.7),
    "plateau": lambda size, *shape: plateau_kernel(size, *shape, 1.6),
}
every_kernel = pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)


def offsets(size):
    steps = np.arange(size) - size // 2
    return np.meshgrid(steps, steps)  # x to the right, y down


def covariance(kernel):
    x, y = offsets(len(kernel))
    return np.array([[(kernel * a * b).sum() for b in (x, y)] for a in (x, y)])


def slow(size, sigma_x, sigma_y, angle, profile):
    """profile(v^T S^-1 v) pixel by pixel, S = R diag(sigma^2) R^T, divided by the sum."""
    rotation = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    inverse = np.linalg.inv(rotation @ np.diag([sigma_x**2, sigma_y**2]) @ rotation.T)
    values = np.empty((size, size))
    for row in range(size):
        for column in range(size):
            v = np.array([column - size // 2, row - size // 2])
            values[row, column] = profile(v @ inverse @ v)
    return values / values.sum()


def test_known_values_of_3_x_3():
    edge, corner = math.exp(-0.5), math.exp(-1)
    whole = np.array([[corner, edge, corner], [edge, 1, edge], [corner, edge, corner]])
    assert_allclose(gaussian_kernel(3, 1, 1, 0), whole / whole.sum(), rtol=1e-6)
    flat = np.array([[1 / 3, 1 / 2, 1 / 3], [1 / 2, 1, 1 / 2], [1 / 3, 1 / 2, 1 / 3]])
    assert_allclose(plateau_kernel(3, 1, 1, 0, 1), flat / flat.sum(), rtol=1e-6)
    edge, corner = math.exp(-0.5), math.exp(-2)  # (r^2)^2 / 2
    whole = np.array([[corner, edge, corner], [edge, 1, edge], [corner, edge, corner]])
    assert_allclose(generalized_kernel(3, 1, 1, 0, 2), whole / whole.sum(), rtol=1e-6)


def bessel(x):
    """J1(x) = 1 / pi times the integral of cos(t - x sin t) from 0 to pi, by the middles of many strips."""
    t = (np.arange(10_000) + 0.5) * math.pi / 10_000
    return float(np.cos(t - x * np.sin(t)).mean())


def test_known_values_of_the_sinc():
    cutoff = 2.5
    middle, edge = cutoff**2 / (4 * math.pi), cutoff * bessel(cutoff) / (2 * math.pi)
    far = math.sqrt(2)
    corner = cutoff * bessel(cutoff * far) / (2 * math.pi * far)
    whole = np.array([[corner, edge, corner], [edge, middle, edge], [corner, edge, corner]])
    assert_allclose(sinc_kernel(3, cutoff), whole / whole.sum(), rtol=1e-5)


@pytest.mark.parametrize("angle", [0, 0.4, -2.5])
def test_the_formulas_written_out_slowly(angle):
    shape = (7, 1.7, 0.6, angle)
    assert_allclose(gaussian_kernel(*shape), slow(*shape, lambda q: math.exp(-q / 2)), rtol=1e-5)
    generalized = slow(*shape, lambda q: math.exp(-(q**0.7) / 2))
    assert_allclose(generalized_kernel(*shape, 0.7), generalized, rtol=1e-5)
    assert_allclose(plateau_kernel(*shape, 1.6), slow(*shape, lambda q: 1 / (1 + q**1.6)), rtol=1e-5)


@every_kernel
@pytest.mark.parametrize("size", [3, 7, 21])
@pytest.mark.parametrize("shape", [(0.01, 0.01, 0), (0.2, 3, 1), (4, 4, 0), (3, 0.3, math.pi)])
def test_kernels_add_up_to_1_and_look_alike_from_the_other_side(kernel, size, shape):
    made = kernel(size, *shape)
    assert made.shape == (size, size)
    assert made.dtype == np.float32
    assert np.isfinite(made).all()
    assert made.sum() == pytest.approx(1, abs=1e-5)
    assert_allclose(made, made[::-1, ::-1], atol=1e-7)


@every_kernel
def test_equal_sigmas_make_a_round_kernel_that_no_angle_changes(kernel):
    round_one = kernel(9, 1.3, 1.3, 0)
    assert_allclose(round_one, round_one.T, atol=1e-7)
    assert_allclose(round_one, round_one[:, ::-1], atol=1e-7)
    assert_allclose(round_one, kernel(9, 1.3, 1.3, 0.7), atol=1e-6)


@every_kernel
def test_a_quarter_turn_exchanges_the_sigmas(kernel):
    assert_allclose(kernel(9, 2, 0.5, math.pi / 2), kernel(9, 0.5, 2, 0), atol=1e-6)
    assert kernel(9, 2, 0.5, 0)[4, 6] > kernel(9, 2, 0.5, 0)[6, 4]  # sigma_x is along the rows


def test_a_gaussian_s_sigmas_and_angle_are_measured():
    kernel = gaussian_kernel(41, 4, 2, math.pi / 6)
    variances, axes = np.linalg.eigh(covariance(kernel))
    assert_allclose(np.sqrt(variances), [2, 4], rtol=1e-3)
    x, y = axes[:, 1]
    assert math.atan(y / x) == pytest.approx(math.pi / 6, abs=1e-3)


def test_beta_1_is_the_gaussian_and_larger_ones_are_flatter():
    shape = (9, 2, 1, 0.3)
    assert_allclose(generalized_kernel(*shape, 1), gaussian_kernel(*shape), atol=1e-7)
    tops = [generalized_kernel(21, 3, 3, 0, beta)[10, 10:13] for beta in (0.5, 1, 3)]
    drops = [top[2] / top[0] for top in tops]
    assert drops == sorted(drops)
    assert plateau_kernel(21, 3, 3, 0, 4)[10, 12] > 0.95 * plateau_kernel(21, 3, 3, 0, 4)[10, 10]


@pytest.mark.parametrize("size", [3, 7, 13, 21])
@pytest.mark.parametrize("cutoff", [math.pi / 5, math.pi / 3, 2, math.pi])
def test_the_sinc_adds_up_to_1_and_is_round(size, cutoff):
    kernel = sinc_kernel(size, cutoff)
    assert kernel.dtype == np.float32
    assert kernel.sum() == pytest.approx(1, abs=1e-5)
    assert_allclose(kernel, kernel.T, atol=1e-7)
    assert_allclose(kernel, kernel[::-1], atol=1e-7)


def test_the_sinc_lets_low_frequencies_pass_and_no_high_ones_and_overshoots():
    cutoff = math.pi / 3
    kernel = sinc_kernel(63, cutoff)
    x, _ = offsets(63)
    gains = {part: float((kernel * np.cos(part * cutoff * x)).sum()) for part in (0.5, 0.8, 1.2, 2)}
    assert gains[0.5] == pytest.approx(1, abs=0.1)
    assert gains[0.8] == pytest.approx(1, abs=0.1)
    assert gains[1.2] == pytest.approx(0, abs=0.1)
    assert gains[2] == pytest.approx(0, abs=0.1)
    assert kernel.min() < 0

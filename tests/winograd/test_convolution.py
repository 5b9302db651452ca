import copy
import logging
from functools import partial

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import nn
from torch.nn import functional
from torch.testing import assert_close

from srcx.archs import MSRResNet
from srcx.errors import UsageError
from srcx.losses.pixel import L1Loss
from srcx.losses.weighted_sum import WeightedSum
from srcx.optim.schedules import multi_step
from srcx.training.model import SRModel, TrainedNetwork
from srcx.winograd import BY_TORCH, Convolution, choose, convolutions
from srcx.winograd import convolution as module
from srcx.winograd.convolution import FLAGS_OF, MAX_ERRORS, compiled, kernel, largest_error, winograd

FITTING = nn.Conv2d(64, 64, 3, padding=1)


@pytest.fixture
def _with_kernel():
    try:
        kernel()
    except UsageError as error:
        if "needs" not in str(error):
            raise
        pytest.skip("needs an x86 processor with AVX2 and a C++ compiler")


def no_kernel(*_):
    raise UsageError("there is no compiler")


def off(ours, exact):
    """Return the largest difference as a share of the largest value."""
    return float((ours - exact).abs().max() / exact.abs().max())


@pytest.mark.usefixtures("_with_kernel")
@pytest.mark.parametrize("dtype", MAX_ERRORS, ids=str)
@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize(
    ("n", "c", "k", "height", "width"),
    [(2, 64, 64, 24, 24), (1, 64, 256, 17, 31), (3, 128, 64, 5, 4), (1, 256, 256, 12, 12), (1, 64, 64, 1, 1)],
)
def test_values_and_gradients_are_those_of_torch(n, c, k, height, width, order, dtype):
    x, of_y = (torch.randn(n, channels, height, width).to(dtype, memory_format=order) for channels in (c, k))
    weight, bias = torch.randn(k, c, 3, 3).to(memory_format=order), torch.randn(k)
    leaves = [one.requires_grad_() for one in (x, weight, bias)]
    y = winograd(*leaves)
    found = [y.detach(), *torch.autograd.grad(y, leaves, of_y)]
    assert [one.dtype for one in found] == [dtype, dtype, torch.float32, torch.float32]
    doubles = [one.detach().double().requires_grad_() for one in leaves]
    y = functional.conv2d(*doubles, padding=1)
    for ours, exact in zip(found, [y.detach(), *torch.autograd.grad(y, doubles, of_y.double())], strict=True):
        assert ours.shape == exact.shape
        assert off(ours, exact) < MAX_ERRORS[ours.dtype]


@pytest.mark.usefixtures("_with_kernel")
def test_long_sums_stay_exact_in_the_gradient_of_the_weights():
    x, of_y = torch.randn(8, 64, 64, 64), torch.randn(8, 64, 64, 64)
    weight = torch.zeros(64, 64, 3, 3, requires_grad=True)
    (ours,) = torch.autograd.grad(winograd(x, weight), weight, of_y)
    twin = weight.double().detach().requires_grad_()
    (exact,) = torch.autograd.grad(functional.conv2d(x.double(), twin, padding=1), twin, of_y.double())
    assert off(ours, exact) < MAX_ERRORS[torch.float32]


@pytest.mark.usefixtures("_with_kernel")
def test_the_kernel_of_avx2_gives_the_values_too():
    """A processor with AVX-512 runs it as well, so that this machine tests both."""
    for dtype, limit in MAX_ERRORS.items():
        assert largest_error(compiled(FLAGS_OF["AVX2"]), dtype) < limit


@pytest.mark.usefixtures("_with_kernel")
@pytest.mark.parametrize(
    "capability", sorted({"AVX2", torch.backends.cpu.get_cpu_capability()} & {*FLAGS_OF})
)
def test_values_are_rounded_to_bf16_as_torch_rounds_them(capability):
    """With weights of 0 the output is the bias, so only the rounding is left."""
    full_nan = torch.tensor(2**31 - 1, dtype=torch.int32).view(
        torch.float32
    )  # rounding would carry into its sign
    values = torch.tensor([1.00390625, 1.01171875, -1.00390625, 3e38, 3.4e38, 1e-40, torch.inf, full_nan])
    x, weight = torch.zeros(1, 64, 4, 4, dtype=torch.bfloat16), torch.zeros(64, 64, 3, 3)
    bias = values.repeat(8)
    y = module._convolve(x, weight, bias, compiled(FLAGS_OF[capability]))
    expected = bias.to(torch.bfloat16)[None, :, None, None].expand_as(y)
    assert torch.equal(y.nan_to_num(7.0), expected.nan_to_num(7.0))
    assert torch.equal(y.isnan(), expected.isnan())


@pytest.mark.usefixtures("_with_kernel")
def test_a_convolution_computed_twice_is_equal_to_the_bit():
    x, weight = torch.randn(2, 64, 20, 20), torch.randn(64, 64, 3, 3, requires_grad=True)
    (one, other) = (torch.autograd.grad(winograd(x, weight).square().sum(), weight)[0] for _ in range(2))
    assert torch.equal(one, other)


@pytest.mark.usefixtures("_with_kernel")
@pytest.mark.parametrize("bias", [torch.ones(64), None])
def test_a_second_derivative_is_that_of_torch(bias):
    """As the R1 penalty of a discriminator takes it."""
    found = []
    for convolve in (partial(functional.conv2d, padding=1), winograd):
        torch.manual_seed(0)
        leaves = [torch.randn(1, 64, 8, 8), torch.randn(64, 64, 3, 3), *([bias] if bias is not None else [])]
        leaves = [one.clone().requires_grad_() for one in leaves]
        (gradient,) = torch.autograd.grad(convolve(*leaves).square().sum(), leaves[0], create_graph=True)
        found.append(torch.autograd.grad(gradient.square().sum(), leaves))
    for theirs, ours in zip(*found, strict=True):
        assert off(ours, theirs) < MAX_ERRORS[torch.float32]


def convolution(c=64, k=64, **options):
    return nn.Conv2d(c, k, **{"kernel_size": 3, "padding": 1, **options})


@pytest.mark.usefixtures("_with_kernel")
@pytest.mark.parametrize(
    ("layer", "size", "taken"),
    [
        (convolution(), (4, 64, 32, 32), True),
        (convolution(bias=False), (1, 64, 64, 65), True),
        (convolution(k=256), (4, 64, 32, 32), True),
        (convolution(), (1, 64, 32, 32), False),  # few pixels
        (convolution(), (200, 64, 6, 6), False),  # 64 pixels of tiles for 36
        (convolution(k=48), (4, 64, 32, 32), False),
        (convolution(c=3), (4, 3, 32, 32), False),
        (convolution(stride=2), (4, 64, 64, 64), False),
        (convolution(dilation=2, padding=2), (4, 64, 32, 32), False),
        (convolution(c=128, k=128, groups=2), (4, 128, 32, 32), False),
        (convolution(padding="same"), (4, 64, 32, 32), False),
        (convolution(kernel_size=1, padding=0), (4, 64, 32, 32), False),
        (convolution().double(), (4, 64, 32, 32), False),
        (convolution(c=512, k=256), (4, 512, 32, 32), False),  # the sums of its gradient take much memory
        (convolution(c=512, k=256).requires_grad_(False), (4, 512, 32, 32), True),
    ],
)
def test_the_kernel_takes_the_convolutions_for_which_it_is_made(monkeypatch, layer, size, taken):
    calls = []
    monkeypatch.setattr(module, "winograd", lambda *given: calls.append(given) or functional.conv2d(*given))
    x = torch.zeros(size, dtype=layer.weight.dtype)
    layer(x)
    assert calls == []
    with convolutions("torch"):
        layer(x)
    assert calls == []
    with convolutions("winograd"):
        layer(x)
    assert bool(calls) is taken


@pytest.mark.usefixtures("_with_kernel")
@pytest.mark.parametrize("given", [torch.float32, torch.bfloat16], ids=str)
def test_under_autocast_maps_are_bf16_and_weights_are_not_rounded(given):
    x = torch.randn(4, 64, 32, 32).to(given).requires_grad_()
    with convolutions("winograd"), torch.autocast("cpu", torch.bfloat16):
        y = FITTING(x)
    assert y.dtype == torch.bfloat16
    exact = functional.conv2d(
        x.bfloat16().double(), FITTING.weight.double(), FITTING.bias.double(), padding=1
    )
    assert off(y.detach(), exact.detach()) < MAX_ERRORS[torch.bfloat16]
    gradients = torch.autograd.grad(y.float().square().sum(), [x, FITTING.weight])
    assert [one.dtype for one in gradients] == [given, torch.float32]
    wide = convolution(c=512, k=256).requires_grad_(False)
    with convolutions("winograd"), torch.autocast("cpu", torch.bfloat16):
        assert "Winograd" not in type(wide(torch.ones(4, 512, 32, 32, requires_grad=True)).grad_fn).__name__
    with convolutions("winograd"), torch.autocast("cpu", torch.float16):
        assert FITTING(x).dtype == torch.float16  # torch's


@pytest.mark.usefixtures("_with_kernel")
def test_a_second_derivative_can_be_taken_in_bf16():
    x = torch.randn(1, 64, 8, 8).bfloat16().requires_grad_()
    weight = torch.randn(64, 64, 3, 3, requires_grad=True)
    (gradient,) = torch.autograd.grad(winograd(x, weight).float().square().sum(), x, create_graph=True)
    (of_weight,) = torch.autograd.grad(gradient.float().square().sum(), weight)
    assert of_weight.dtype == torch.float32
    assert of_weight.isfinite().all()


def test_nothing_is_compiled_for_networks_without_a_fitting_layer(monkeypatch):
    monkeypatch.setattr(module, "kernel", lambda: pytest.fail("compiled"))
    assert choose("auto", [nn.Conv2d(64, 64, 1), nn.Conv2d(32, 32, 3, padding=1)]).way == "torch"
    assert choose("torch", [FITTING]) == Convolution("torch", "as the options say", asked=True)


@pytest.mark.parametrize(("gain", "way"), [(1.05, "torch"), (1.9, "winograd")])
def test_auto_takes_the_faster_way_and_says_by_how_much(monkeypatch, gain, way):
    monkeypatch.setattr(module, "measured_gain", lambda dtype: gain)
    chosen = choose("auto", [nn.ReLU(), FITTING])
    assert chosen.way == way
    assert f"{gain:g}" in chosen.reason
    assert choose("winograd", []).way == "winograd"


def test_without_a_kernel_auto_says_why_and_asking_for_it_is_an_error(monkeypatch):
    monkeypatch.setattr(module, "measured_gain", no_kernel)
    assert choose("auto", [FITTING]) == Convolution("torch", "there is no compiler")
    with pytest.raises(UsageError, match="there is no compiler"):
        choose("winograd", [FITTING])


def test_another_processor_is_told_what_the_kernel_needs(monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "DEFAULT")
    with pytest.raises(UsageError, match="needs an x86 processor with AVX2"):
        kernel.__wrapped__()


@pytest.mark.parametrize(
    ("compiler", "named"),
    [("nowhere-c++", "nowhere-c\\+\\+, which CXX names, is not there"), ("false", "cannot be compiled by")],
)
def test_a_missing_or_failing_compiler_is_named(monkeypatch, tmp_path, compiler, named):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("CXX", compiler)
    with pytest.raises(UsageError, match=named):
        compiled(FLAGS_OF["AVX2"])
    assert list((tmp_path / "srcx/kernels").iterdir()) == []


def test_a_kernel_that_computes_something_else_is_not_used(monkeypatch):
    monkeypatch.setattr(module, "compiled", lambda flags: None)
    monkeypatch.setattr(module, "largest_error", lambda library, dtype: float("nan"))
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    with pytest.raises(UsageError, match="is off by nan of the largest value"):
        kernel.__wrapped__()


@pytest.mark.usefixtures("_with_kernel")
def test_the_library_in_the_cache_is_not_compiled_again(monkeypatch):
    monkeypatch.setattr("subprocess.run", lambda *_, **__: pytest.fail("compiled again"))
    kernel.__wrapped__()


@pytest.mark.parametrize("before", ["torch", "winograd"])
def test_a_resumed_run_keeps_its_way_unless_the_options_name_another(monkeypatch, caplog, before):
    monkeypatch.setattr(module, "kernel", lambda: None)
    now = "winograd" if before == "torch" else "torch"
    assert Convolution(now, "measured").continued(before).way == before
    assert not caplog.records
    assert Convolution(now, "as the options say", asked=True).continued(before).way == now
    (record,) = caplog.records
    said = f"the convolutions of this run were {before}'s and are now {now}'s, as the options say"
    assert said in record.getMessage()


def test_a_run_that_cannot_keep_the_kernel_says_so(monkeypatch, caplog):
    monkeypatch.setattr(module, "kernel", no_kernel)
    assert Convolution("torch", "measured").continued("winograd").way == "torch"
    assert "will differ by rounding: there is no compiler" in caplog.text


def sr_model(convolution):
    torch.manual_seed(0)
    AcceleratorState._reset_state()
    net = MSRResNet(num_block=1, upscale=2)
    generator = TrainedNetwork(net, torch.optim.SGD(net.parameters(), lr=0.1), multi_step([]))
    objective = WeightedSum({"pixel": (L1Loss(), 1.0)})
    return SRModel(generator, objective, accelerator=Accelerator(cpu=True), convolution=convolution)


@pytest.mark.usefixtures("_with_kernel")
def test_a_training_step_is_that_of_torch(monkeypatch):
    calls, ours = [], winograd
    monkeypatch.setattr(module, "winograd", lambda *given: calls.append(given) or ours(*given))
    batch = {"lq": torch.rand(4, 3, 32, 32), "gt": torch.rand(4, 3, 64, 64)}
    models = [sr_model(Convolution(way, "test")) for way in ("torch", "winograd")]
    losses = [model.step(batch)["pixel"] for model in models]
    assert len(calls) == 4  # of the block two, of the upsampling one, conv_hr
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    for one, other in zip(*(model.eval_net.parameters() for model in models), strict=True):
        assert_close(one, other, rtol=1e-4, atol=1e-6)


@pytest.mark.usefixtures("_with_kernel")
def test_a_state_holds_the_way_and_older_ones_go_on_in_the_chosen_one(caplog):
    state = copy.deepcopy(sr_model(Convolution("winograd", "measured")).state())
    resumed = sr_model(BY_TORCH)
    with caplog.at_level(logging.WARNING):
        resumed.load_state(state)
        assert resumed.convolution.way == "winograd"
        del state["by_winograd"]
        older = sr_model(BY_TORCH)
        older.load_state(state)
    assert older.convolution is BY_TORCH
    assert not caplog.records

import logging
import math
import time

import numpy as np
import pytest
import torch
from torch import nn

from srcx import load_model
from srcx.archs import MSRResNet
from srcx.errors import ImageError, UsageError
from srcx.imaging import write_image
from srcx.inference import Model, Upscaler, autotune
from srcx.inference.autotune import cache_engine, cached_engine, engines_for, fastest
from srcx.inference.backends import BACKENDS, EXACT, Engine, find_backend
from srcx.inference.folder import Job, run
from srcx.weights import save_state

CPU = torch.device("cpu")
BF16 = Engine(EXACT.backend, "bf16")
ALL = [EXACT, BF16]
ONNX, OPENVINO = find_backend("onnx"), find_backend("openvino")


def model_of(net: nn.Module, sha256: str = "0") -> Model:
    return Model("test", 2, "test", sha256, net=net)


@pytest.fixture
def net() -> nn.Module:
    return MSRResNet(num_feat=4, num_block=1, upscale=2).eval()


@pytest.fixture
def only_torch(monkeypatch):
    for backend in BACKENDS:
        monkeypatch.setattr(type(backend), "available", lambda self: False)


@pytest.fixture
def fast_bf16(monkeypatch):
    monkeypatch.setattr(autotune, "fast_dtype", lambda device: torch.bfloat16)


def runs(**seconds_and_values: tuple[float, float]):
    """Return a run that gives this value after these seconds, by the precision's name."""

    def run(engine: Engine) -> torch.Tensor:
        seconds, value = seconds_and_values[engine.precision]
        time.sleep(seconds)
        return torch.full((4,), value)

    return run


def test_the_fastest_is_taken():
    assert fastest(ALL, runs(fp32=(0.02, 0.5), bf16=(0, 0.5))) == BF16
    assert fastest(ALL, runs(fp32=(0, 0.5), bf16=(0.02, 0.5))) == EXACT


def test_an_output_too_far_from_fp32_is_not_taken_however_fast():
    assert fastest(ALL, runs(fp32=(0.02, 0.5), bf16=(0, 0.5 + 1 / 255))) == EXACT  # 48.1 dB
    assert fastest(ALL, runs(fp32=(0.02, 0.5), bf16=(0, 0.5 + 0.7 / 255))) == BF16  # 51.2 dB


def test_an_engine_that_does_not_run_is_not_taken():
    def run(engine: Engine) -> torch.Tensor:
        if engine == BF16:
            raise KeyError("no such kernel")
        return torch.zeros(4)

    assert fastest(ALL, run) == EXACT
    with pytest.raises(UsageError, match=r"no engine asked for runs this network .*no such kernel"):
        fastest([BF16], run)


def test_a_processor_without_bf16_does_not_try_it(net, only_torch, monkeypatch):
    monkeypatch.setattr(autotune, "fast_dtype", lambda device: torch.float32)
    assert engines_for(model_of(net), CPU, backend="auto", precision="auto") == [EXACT]


def test_the_engines_tried_are_installed_and_work_for_the_network(net, monkeypatch, fast_bf16):
    for backend in BACKENDS:
        monkeypatch.setattr(type(backend), "available", lambda self: self is OPENVINO)
    expected = [EXACT, BF16, Engine(OPENVINO), Engine(OPENVINO, "bf16")]
    assert engines_for(model_of(net), CPU, backend="auto", precision="auto") == expected
    only_fp32 = Model("test", 2, "test", "0", net=net, dtypes=frozenset({torch.float32}))
    assert engines_for(only_fp32, CPU, backend="auto", precision="auto") == [EXACT, Engine(OPENVINO)]
    assert engines_for(model_of(net), CPU, backend="onnx", precision="auto") == [Engine(ONNX)]
    assert engines_for(model_of(net), torch.device("cuda"), backend="auto", precision="fp32") == [EXACT]
    with pytest.raises(UsageError, match="onnx: does not run test in bf16; take fp32"):
        engines_for(model_of(net), CPU, backend="onnx", precision="bf16")


def test_the_measurement_is_cached_for_this_model_and_this_choice(net, tmp_path):
    cache_engine(model_of(net), ALL, BF16)
    assert cached_engine(model_of(net), ALL) == BF16
    assert cached_engine(model_of(net, "another"), ALL) is None
    assert cached_engine(model_of(net), [EXACT]) is None
    for damaged in ("[", "[" * 100_000, "[]", "null"):
        (tmp_path / "cache/srcx/fastest.json").write_text(damaged)
        assert cached_engine(model_of(net), ALL) is None
    cache_engine(model_of(net), ALL, EXACT)
    assert cached_engine(model_of(net), ALL) == EXACT


def test_a_cache_that_cannot_be_written_stops_nothing(net, tmp_path, monkeypatch):
    (tmp_path / "cache").write_text("a file")
    cache_engine(model_of(net), ALL, BF16)
    assert cached_engine(model_of(net), ALL) is None


def test_it_is_measured_once_and_not_for_a_tiny_image(net, rng, only_torch, fast_bf16, monkeypatch):
    measured = []
    monkeypatch.setattr(
        "srcx.inference.upscaler.fastest", lambda engines, run: measured.append(engines) or BF16
    )
    tiny, large = (rng.integers(0, 256, (side, side, 3), np.uint8) for side in (20, 128))
    up = Upscaler(model_of(net))
    up(tiny)
    assert (up.engine, measured) == (None, [])
    up(large)
    assert (up.engine, len(measured)) == (BF16, 1)
    again = Upscaler(model_of(net))
    again(large)
    assert (again.engine, len(measured)) == (BF16, 1)


def test_the_first_use_logs_the_measurement_and_its_result(
    net, rng, only_torch, fast_bf16, monkeypatch, caplog
):
    monkeypatch.setattr("srcx.inference.upscaler.fastest", lambda engines, run: BF16)
    image = rng.integers(0, 256, (128, 128, 3), np.uint8)
    for _ in range(2):
        up = Upscaler(model_of(net))
        up.prepare(image)
        up(image)
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        f"first use of test on this machine: measuring once which engine is fastest: {EXACT}, {BF16}",
        f"test: {BF16} is the fastest and is used from now on",
    ]


def test_the_measurement_does_not_count_as_time_of_the_first_image(
    net, rng, only_torch, fast_bf16, monkeypatch, tmp_path
):
    def slowly(engines, run):
        time.sleep(1.0)
        return EXACT

    monkeypatch.setattr("srcx.inference.upscaler.fastest", slowly)
    write_image(tmp_path / "a.png", rng.integers(0, 256, (128, 128, 3), np.uint8))
    (outcome,) = run([Job(tmp_path / "a.png", tmp_path / "b.png")], Upscaler(model_of(net)))
    assert outcome.time_s < 1


def test_many_tiny_images_are_worth_it_but_the_tiniest_measure_nothing(
    net, rng, only_torch, fast_bf16, monkeypatch
):
    monkeypatch.setattr("srcx.inference.upscaler.fastest", lambda engines, run: BF16)
    monkeypatch.setattr("srcx.inference.upscaler.MANY_SMALL_PX", 3 * 100**2)
    tiniest, tiny = (rng.integers(0, 256, (side, side, 3), np.uint8) for side in (90, 100))
    up = Upscaler(model_of(net))
    engines = []
    for image in [tiny, tiny, tiny]:
        up(image)
        engines.append(up.engine)
    assert engines == [None, None, BF16]
    up = Upscaler(model_of(net, "another"))
    for _ in range(5):
        up(tiniest)
    assert up.engine is None
    cache_engine(model_of(net, "another"), ALL, BF16)
    up(tiniest)
    assert up.engine == BF16


def test_the_real_measurement_takes_one_of_them(net, rng, only_torch, fast_bf16):
    up = Upscaler(model_of(net))
    up(rng.integers(0, 256, (128, 130, 3), np.uint8))
    assert up.engine in ALL
    assert set(up._runners) == {up.engine}


def test_one_engine_at_a_time_is_open_while_they_are_tried(net, rng, only_torch, fast_bf16, monkeypatch):
    open_at_once = []

    def tried(engines, run):
        for engine in [EXACT, *engines]:
            run(engine)
            open_at_once.append(set(up._runners))
        return EXACT

    monkeypatch.setattr("srcx.inference.upscaler.fastest", tried)
    up = Upscaler(model_of(net))
    up(rng.integers(0, 256, (128, 128, 3), np.uint8))
    assert open_at_once == [{EXACT}, {EXACT}, {BF16}]
    assert set(up._runners) == {EXACT}


def test_sixteen_bits_are_run_in_fp32_whatever_is_faster(net, rng, only_torch, fast_bf16, monkeypatch):
    monkeypatch.setattr("srcx.inference.upscaler.fastest", lambda engines, run: BF16)
    up = Upscaler(model_of(net))
    up(rng.integers(0, 256, (128, 128, 3), np.uint8))
    up(rng.integers(0, 65536, (9, 9), np.uint16))
    assert set(up._runners) == {BF16, EXACT}


class Overflowing(nn.Module):
    """Upscales by 2, and is infinite or NaN in half precision where an image is bright."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.scale, self.value = nn.Parameter(torch.ones(1)), value

    def forward(self, lq: torch.Tensor) -> torch.Tensor:
        sr = nn.functional.interpolate(lq * self.scale, scale_factor=2)
        return torch.where(sr > 0.9, self.value, sr) if lq.dtype != torch.float32 else sr


@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_an_image_that_overflows_half_precision_is_run_in_fp32(
    only_torch, fast_bf16, monkeypatch, value, caplog
):
    monkeypatch.setattr("srcx.inference.upscaler.fastest", lambda engines, run: BF16)
    image = np.full((128, 128, 3), 255, np.uint8)
    up = Upscaler(model_of(Overflowing(value)))
    assert (up(image) == 255).all()
    assert (up(image // 2) == 127).all()
    warned = [record.message for record in caplog.records if record.levelno >= logging.WARNING]
    assert [message for message in warned if "overflows" in message] == [
        "test: an image overflows torch bf16 and is run in fp32"
    ]
    with pytest.raises(
        ImageError, match="torch bf16: the network's output holds NaN or infinite numbers; take"
    ):
        Upscaler(model_of(Overflowing(value)), precision="bf16")(image)


def test_a_missing_or_unknown_backend_is_one_sentence(net, tmp_path, monkeypatch):
    save_state(tmp_path / "net.pth", net.state_dict())
    monkeypatch.setattr(type(ONNX), "packages", ("no_such_module",))
    with pytest.raises(UsageError, match=r"onnx: needs no_such_module.*pip install 'srcx\[export\]'"):
        load_model(tmp_path / "net.pth", backend="onnx")
    with pytest.raises(
        UsageError, match="backend: expected auto, torch, nnpack, onnx, openvino, ncnn; got 'tpu'"
    ):
        load_model(tmp_path / "net.pth", backend="tpu")  # type: ignore[arg-type]

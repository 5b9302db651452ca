import logging
import math
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from srcx import load_model
from srcx.archs import MSRResNet
from srcx.errors import ImageError, UsageError
from srcx.imaging import write_image
from srcx.inference import Model, Upscaler, autotune
from srcx.inference.autotune import (
    TIMED_RUNS,
    cache_times,
    cached_times,
    engines_for,
    expected_order,
    fastest,
    measure,
)
from srcx.inference.backends import BACKENDS, EXACT, Engine, find_backend
from srcx.inference.folder import Job, run
from srcx.weights import save_state

BF16 = Engine(EXACT.backend, "bf16")
ALL = [EXACT, BF16]
ONNX, OPENVINO = find_backend("onnx"), find_backend("openvino")


def model_of(net: nn.Module, sha256: str = "0", **about) -> Model:
    return Model("test", 2, "test", sha256, net=net, **about)


@pytest.fixture
def net() -> nn.Module:
    return MSRResNet(num_feat=4, num_block=1, upscale=2).eval()


@pytest.fixture
def only_torch(monkeypatch):
    for backend in BACKENDS:
        monkeypatch.setattr(type(backend), "available", lambda self: False)


@pytest.fixture
def has_bf16(monkeypatch):
    monkeypatch.setattr(autotune, "_half_precisions", lambda device: ["bf16"])


@pytest.fixture
def measured(monkeypatch):
    """Each choice of engines that is measured; torch in bf16 turns out to be the fastest."""
    measured = []

    def measure(engines, run):
        measured.append(engines)
        return {engine: 1.0 if engine == BF16 else 2.0 for engine in engines}

    monkeypatch.setattr("srcx.inference.upscaler.measure", measure)
    return measured


@pytest.fixture
def repays(monkeypatch):
    """Any image is large enough to measure the engines first."""
    monkeypatch.setattr("srcx.inference.upscaler.REPAYS", 0)


def runs(**seconds_and_values: tuple[float, float]):
    """Return a run that gives this value after these seconds, by the precision's name."""

    def run(engine: Engine) -> np.ndarray:
        seconds, value = seconds_and_values[engine.precision]
        time.sleep(seconds)
        return np.full(4, value, np.float32)

    return run


def test_the_fastest_is_taken():
    assert fastest(measure(ALL, runs(fp32=(0.02, 0.5), bf16=(0, 0.5)))) == BF16
    assert fastest(measure(ALL, runs(fp32=(0, 0.5), bf16=(0.02, 0.5)))) == EXACT


def test_an_output_too_far_from_fp32_is_not_taken_however_fast():
    assert fastest(measure(ALL, runs(fp32=(0.02, 0.5), bf16=(0, 0.5 + 1 / 255)))) == EXACT  # 48.1 dB
    assert fastest(measure(ALL, runs(fp32=(0.02, 0.5), bf16=(0, 0.5 + 0.7 / 255)))) == BF16  # 51.2 dB


def test_an_engine_that_does_not_run_is_not_taken():
    def run(engine: Engine) -> np.ndarray:
        if engine == BF16:
            raise KeyError("no such kernel")
        return np.zeros(4, np.float32)

    times = measure(ALL, run)
    assert (times[BF16], fastest(times)) == (None, EXACT)
    with pytest.raises(UsageError, match=r"no engine asked for runs this network .*no such kernel"):
        measure([BF16], run)


def test_engines_take_turns_and_a_hopeless_one_has_but_one(monkeypatch):
    timed, slow = [], Engine(OPENVINO, "int8")
    times_s = {EXACT: 2.0, BF16: 1.0, slow: 3.1}
    monkeypatch.setattr(autotune, "_time_s", lambda run, engine: timed.append(engine) or times_s[engine])
    assert measure([*ALL, slow], lambda engine: np.zeros(4, np.float32)) == times_s
    assert timed == [*ALL, slow, *ALL * (TIMED_RUNS - 1)]


def test_a_processor_without_bf16_does_not_try_it(net, only_torch, monkeypatch):
    for flags, expected in ((set(), [EXACT]), ({"avx512_bf16"}, ALL), ({"amx_bf16"}, ALL)):
        monkeypatch.setattr(autotune, "processor", lambda flags=flags: ("test", frozenset(flags)))
        assert engines_for(model_of(net), "cpu", backend="auto", precision="auto") == expected


def test_the_engines_tried_are_installed_and_work_for_the_network(net, monkeypatch, has_bf16):
    for backend in BACKENDS:
        monkeypatch.setattr(type(backend), "available", lambda self: self is OPENVINO)
    expected = [EXACT, BF16, Engine(OPENVINO), Engine(OPENVINO, "bf16")]
    assert engines_for(model_of(net), "cpu", backend="auto", precision="auto") == expected
    only_fp32 = model_of(net, precisions=frozenset({"fp32"}))
    assert engines_for(only_fp32, "cpu", backend="auto", precision="auto") == [EXACT, Engine(OPENVINO)]
    assert engines_for(model_of(net), "cpu", backend="onnx", precision="auto") == [Engine(ONNX)]
    assert engines_for(model_of(net), "cuda:1", backend="auto", precision="fp32") == [EXACT]
    with pytest.raises(UsageError, match="onnx: does not run test in bf16; take fp32"):
        engines_for(model_of(net), "cpu", backend="onnx", precision="bf16")


@pytest.mark.parametrize(
    ("flags", "first"), [({"amx_bf16", "avx512_bf16"}, "openvino bf16"), ({"avx512_bf16"}, "ncnn fp32")]
)
def test_the_engine_expected_to_be_fast_depends_on_the_processor(net, monkeypatch, tmp_path, flags, first):
    monkeypatch.setattr(autotune, "processor", lambda: ("test", frozenset(flags)))
    engines = [Engine(one, each) for one in BACKENDS for each in ("fp32", "bf16") if each in one.formats]
    shipped = model_of(net, store=tmp_path)
    order, reason = expected_order(shipped, engines)
    assert str(order[0]) == first
    assert set(order) == set(engines)
    assert reason.startswith(f"expected to be the fastest of {len(engines)} on a processor with")
    unknown = replace(shipped, store=None)
    assert expected_order(unknown, engines).engines == engines, "torch in fp32 is right for every network"


def test_the_times_are_cached_for_this_model_and_each_engine(net, tmp_path):
    cache_times(model_of(net), {EXACT: 2.0, BF16: None})
    assert cached_times(model_of(net), ALL) == {EXACT: 2.0, BF16: None}
    assert cached_times(model_of(net), [EXACT]) == {EXACT: 2.0}
    assert cached_times(model_of(net, "another"), ALL) is None
    assert cached_times(model_of(net), [*ALL, Engine(ONNX)]) is None
    cache_times(model_of(net), {Engine(ONNX): 1.0})
    assert cached_times(model_of(net), [*ALL, Engine(ONNX)]) == {EXACT: 2.0, BF16: None, Engine(ONNX): 1.0}
    for damaged in ("[", "[" * 100_000, "[]", "null"):
        (tmp_path / "cache/srcx/times.json").write_text(damaged)
        assert cached_times(model_of(net), ALL) is None
    cache_times(model_of(net), {EXACT: 1.0, BF16: 3.0})
    content = (tmp_path / "cache/srcx/times.json").read_text()
    for value in ('"fast"', "[]", "true"):
        (tmp_path / "cache/srcx/times.json").write_text(content.replace("3.0", value))
        assert cached_times(model_of(net), ALL) is None, value


def test_times_of_a_gpu_are_not_those_of_the_cpu(net, monkeypatch):
    monkeypatch.setattr("torch.cuda.get_device_name", lambda device: "a GPU")
    cache_times(model_of(net), {EXACT: 2.0}, "cuda:0")
    assert cached_times(model_of(net), [EXACT], "cuda:0") == {EXACT: 2.0}
    assert cached_times(model_of(net), [EXACT], "cpu") is None


@pytest.mark.parametrize("version", ["srcx", "backend"])
def test_another_version_is_measured_anew(net, monkeypatch, version):
    cache_times(model_of(net), {EXACT: 2.0})
    if version == "srcx":
        monkeypatch.setattr("srcx.__version__", "999")
    else:
        monkeypatch.setattr(type(ONNX), "version", lambda self: "onnxruntime 999")
    assert cached_times(model_of(net), [EXACT]) is None


def test_a_cache_that_cannot_be_written_stops_nothing(net, tmp_path):
    (tmp_path / "cache").write_text("a file")
    cache_times(model_of(net), {EXACT: 2.0})
    assert cached_times(model_of(net), [EXACT]) is None


def test_nothing_is_measured_until_the_work_repays_it(net, rng, only_torch, has_bf16, measured, monkeypatch):
    monkeypatch.setattr("srcx.inference.upscaler.REPAYS", 3 * 100**2 / (2 * (10 + TIMED_RUNS + 1) * 96**2))
    tiniest, tiny = (rng.integers(0, 256, (side, side, 3), np.uint8) for side in (90, 100))
    up = Upscaler(model_of(net))
    engines = []
    for image in [tiny, tiny, tiny, tiny]:
        up(image)
        engines.append(up.engine)
    assert (engines, measured) == ([EXACT, EXACT, BF16, BF16], [ALL])
    again = Upscaler(model_of(net))
    again(tiniest)
    assert (again.engine, len(measured)) == (BF16, 1)
    other = Upscaler(model_of(net, "another"))
    for _ in range(9):
        other(tiniest)
    assert (other.engine, len(measured)) == (EXACT, 1), "too small to measure on"


def test_rotations_and_reflections_are_eight_times_the_work(
    net, rng, only_torch, has_bf16, measured, monkeypatch
):
    monkeypatch.setattr("srcx.inference.upscaler.REPAYS", 8 * 100**2 / (2 * (10 + TIMED_RUNS + 1) * 96**2))
    image = rng.integers(0, 256, (100, 100, 3), np.uint8)
    Upscaler(model_of(net))(image)
    assert not measured
    Upscaler(model_of(net), tta=True)(image)
    assert len(measured) == 1


def test_the_log_says_what_was_chosen_and_why(net, rng, only_torch, has_bf16, measured, caplog):
    caplog.set_level(logging.INFO, "srcx")
    image = rng.integers(0, 256, (128, 128, 3), np.uint8)
    up = Upscaler(model_of(net))
    up(image)
    up(image)
    up.measure(image)
    up(image)
    assert [record.getMessage() for record in caplog.records] == [
        f"test: {EXACT} runs it, as nothing was measured",
        f"test: measuring which engine is the fastest on this machine: {EXACT}, {BF16}",
        f"test: {BF16} runs it, the fastest of those measured on this machine",
    ]


def test_an_engine_that_does_not_open_the_network_is_passed_over(net, rng, tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.INFO, "srcx")
    broken = Engine(OPENVINO)
    monkeypatch.setattr("srcx.inference.upscaler.engines_for", lambda *_, **__: [EXACT, broken])
    monkeypatch.setattr(type(OPENVINO), "packages", ("no_such_package",))
    up = Upscaler(model_of(net, store=tmp_path / "store"))
    up(rng.integers(0, 256, (20, 20, 3), np.uint8))
    assert up.engine == EXACT
    assert "openvino fp32 is not used: openvino: needs no_such_package" in caplog.text
    assert [one.levelname for one in caplog.records if "runs it" in one.message] == ["INFO"]


def test_a_small_image_reads_the_cache_once(net, rng, only_torch, has_bf16, monkeypatch):
    looked = []
    monkeypatch.setattr("srcx.inference.upscaler.cached_times", lambda *args: looked.append(args))
    up = Upscaler(model_of(net))
    for _ in range(3):
        up.prepare(image := rng.integers(0, 256, (20, 20, 3), np.uint8))
        up(image)
    assert len(looked) == 1
    assert up._done_px == 3 * 20 * 20, "preparing is no work"


def test_the_measurement_does_not_count_as_time_of_the_first_image(
    net, rng, only_torch, has_bf16, repays, monkeypatch, tmp_path
):
    def slowly(engines, run):
        time.sleep(1.0)
        return {EXACT: 1.0, BF16: 2.0}

    monkeypatch.setattr("srcx.inference.upscaler.measure", slowly)
    write_image(tmp_path / "a.png", rng.integers(0, 256, (128, 128, 3), np.uint8))
    (outcome,) = run([Job(tmp_path / "a.png", tmp_path / "b.png")], Upscaler(model_of(net)))
    assert outcome.time_s < 1


def test_the_real_measurement_takes_one_of_them(net, rng, only_torch, has_bf16, repays):
    up = Upscaler(model_of(net))
    up(rng.integers(0, 256, (128, 130, 3), np.uint8))
    assert up.engine in ALL
    assert set(up._runners) == {up.engine}


def test_sixteen_bits_are_run_in_fp32_whatever_is_faster(net, rng, only_torch, has_bf16, repays, measured):
    up = Upscaler(model_of(net))
    up(rng.integers(0, 256, (128, 128, 3), np.uint8))
    assert up.engine == BF16
    up(rng.integers(0, 65536, (9, 9), np.uint16))
    assert up.engine == EXACT


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
    only_torch, has_bf16, repays, measured, value, caplog
):
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

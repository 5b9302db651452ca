"""Which number format is taken on a CPU: by its flags and by a measurement."""

import pytest
import torch

from srcx import processor

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("flags", "gain", "expected"),
    [
        ({"avx512_bf16": True}, 3.0, torch.bfloat16),
        ({"amx_bf16": True}, 3.0, torch.bfloat16),
        ({"avx512_bf16": True}, 0.5, torch.float32),
        ({"avx512_bf16": True}, 1.1, torch.float32),
        ({"avx512_bf16": False}, 3.0, torch.float32),
        ({}, 3.0, torch.float32),
    ],
)
def test_bf16_is_taken_where_the_processor_has_it_and_is_faster(flags, gain, expected, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: flags, raising=False)
    monkeypatch.setattr(processor, "bf16_gain", lambda: gain)
    assert processor.fast_dtype(CPU) == expected


def test_nothing_is_timed_where_the_flag_is_not_set(monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict, raising=False)
    monkeypatch.setattr(processor, "bf16_gain", lambda: pytest.fail("timed"))
    assert processor.fast_dtype(CPU) == torch.float32


def test_the_gain_is_the_ratio_of_the_shortest_times(monkeypatch):
    times = {torch.float32: iter([9.0, 3.0, 8.0, 7.0]), torch.bfloat16: iter([5.0, 4.0, 1.0, 6.0])}
    monkeypatch.setattr(processor, "_convolution_s", lambda dtype: next(times[dtype]))
    processor.bf16_gain.cache_clear()
    assert processor.bf16_gain() == 3.0
    processor.bf16_gain.cache_clear()


def test_a_gain_is_measured_here():
    assert 0 < processor.bf16_gain() < 1000
    processor.bf16_gain.cache_clear()


def test_other_devices_are_not_timed():
    assert processor.fast_dtype(torch.device("cuda")) == torch.float16
    assert processor.fast_dtype(torch.device("mps")) == torch.float32

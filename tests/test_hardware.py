import os
from pathlib import Path

import psutil
import pytest
import torch

from srcx import hardware


@pytest.fixture
def cgroup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Write this process's cgroup file and files of cgroups; the host has 64 GB free and 64 cores."""

    def make(own: str, files: dict[str, str]) -> None:
        (tmp_path / "own").write_text(own)
        for name, text in files.items():
            (tmp_path / "fs" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "fs" / name).write_text(text)

    memory = psutil.virtual_memory()._replace(available=64 << 30)
    monkeypatch.setattr(hardware, "CGROUPS", tmp_path / "fs")
    monkeypatch.setattr(hardware, "OWN_CGROUP", tmp_path / "own")
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    return make


V1 = "9:memory:/docker/abc\n4:cpu,cpuacct:/docker/abc\n1:name=systemd:/docker/abc\n"


@pytest.mark.parametrize(
    ("own", "files", "free"),
    [
        ("0::/\n", {"memory.max": "max\n", "memory.current": "5\n"}, 64 << 30),
        ("0::/\n", {"memory.max": "1000\n", "memory.current": "300\n"}, 700),
        (
            "0::/\n",
            {"memory.max": "1000", "memory.current": "900", "memory.stat": "anon 5\ninactive_file 200\n"},
            300,
        ),
        ("0::/\n", {"memory.max": "1000", "memory.current": "1300"}, 0),
        (
            "0::/a/b\n",
            {
                "a/b/memory.max": "9000",
                "a/b/memory.current": "1",
                "a/memory.max": "1000",
                "a/memory.current": "400",
            },
            600,
        ),
        ("0::/not/seen/from/inside\n", {"memory.max": "1000", "memory.current": "300"}, 700),
        (V1, {"memory/memory.limit_in_bytes": "1000", "memory/memory.usage_in_bytes": "300"}, 700),
        (
            V1,
            {
                "memory/docker/abc/memory.limit_in_bytes": "800",
                "memory/docker/abc/memory.usage_in_bytes": "300",
            },
            500,
        ),
        ("0::/\n", {}, 64 << 30),
        ("", {}, 64 << 30),
    ],
)
def test_a_container_s_memory_counts(cgroup, own, files, free):
    cgroup(own, files)
    assert hardware.free_bytes() == free


@pytest.mark.parametrize(
    ("own", "files", "cores"),
    [
        ("0::/\n", {"cpu.max": "max 100000\n"}, 64),
        ("0::/\n", {"cpu.max": "250000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "50000 100000\n"}, 1),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000\n", "a/cpu.max": "400000 100000\n"}, 4),
        (V1, {"cpu/cpu.cfs_quota_us": "300000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3),
        (V1, {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 64),
        ("0::/\n", {}, 64),
    ],
)
def test_a_container_s_cores_count(cgroup, own, files, cores):
    cgroup(own, files)
    assert hardware.cores() == cores


def test_a_machine_without_cgroups_has_its_own(cgroup, monkeypatch):
    monkeypatch.setattr(hardware, "OWN_CGROUP", Path("/nowhere/at/all"))
    assert (hardware.cores(), hardware.free_bytes()) == (64, 64 << 30)


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
    monkeypatch.setattr(hardware, "bf16_gain", lambda: gain)
    assert hardware.fast_dtype(CPU) == expected


def test_nothing_is_timed_where_the_flag_is_not_set(monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict, raising=False)
    monkeypatch.setattr(hardware, "bf16_gain", lambda: pytest.fail("timed"))
    assert hardware.fast_dtype(CPU) == torch.float32


def test_the_gain_is_the_ratio_of_the_shortest_times(monkeypatch):
    times = {torch.float32: iter([9.0, 3.0, 8.0, 7.0]), torch.bfloat16: iter([5.0, 4.0, 1.0, 6.0])}
    monkeypatch.setattr(hardware, "_convolution_s", lambda dtype: next(times[dtype]))
    hardware.bf16_gain.cache_clear()
    assert hardware.bf16_gain() == 3.0
    hardware.bf16_gain.cache_clear()


def test_a_gain_is_measured_here():
    assert 0 < hardware.bf16_gain() < 1000
    hardware.bf16_gain.cache_clear()


def test_other_devices_are_not_timed():
    assert hardware.fast_dtype(torch.device("cuda")) == torch.float16
    assert hardware.fast_dtype(torch.device("mps")) == torch.float32

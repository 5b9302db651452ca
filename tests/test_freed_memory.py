import platform
import subprocess
import sys

import pytest

from srcx.hardware import keep_freed_memory

CODE = """
import resource
import torch
from srcx.hardware import keep_freed_memory

def faults(times: int) -> int:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(times):
        torch.zeros(2**22)  # 16 MiB, freed at once
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

default = faults(5)
assert keep_freed_memory()
faults(20)  # the heap grows to its size
print(default, faults(5))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_freed_memory_is_used_again_without_page_faults():
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    default, now = map(int, done.stdout.split())
    assert default > 1000
    assert now < default / 10


def test_another_c_library_is_left_alone(monkeypatch):
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert keep_freed_memory() is False

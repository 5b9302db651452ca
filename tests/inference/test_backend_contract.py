"""The contract of every backend: right images whoever asks, and no other backend than the one asked for."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import nn

from srcx.archs import MSRResNet
from srcx.errors import ImageError, SrcxError, UsageError
from srcx.inference import Model, Upscaler, backends
from srcx.inference.backends import BACKENDS, Way
from srcx.inference.runner import Runner

CPU = torch.device("cpu")
SIZES = [(24, 31), (31, 24), (24, 24), (40, 17)]


@pytest.fixture(params=BACKENDS)
def backend(request):
    if not backends.installed(request.param):
        pytest.skip(f"{request.param} is not installed")
    return request.param


@pytest.fixture
def model() -> Model:
    return Model("test", 2, "MSRResNet", "0", net=MSRResNet(num_feat=16, num_block=1, upscale=2).eval())


def image(rng, size=(24, 31)):
    return rng.integers(0, 256, (*size, 3), np.uint8)


def test_each_thread_gets_its_own_image(backend, model, rng):
    up = Upscaler(model, backend=backend, precision="fp32")
    exact = Upscaler(model, backend="torch", precision="fp32")
    images = [image(rng, SIZES[n % len(SIZES)]) for n in range(24)]
    expected = [exact(one).astype(int) for one in images]
    with ThreadPoolExecutor(4) as threads:
        for _ in range(3):
            for result, wanted in zip(threads.map(up, images), expected, strict=True):
                assert result.shape == wanted.shape
                assert np.abs(result - wanted).max() <= 1


@torch.inference_mode()
def test_each_thread_measures_the_same(backend, model):
    """The largest layer is found by hooks, which another thread's run would set off."""
    wanted = Runner(model, Way(backend), CPU)
    one = Runner(model, Way(backend), CPU)
    with ThreadPoolExecutor(4) as threads:
        measured = set(threads.map(lambda _: (one.bytes_per_pixel, one.reach_px), range(8)))
    assert measured == {(wanted.bytes_per_pixel, wanted.reach_px)}


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (3, 2), (17, 33)])
def test_the_output_is_a_whole_factor_larger(backend, model, rng, size):
    assert Upscaler(model, backend=backend, precision="fp32")(image(rng, size)).shape == (
        2 * size[0],
        2 * size[1],
        3,
    )


def test_an_output_of_another_size_is_refused(backend, model, rng, monkeypatch):
    one = Runner(model, Way(backend), CPU)
    right = one.run
    one.run = lambda lq: right(lq)[..., 1:]
    lq = image(rng)
    with pytest.raises(ImageError, match=f"{backend} fp32: expected 62 x 48 pixels, got an output of shape"):
        one.enlarge(lq, np.zeros((48, 62, 3), np.uint8), core_px=0)


OUT_OF_MEMORY = """
import resource, sys
import numpy as np, psutil, torch
from srcx.archs import MSRResNet
from srcx.inference import Model, Upscaler

torch.manual_seed(0)
model = Model("test", 2, "MSRResNet", "0", net=MSRResNet(num_feat=16, num_block=1, upscale=2).eval())
up = Upscaler(model, backend=sys.argv[1], precision="fp32", tile=0)
exact = Upscaler(model, backend="torch", precision="fp32", tile=0)
rng = np.random.default_rng(0)
first, second = (rng.integers(0, 256, (64, 64, 3), np.uint8) for _ in range(2))
large = rng.integers(0, 256, (500, 500, 3), np.uint8)
wanted = exact(second), exact(large)
up(first)
limit = psutil.Process().memory_info().vms + 100 * 2**20
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
for lq, sr in zip((large, second, large), (wanted[1], wanted[0], wanted[1])):
    result = up(lq)
    assert all(np.abs(row.astype(np.int16) - one).max() <= 1 for row, one in zip(result, sr)), "another image"
assert up._runners[up.way]._largest_core_px, "there was memory enough: the test shows nothing"
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs a limit on the address space")
def test_out_of_memory_goes_on_in_tiles_and_returns_no_earlier_image(backend):
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", OUT_OF_MEMORY, backend], capture_output=True, text=True, env=env, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize(
    ("text", "says_so"),
    [
        ("DefaultCPUAllocator: can't allocate memory: you tried to allocate 7 bytes", True),
        ("posix_memalign failed:Cannot allocate memory (12)", True),
        ("Failed to allocate memory for requested buffer of size 62720000", True),
        ("Check 'ptr' failed at cpu_memory.cpp:257:\nFailed to allocate 125440000 bytes of memory\n", True),
        ("std::bad_alloc", True),
        ("could not create a primitive", True),
        ("CUDA out of memory. Tried to allocate 2.00 GiB", True),
        ("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`", True),
        ("CUDA error: an illegal memory access was encountered", False),
        ("could not create a primitive descriptor for a convolution", False),
        ("unsupported memory format option ChannelsLast", False),
    ],
)
def test_out_of_memory_is_told_from_other_errors(text, says_so):
    assert backends.is_out_of_memory(RuntimeError(text)) == says_so
    assert not backends.is_out_of_memory(ValueError(text))


class Odd(nn.Module):
    """What no other backend than torch runs."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(1))

    def forward(self, lq: torch.Tensor) -> torch.Tensor:
        frequencies = torch.fft.fft2(lq * self.gain)
        return torch.fft.ifft2(frequencies).real.repeat_interleave(2, -1).repeat_interleave(2, -2)


@pytest.mark.parametrize("precisions", [("fp32",), ("fp32", "bf16")])
@pytest.mark.parametrize("size", [(20, 20), (140, 140)])
def test_an_explicit_backend_is_never_replaced_by_another(backend, rng, monkeypatch, precisions, size):
    if backend in ("torch", "nnpack"):
        pytest.skip("runs every network")
    ways = [Way(backend, precision) for precision in precisions]
    monkeypatch.setattr("srcx.inference.upscaler.ways_of", lambda *args, **kwargs: ways)
    up = Upscaler(Model("odd", 2, "Odd", "0", net=Odd().eval()), backend=backend)
    with pytest.raises(UsageError, match=f"{backend}.*take another backend") as error:
        up(image(rng, size))
    assert "\n" not in str(error.value)


def test_none_of_the_ways_asked_for_running_is_an_error(model, rng, monkeypatch):
    """Two formats of one backend, of which none stays near fp32."""
    ways = [Way("torch", "bf16"), Way("torch", "fp16")]
    monkeypatch.setattr("srcx.inference.upscaler.ways_of", lambda *args, **kwargs: ways)
    monkeypatch.setattr("srcx.inference.choice.LEAST_DB", 1e9)
    with pytest.raises(
        SrcxError, match=r"none of the ways asked for runs this network .*torch bf16: its output"
    ):
        Upscaler(model)(image(rng, (140, 140)))


MOSR = """
import importlib, sys
from pathlib import Path
import torch
from srcx.inference.architecture import from_spandrel
from srcx.inference.backends import Way, opened
from srcx.inference.model import Model

arch = importlib.import_module("spandrel.architectures.MoSR.__arch.mosr_arch")
net = arch.MoSR(upscale=4, n_block=1, dim=64).eval()
found = from_spandrel(Path("mosr.pth"), net.state_dict())
run = opened(Way("ncnn"), Model("mosr", 4, "MoSR", "0", net=found.net))
print(tuple(run(torch.rand(1, 3, 20, 33)).shape))
if sys.argv[1] == "dropped":
    del run
elif sys.argv[1] == "failed":
    raise SystemExit(3)
"""


@pytest.mark.parametrize(("end", "code"), [("kept", 0), ("dropped", 0), ("failed", 3)])
def test_a_network_whose_layers_keep_ncnn_s_memory_does_not_crash_the_process(end, code):
    if not backends.installed("ncnn"):
        pytest.skip("ncnn is not installed")
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", MOSR, end], capture_output=True, text=True, env=env, check=False
    )
    assert (done.returncode, done.stdout, "FATAL" in done.stderr) == (code, "(1, 3, 80, 132)\n", False), (
        done.stderr
    )

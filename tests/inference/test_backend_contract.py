"""The contract of every backend: right images in every thread, and never another backend than asked for."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import requires
from typing import get_args, get_type_hints

import numpy as np
import pytest
import torch
from torch import nn

from srcx.archs import MSRResNet
from srcx.cli import upscale as upscale_command
from srcx.errors import ImageError, SrcxError, UsageError
from srcx.inference import Model, Upscaler
from srcx.inference.autotune import Precision
from srcx.inference.backends import BACKENDS, EXACT, Backend, Engine, find_backend
from srcx.inference.models import ALL_PRECISIONS
from srcx.inference.runner import Runner

CPU = "cpu"
SIZES = [(24, 31), (31, 24), (24, 24), (40, 17)]


@pytest.fixture(params=BACKENDS, ids=lambda backend: backend.name)
def backend(request) -> Backend:
    if not request.param.available():
        pytest.skip(f"{request.param.name} is not installed")
    return request.param


@pytest.fixture
def model() -> Model:
    return Model("test", 2, "MSRResNet", "0", net=MSRResNet(num_feat=16, num_block=1, upscale=2).eval())


def literals(command, argument: str) -> tuple[str, ...]:
    """Return the values that a command offers for an argument."""
    hint = get_type_hints(command)[argument]
    return get_args(hint)


def test_each_backend_says_everything_about_itself():
    assert len({backend.name for backend in BACKENDS}) == len(BACKENDS)
    extras = requires("srcx") or []
    for backend in BACKENDS:
        assert find_backend(backend.name) is backend
        assert backend.memory_factor >= 1
        assert set(backend.formats) <= set(get_args(Precision))
        assert "fp32" in backend.formats
        for package in backend.packages if backend.extra else ():
            assert any(
                one.startswith(package) and f"'{backend.extra}'" in one.replace('"', "'") for one in extras
            )
    assert set(get_args(Precision)) >= ALL_PRECISIONS


def test_the_commands_offer_every_backend_and_precision():
    assert literals(upscale_command.upscale, "backend") == ("auto", *(backend.name for backend in BACKENDS))
    assert literals(upscale_command.upscale, "precision") == get_args(Precision)


def test_a_backend_gives_the_image_that_torch_gives(backend, rng):
    """In tiles or whole, of 3 channels or 1."""
    for channels in (3, 1):
        net = MSRResNet(num_in_ch=channels, num_out_ch=channels, num_feat=8, num_block=2, upscale=2).eval()
        model = Model("test", 2, "test", "0", net=net, channels=channels)
        lq = image(rng, (50, 41))
        whole = Upscaler(model, precision="fp32", backend="torch")(lq)
        for tile in (0, 16):
            result = Upscaler(model, precision="fp32", backend=backend.name, tile=tile)(lq)
            assert np.abs(result.astype(int) - whole).max() <= 1


def test_a_format_that_a_backend_does_not_have_is_one_sentence(backend, model):
    with pytest.raises(UsageError, match=f"^{backend.name}: does not run in fp8; take fp32$"):
        backend.open(model, "fp8")


@pytest.mark.parametrize("name", [backend.name for backend in BACKENDS if backend.extra])
def test_a_missing_package_is_one_sentence(name, model, monkeypatch):
    backend = find_backend(name)
    monkeypatch.setattr(type(backend), "packages", ("no_such_package",))
    assert not backend.available()
    assert backend.version() == "no_such_package absent"
    with pytest.raises(UsageError) as error:
        backend.open(model)
    assert str(error.value) == (
        f"{name}: needs no_such_package, which is not installed; "
        f"pip install 'srcx[{backend.extra}]' installs it"
    )


def test_int8_without_openvino_is_an_error_that_says_how_to_install_it(model, monkeypatch):
    monkeypatch.setattr(type(find_backend("openvino")), "packages", ("no_such_package",))
    with pytest.raises(UsageError, match=r"^openvino: needs no_such_package, .* 'srcx\[export\]'"):
        Upscaler(model, precision="int8")


def image(rng, size=(24, 31)):
    return rng.integers(0, 256, (*size, 3), np.uint8)


def test_each_thread_gets_its_own_image(backend, model, rng):
    up = Upscaler(model, backend=backend.name, precision="fp32")
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
    wanted = Runner(model, Engine(backend), CPU)
    one = Runner(model, Engine(backend), CPU)
    with ThreadPoolExecutor(4) as threads:
        measured = set(threads.map(lambda _: (one.bytes_per_pixel, one.radius_px), range(8)))
    assert measured == {(wanted.bytes_per_pixel, wanted.radius_px)}


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (3, 2), (17, 33)])
def test_the_output_is_a_whole_factor_larger(backend, model, rng, size):
    assert Upscaler(model, backend=backend.name, precision="fp32")(image(rng, size)).shape == (
        2 * size[0],
        2 * size[1],
        3,
    )


def test_an_output_of_another_size_is_refused(backend, model, rng, monkeypatch):
    one = Runner(model, Engine(backend), CPU)
    right = one.run
    one.run = lambda lq: right(lq)[..., 1:]
    lq = image(rng)
    with pytest.raises(
        ImageError, match=f"{backend.name} fp32: expected 62 x 48 pixels, got an output of shape"
    ):
        one.upscale(lq, np.zeros((48, 62, 3), np.uint8), core_px=0)


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
headroom_mb = 160 if sys.argv[1] == "nnpack" else 100  # torch allocates beside NNPACK
limit = psutil.Process().memory_info().vms + headroom_mb * 2**20
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
for lq, sr in zip((large, second, large), (wanted[1], wanted[0], wanted[1])):
    result = up(lq)
    assert all(np.abs(row.astype(np.int16) - one).max() <= 1 for row, one in zip(result, sr)), "another image"
assert up._runners[up.engine]._max_core_px, "there was memory enough: the test shows nothing"
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs a limit on the address space")
def test_out_of_memory_goes_on_in_tiles_and_returns_no_earlier_image(backend):
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    # By itself glibc keeps some freed images, other ones in each run, until the smallest tile finds no room.
    env |= {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "65536"}
    done = subprocess.run(
        [sys.executable, "-c", OUT_OF_MEMORY, backend.name],
        capture_output=True,
        text=True,
        env=env,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize(
    ("text", "is_memory"),
    [
        ("DefaultCPUAllocator: can't allocate memory: you tried to allocate 7 bytes", True),
        ("posix_memalign failed:Cannot allocate memory (12)", True),
        ("std::bad_alloc", True),
        ("could not create a primitive", True),
        ("CUDA out of memory. Tried to allocate 2.00 GiB", True),
        ("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`", True),
        ("CUDA error: an illegal memory access was encountered", False),
        ("could not create a primitive descriptor for a convolution", False),
        ("unsupported memory format option ChannelsLast", False),
    ],
)
def test_out_of_memory_is_distinguished_from_other_errors(backend, text, is_memory):
    """torch runs before and after each of them."""
    assert backend.is_out_of_memory(RuntimeError(text)) == is_memory
    assert not backend.is_out_of_memory(ValueError(text))
    assert backend.is_out_of_memory(MemoryError())


def test_own_errors_of_a_backend_are_recognised():
    own_message = "Check 'ptr' failed at cpu_memory.cpp:257:\nFailed to allocate 125440000 bytes of memory\n"
    assert find_backend("openvino").is_out_of_memory(RuntimeError(own_message))
    fail = type("Fail", (Exception,), {"__module__": "onnxruntime.capi.onnxruntime_pybind11_state"})
    text = "Failed to allocate memory for requested buffer of size 62720000"
    assert find_backend("onnx").is_out_of_memory(fail(text))
    assert not find_backend("onnx").is_out_of_memory(fail("no such operator"))
    assert not find_backend("torch").is_out_of_memory(fail(text))
    said = "[CPU] DepthToSpace node with name '/upconv1/DepthToSpace' can't alloc"
    assert find_backend("openvino").is_out_of_memory(RuntimeError(said))


class Odd(nn.Module):
    """A network that only torch runs."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(1))

    def forward(self, lq: torch.Tensor) -> torch.Tensor:
        frequencies = torch.fft.fft2(lq * self.gain)
        return torch.fft.ifft2(frequencies).real.repeat_interleave(2, -1).repeat_interleave(2, -2)


@pytest.mark.parametrize("precisions", [("fp32",), ("fp32", "bf16")])
@pytest.mark.parametrize("size", [(20, 20), (140, 140)])
def test_an_explicit_backend_is_never_replaced_by_another(backend, rng, monkeypatch, precisions, size):
    if backend.packages == ("torch",):
        pytest.skip("runs every network")
    engines = [Engine(backend, precision) for precision in precisions]
    monkeypatch.setattr("srcx.inference.upscaler.engines_for", lambda *args, **kwargs: engines)
    up = Upscaler(Model("odd", 2, "Odd", "0", net=Odd().eval()), backend=backend.name)
    with pytest.raises(UsageError, match=f"{backend.name}.*take another backend") as error:
        up(image(rng, size))
    assert "\n" not in str(error.value)


def test_no_engine_asked_for_running_is_an_error(model, rng, monkeypatch):
    """Two formats of one backend, of which none stays near fp32."""
    engines = [Engine(EXACT.backend, "bf16"), Engine(EXACT.backend, "fp16")]
    monkeypatch.setattr("srcx.inference.upscaler.engines_for", lambda *args, **kwargs: engines)
    monkeypatch.setattr("srcx.inference.autotune.MIN_PSNR_DB", 1e9)
    monkeypatch.setattr("srcx.inference.upscaler.REPAYS", 0)
    with pytest.raises(SrcxError, match=r"no engine asked for runs this network .*torch bf16: its output"):
        Upscaler(model)(image(rng, (140, 140)))


MOSR = """
import importlib, sys
from pathlib import Path
import numpy as np
from srcx.inference.architecture import from_spandrel
from srcx.inference import Model
from srcx.inference.backends import find_backend

arch = importlib.import_module("spandrel.architectures.MoSR.__arch.mosr_arch")
net = arch.MoSR(upscale=4, n_block=1, dim=64).eval()
found = from_spandrel(Path("mosr.pth"), net.state_dict())
run = find_backend("ncnn").open(Model("mosr", 4, "MoSR", "0", net=found.net))
print(tuple(run(np.ones((1, 3, 20, 33), np.float32)).shape))
if sys.argv[1] == "dropped":
    del run
elif sys.argv[1] == "failed":
    raise SystemExit(3)
"""


@pytest.mark.parametrize(("end", "code"), [("held", 0), ("dropped", 0), ("failed", 3)])
def test_a_network_whose_layers_hold_ncnn_s_memory_does_not_crash_the_process(end, code):
    if not find_backend("ncnn").available():
        pytest.skip("ncnn is not installed")
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", MOSR, end], capture_output=True, text=True, env=env, check=False
    )
    assert (done.returncode, done.stdout, "FATAL" in done.stderr) == (code, "(1, 3, 80, 132)\n", False), (
        done.stderr
    )

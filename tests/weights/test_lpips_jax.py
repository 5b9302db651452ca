import hashlib
import io
import os
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from srcx.errors import WeightsError
from srcx.weights import lpips_jax
from srcx.weights.checkpoint import load_state
from srcx.weights.layout import NETWORKS, weight_shapes
from srcx.weights.lpips_jax import read_archive, read_arrays

MEMBER = lpips_jax.MEMBERS["alexnet"][0]


class Payload:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (f"touch '{self.mark}'",)


def made_up_pickle() -> bytes:
    """A pickle as the package has it: kernels as (H, W, in, out), numpy's module under its old name."""
    source = np.random.default_rng(0)
    shapes = weight_shapes("alexnet")
    places = [place for place, layer in enumerate(NETWORKS["alexnet"]) if layer.kind == "conv"]
    tree = {}
    for number, place in enumerate(places):
        out, into, height, width = shapes[f"features.{place}.weight"]
        kernel = source.standard_normal((height, width, into, out), dtype=np.float32)
        tree[f"Conv_{number}"] = {"kernel": kernel, "bias": source.standard_normal(out, dtype=np.float32)}
    return pickle.dumps({"AlexNet_0": tree}, protocol=3).replace(b"numpy._core.", b"numpy.core.")


def archive_of(path: Path, content: bytes, kind: bytes = tarfile.REGTYPE) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        evil = tarfile.TarInfo("../../evil")
        tar.addfile(evil, io.BytesIO(b""))
        member = tarfile.TarInfo(MEMBER)
        member.type, member.linkname = kind, "/etc/passwd"
        member.size = len(content) if kind == tarfile.REGTYPE else 0
        tar.addfile(member, io.BytesIO(content))
    return path


@pytest.fixture
def pinned(monkeypatch: pytest.MonkeyPatch) -> bytes:
    content = made_up_pickle()
    pin = (MEMBER, len(content), hashlib.sha256(content).hexdigest())
    monkeypatch.setitem(lpips_jax.MEMBERS, "alexnet", pin)
    return content


def test_kernels_are_turned_to_torchvision_s_layout(tmp_path: Path, pinned: bytes) -> None:
    state = read_archive(archive_of(tmp_path / "a.tar.gz", pinned), "alexnet")
    assert {name: tuple(value.shape) for name, value in state.items()} == weight_shapes("alexnet")
    arrays = pickle.loads(pinned.replace(b"numpy.core.", b"numpy._core."))["AlexNet_0"]["Conv_1"]
    assert state["features.3.weight"][7, 5, 1, 2].item() == arrays["kernel"][1, 2, 5, 7]
    assert_close(state["features.3.bias"], torch.from_numpy(arrays["bias"]))
    assert not list(tmp_path.glob("**/evil"))


def test_another_content_is_refused_before_it_is_unpickled(tmp_path: Path, pinned: bytes) -> None:
    mark = tmp_path / "ran"
    evil = pickle.dumps({"AlexNet_0": Payload(mark)})
    with pytest.raises(WeightsError, match=r"expected .* with the sha256"):
        read_archive(archive_of(tmp_path / "a.tar.gz", evil.ljust(len(pinned), b".")), "alexnet")
    assert not mark.exists()


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_a_pickle_with_code_is_refused_and_nothing_runs(tmp_path: Path, protocol: int) -> None:
    mark = tmp_path / "ran"
    content = pickle.dumps({"x": Payload(mark)}, protocol)
    with pytest.raises(WeightsError, match=r"got '(posix|nt)\.system'"):
        read_arrays(content)
    assert not mark.exists()
    pickle.loads(content)
    assert mark.exists()


@pytest.mark.parametrize("name", ["eval", "exec", "getattr", "__import__"])
def test_builtins_are_refused(name: str) -> None:
    with pytest.raises(WeightsError, match=f"got 'builtins.{name}'"):
        read_arrays(f"cbuiltins\n{name}\n(S'1'\ntR.".encode())


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE])
def test_a_link_in_place_of_the_member_is_not_followed(tmp_path: Path, pinned: bytes, kind: bytes) -> None:
    with pytest.raises(WeightsError):
        read_archive(archive_of(tmp_path / "a.tar.gz", b"", kind), "alexnet")


def test_a_damaged_archive_is_named(tmp_path: Path, pinned: bytes) -> None:
    path = archive_of(tmp_path / "a.tar.gz", pinned)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(WeightsError, match="cannot be read as the package") as error:
        read_archive(path, "alexnet")
    assert "\n" not in str(error.value)
    path.write_bytes(b"no archive at all")
    with pytest.raises(WeightsError, match="cannot be read as the package"):
        read_archive(path, "alexnet")


def test_the_real_conversion_equals_the_developers_one(own_cache: Path, shared: Path) -> None:
    if not (own_cache / "alexnet.safetensors").is_file():
        pytest.skip("needs real AlexNet weights in the cache: srcx weights fetch alexnet")
    ours = load_state(own_cache / "alexnet.safetensors")
    assert_close(ours, load_state(shared / "weights" / "alexnet_features.safetensors"), rtol=0, atol=0)


def test_the_real_vgg16_begins_with_the_published_kernel(own_cache: Path) -> None:
    """torchvision's VGG16, first kernel, red: as printed in many a tutorial."""
    if not (own_cache / "vgg16.safetensors").is_file():
        pytest.skip("needs real VGG16 weights in the cache: srcx weights fetch vgg16")
    kernel = load_state(own_cache / "vgg16.safetensors")["features.0.weight"][0, 0]
    wanted = [[-0.5537, 0.1427, 0.5290], [-0.5831, 0.3566, 0.7657], [-0.6902, -0.0480, 0.4841]]
    assert_close(kernel, torch.tensor(wanted), rtol=0, atol=1e-4)

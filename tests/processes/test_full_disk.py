"""A run on a disk that really fills up; as root alone, who may mount one."""

import shutil
import subprocess
from pathlib import Path

import pytest

from srcx.training.checkpoints import RunFolder
from srcx.weights.training_state import load_training_state


@pytest.fixture
def small_disk(tmp_path: Path):
    disk = tmp_path / "disk"
    disk.mkdir()
    command = [shutil.which("mount") or "mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs the right to mount a small disk")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_a_full_disk_stops_the_run_with_what_to_free_and_leaves_the_last_checkpoint(
    small_disk, start, finish, workplace
):
    options = [f"path:experiments_root={small_disk}", "logger:keep_last=~"]
    (process,) = start("work", options)
    process.join()
    assert process.exitcode == 1
    said = (workplace("work") / "said.txt").read_text()
    assert "Traceback" not in said
    sentence = said.strip().splitlines()[-1]
    newest = RunFolder.saved_states(small_disk / "run")[-1]
    assert "cannot be written: No space left on device; 0 MiB are free there: free some disk" in sentence
    assert "(a smaller logger.keep_last holds fewer)" in sentence
    assert sentence.endswith(f"with --auto_resume continues from {newest.name}")
    assert load_training_state(newest)["model"]["iteration"] == int(newest.stem)

    finish("work", [f"path:experiments_root={workplace('work') / 'experiments'}"])
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    finish("work", options)  # to the same end as on a disk that was large from the start
    ends = [root / "run/metrics.csv" for root in (small_disk, workplace("work") / "experiments")]
    assert ends[0].read_bytes() == ends[1].read_bytes()

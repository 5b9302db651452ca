"""A run that is being trained is not trained twice, and one whose process died is free again."""

import errno
import logging
import os
import socket
import time
from pathlib import Path

import pytest

from srcx.cli import main
from srcx.training.run_lock import run_lock

ENDLESS = ["train:total_iter=1000000", "val:val_freq=1000000"]
SHORT = ["train:total_iter=3", "val:val_freq=3"]


@pytest.fixture
def trained_for_long(start, workplace):
    """The process of a run named "work", which has saved a state."""
    (process,) = start("work", ENDLESS)
    try:
        wait_for_a_state(workplace("work"), process)
        yield process
    finally:
        process.kill()


def wait_for_a_state(work: Path, process) -> None:
    while not list(work.glob("experiments/run/training_states/[0-9]*.state")):
        assert process.is_alive()
        time.sleep(0.01)


@pytest.mark.parametrize("ranks", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_second_training_of_a_name_is_stopped_and_sigkill_frees_it(
    trained_for_long, start, finish, workplace, monkeypatch, capsys, ranks
):
    """Whether it would continue the run or archive it; in every process of the second one."""
    first, work = trained_for_long, workplace("work")
    held = (
        f"experiments/run: process {first.pid} on {socket.gethostname()} is training this run; "
        "wait for it or stop it, or give this run another name: --force_yml name=..."
    )
    said = work / "said.txt"
    before = said.read_text()
    second = start("work", SHORT, ranks=ranks)
    for process in second:
        process.join()
    assert [process.exitcode for process in second] == [1] * ranks
    assert said.read_text().count(held) == ranks
    assert "was lost" not in said.read_text().removeprefix(before)

    monkeypatch.chdir(work)
    assert main(["train", "-opt", "run.yml", "--force_yml", *SHORT]) == 1
    assert held in capsys.readouterr().err
    assert [path.name for path in (work / "experiments").iterdir() if "archived" in path.name] == []

    assert first.is_alive()
    first.kill()
    first.join()
    finish("work", [*ENDLESS[1:], f"train:total_iter={newest(work) + 3}"], ranks=ranks)


def newest(work: Path) -> int:
    return max(int(path.stem) for path in work.glob("experiments/run/training_states/[0-9]*.state"))


def test_another_name_or_the_same_one_afterwards_is_free(tmp_path):
    with run_lock(tmp_path / "one"), run_lock(tmp_path / "two"):
        pass
    with run_lock(tmp_path / "one"):
        pass


def test_without_locks_a_warning_is_logged_once_and_the_run_goes_on(tmp_path, monkeypatch, caplog):
    def refuse(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", refuse)
    with caplog.at_level(logging.WARNING), run_lock(tmp_path / "run"):
        pass
    (said,) = caplog.messages
    assert said.startswith(f"{tmp_path / 'run'}: its file system has no locks (No locks available)")

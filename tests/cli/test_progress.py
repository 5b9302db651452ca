import os
import pty
import subprocess
import sys

import pytest

from srcx.cli import progress as module
from srcx.cli.progress import progress


@pytest.mark.parametrize(("total", "first_with_time_left"), [(8, 5), (28, 5), (400, 20)])
def test_the_time_left_is_shown_when_enough_is_done_to_know_it(
    capsys, monkeypatch, total, first_with_time_left
):
    monkeypatch.setattr(module, "EVERY_S", 0.0)
    with progress() as on_progress:
        for done in range(1, total + 1):
            on_progress("x", done, total)
    lines = capsys.readouterr().err.splitlines()
    with_time_left = [number for number, line in enumerate(lines, start=1) if line.endswith(" s left")]
    assert with_time_left == list(range(first_with_time_left, total))


def test_a_pipe_gets_no_colours(capsys):
    with progress() as on_progress:
        on_progress("a", 1, 1)
    assert capsys.readouterr().err == "1/1 a\n"


SHOW = """
import time
from srcx.cli.progress import progress
with progress() as on_progress:
    for done in range(5):
        on_progress("x", done, 5)
        time.sleep(0.2)
"""


@pytest.mark.parametrize("no_color", [False, True])
def test_a_terminal_gets_colours_unless_no_color_is_set(no_color):
    environment = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    environment |= {"TERM": "xterm-256color", **({"NO_COLOR": "1"} if no_color else {})}
    outer, inner = pty.openpty()
    subprocess.run([sys.executable, "-c", SHOW], stderr=inner, env=environment, check=True)
    os.close(inner)
    shown = os.read(outer, 1 << 16)
    os.close(outer)
    assert b"0/5" in shown
    assert (b"\x1b[38;" in shown) != no_color


def test_quiet_shows_nothing(capsys, monkeypatch):
    monkeypatch.setattr("srcx.cli.progress.is_quiet", lambda: True)
    with progress() as on_progress:
        on_progress("a", 1, 1)
    assert capsys.readouterr().err == ""

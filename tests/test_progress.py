import re

import pytest

from srcx.progress import Pace


def test_a_log_line_names_position_speed_and_what_is_left():
    with Pace(done=10, total=20) as pace:
        pace.tick()
        assert re.fullmatch(r"iteration 11 of 20, \S+ s each, 0:00:00 left", pace.lap())


def test_time_left_is_that_of_the_mean_iteration_since_the_start(monkeypatch):
    clock = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    with Pace(done=0, total=10) as pace:
        clock[0] += 4
        pace.tick()
        pace.tick()
        assert pace.lap() == "iteration 2 of 10, 2 s each, 0:00:16 left"


def test_a_lap_is_counted_from_the_one_before(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    with Pace(done=0, total=4) as pace:
        for seconds in (6, 2):
            clock[0] += seconds
            pace.tick()
            assert f"{seconds} s each" in pace.lap()


@pytest.mark.parametrize("shown", [True, False])
def test_one_process_of_several_draws_the_bar(monkeypatch, capsys, shown):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    with Pace(done=0, total=4, shown=shown) as pace:
        pace.tick()
    assert ("training" in capsys.readouterr().err) == shown

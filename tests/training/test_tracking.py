import re

import pytest

from srcx.training.tracking import ProgressBar


def test_a_summary_names_iteration_speed_and_time_left():
    with ProgressBar(start=10, total=20) as bar:
        bar.update(11)
        assert re.fullmatch(r"iteration 11 of 20, \S+ s each, 0:00:00 left", bar.summary())


def test_time_left_is_that_of_the_mean_iteration_since_the_start(monkeypatch):
    clock = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    with ProgressBar(start=0, total=10) as bar:
        clock[0] += 4
        bar.update(2)
        assert bar.summary() == "iteration 2 of 10, 2 s each, 0:00:16 left"


def test_time_left_counts_the_pixels_of_later_crops(monkeypatch):
    clock = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    with ProgressBar(start=1, total=10, stages=[(96, 4), (192, 6)]) as bar:
        clock[0] += 2
        bar.update(2)
        assert bar.summary() == "iteration 2 of 10, 2 s each, 0:00:52 left"  # 2, and 6 of four times the area
        clock[0] += 12
        bar.update(5)
        assert bar.summary() == "iteration 5 of 10, 4 s each, 0:00:40 left"  # 14 s for 7 times 96 x 96


def test_the_speed_is_that_since_the_last_summary(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    with ProgressBar(start=0, total=4) as bar:
        for iteration, seconds in ((1, 6), (2, 2)):
            clock[0] += seconds
            bar.update(iteration)
            assert f"{seconds} s each" in bar.summary()


@pytest.mark.parametrize("shown", [True, False])
def test_one_rank_of_several_draws_the_bar(monkeypatch, capsys, shown):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    with ProgressBar(start=0, total=4, shown=shown) as bar:
        bar.update(1)
    assert ("training" in capsys.readouterr().err) == shown

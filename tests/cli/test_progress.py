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

import pytest

from srcx.cli import progress as module
from srcx.cli.progress import progress


@pytest.mark.parametrize(("total", "first_with_time_left"), [(8, 5), (28, 5), (400, 20)])
def test_the_time_left_is_told_when_enough_is_done_to_know_it(
    capsys, monkeypatch, total, first_with_time_left
):
    monkeypatch.setattr(module, "EVERY_S", 0.0)
    with progress() as tell:
        for done in range(1, total + 1):
            tell("x", done, total)
    lines = capsys.readouterr().err.splitlines()
    told = [number for number, line in enumerate(lines, start=1) if line.endswith(" s left")]
    assert told == list(range(first_with_time_left, total))


def test_a_pipe_gets_no_colours(capsys):
    with progress() as tell:
        tell("a", 1, 1)
    assert capsys.readouterr().err == "1/1 a\n"

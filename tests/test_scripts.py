"""What the scripts share: timing in turn, and images in rows."""

import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"
BENCH = runpy.run_path(str(SCRIPTS / "bench/_bench.py"))
PAGE = runpy.run_path(str(SCRIPTS / "pages/_page.py"))


def test_works_take_turns_and_the_first_turns_are_not_counted():
    calls = []
    times = BENCH["in_turn"]({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, 3, warm_up=2)
    assert calls == ["a", "b"] * 5
    assert {name: len(values) for name, values in times.items()} == {"a": 3, "b": 3}
    assert all(value >= 0 for values in times.values() for value in values)


def test_the_spread_is_the_median_and_the_middle_half():
    assert BENCH["spread"]([1, 2, 3, 4, 5, 6, 7]) == "4.000 s (middle half 2.000 to 6.000)"
    assert BENCH["spread"]([2.0]) == "2.000 s (middle half 2.000 to 2.000)"


def test_images_stand_side_by_side_on_white():
    images = [np.full((2, 1, 3), 10, np.uint8), np.full((3, 2, 3), 20, np.uint8)]
    row = PAGE["side_by_side"](images, gap_px=1)
    assert row[..., 0].tolist() == [[10, 255, 20, 20], [10, 255, 20, 20], [255, 255, 20, 20]]
    with pytest.raises(ValueError, match="8-bit"):
        PAGE["side_by_side"]([images[0].astype(np.uint16)])


def test_rows_stand_below_one_another_on_white():
    rows = [np.full((1, 2, 3), 10, np.uint8), np.full((2, 2, 3), 20, np.uint8)]
    assert PAGE["below"](rows, gap_px=1)[..., 0].tolist() == [[10, 10], [255, 255], [20, 20], [20, 20]]


def test_a_page_ends_with_one_line_break(tmp_path):
    PAGE["write_markdown"](tmp_path / "page.md", ["# Page", "", "text", "", ""])
    assert (tmp_path / "page.md").read_text("utf-8") == "# Page\n\ntext\n"


def test_progress_is_printed_every_few_steps_and_at_the_end(capsys):
    on_progress = PAGE["print_every"](2)
    for done in range(1, 4):
        on_progress(f"step {done}", done, 3)
    assert capsys.readouterr().err == "2 of 3: step 2\n3 of 3: step 3\n"


@pytest.mark.parametrize("path", sorted(SCRIPTS.rglob("*.py")), ids=lambda path: path.name)
def test_a_script_names_its_own_path_in_its_examples(path):
    text = path.read_text("utf-8")
    named = [
        word
        for line in text.split('"""')[1].splitlines()
        for word in line.split()
        if word.startswith("scripts/")
    ]
    assert all((SCRIPTS.parent / word.rstrip(".,;:")).exists() for word in named)


def test_the_check_of_a_gpu_runs_on_a_cpu_and_leaves_no_part_out(tmp_path):
    page = tmp_path / "cpu.md"
    command = [sys.executable, SCRIPTS / "check_gpu.py", "--device", "cpu", "--quick", "-o", page]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    text = page.read_text("utf-8")
    for line in ("2 x 8 x 8 x 16 | plain", "1 x 12 x 12 x 16 | srcx", "| srcx, bf16", "All in"):
        assert line in text
    assert "Failed" not in text
    assert len(text.splitlines()) < 100

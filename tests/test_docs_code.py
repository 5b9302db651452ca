"""The code blocks of the documentation work; `scripts/pages/code_blocks.py` says what runs and how."""

import json
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))]
CODE = runpy.run_path(str(ROOT / "scripts/pages/code_blocks.py"))
blocks, run_page = CODE["blocks"], CODE["run_page"]


def identifier(page):
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=identifier)
def test_every_block_says_its_language_and_what_is_not_run(page):
    found = blocks(page)
    assert [block for block in found if block.language not in CODE["LANGUAGES"]] == []
    assert {block.note.split()[0] for block in found if block.note} <= {"not", "without", "short:"}
    rest = CODE["BLOCK"].sub("", page.read_text("utf-8"))
    assert "```" not in rest, "a code block is indented, or has no language"
    assert "\n\n    " not in rest.replace("\n    options:", ""), (
        "a code block by indentation; write ``` around it"
    )


@pytest.mark.parametrize(
    "page", [page for page in PAGES if any(b.is_run for b in blocks(page))], ids=identifier
)
def test_the_code_of_a_page_works(page, tmp_path):
    run_page(page, tmp_path, short=True)


@pytest.mark.parametrize("notebook", sorted(ROOT.glob("docs/**/*.ipynb")), ids=identifier)
def test_a_notebook_works(notebook, monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "agg")
    cells = json.loads(notebook.read_text("utf-8"))["cells"]
    names = {}
    for cell in cells:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), names)


def test_a_failing_block_names_its_line(tmp_path, monkeypatch):
    monkeypatch.setitem(run_page.__globals__, "ROOT", tmp_path)
    page = tmp_path / "page.md"
    page.write_text("# A\n\n```python\nassert 1 == 2\n```\n", "utf-8")
    (tmp_path / "run").mkdir()
    with pytest.raises(RuntimeError, match=r"^page.md:3: "):
        run_page(page, tmp_path / "run", short=True)

"""The documentation names files that exist, and the site builds."""

import importlib
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("srcx/bundled/*.md")])
PATH = re.compile(r"\b(?:srcx|scripts|tests|options|docs)/[\w./-]+\.(?:py|yml|md|webp|svg|html)\b")
LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_file_that_a_page_names_exists(page):
    text = page.read_text(encoding="utf-8")
    if page.name == "CHANGELOG.md":  # older releases name files of their time
        text = text.split("\n## ")[1]
    missing = [path for path in PATH.findall(text) if not (ROOT / path).exists()]
    missing += [link for link in LINK.findall(text) if not (page.parent / link).exists()]
    assert missing == []


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Build the site; a broken link or anchor and a page outside of the navigation are errors."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return folder


def test_the_site_has_every_page(site):
    pages = {path.relative_to(ROOT / "docs").with_suffix(".html") for path in ROOT.glob("docs/**/*.md")}
    assert [page for page in pages if not (site / page).exists()] == []


def test_the_site_loads_nothing_from_elsewhere(site):
    loads = re.compile(r"""(?:src=|<link [^>]*href=)["']?https?://[^"' >]*""")
    assert [load for page in site.rglob("*.html") for load in loads.findall(page.read_text("utf-8"))] == []


REFERENCE = runpy.run_path(str(ROOT / "scripts/pages/look_up.py"))


@pytest.mark.parametrize("page", REFERENCE["PAGES"])
def test_a_reference_is_in_step_with_the_code(page):
    written = (ROOT / "docs/reference" / page).read_text("utf-8")
    assert written == "\n".join(REFERENCE["PAGES"][page]()) + "\n", "run: python scripts/pages/look_up.py"


@pytest.mark.parametrize("package", ["inference", "losses", "metrics", "evaluation"])
def test_the_reference_has_every_public_name(site, package):
    text = (site / "reference/python.html").read_text("utf-8")
    names = importlib.import_module(f"srcx.{package}").__all__
    shown = set(re.findall(rf'id="srcx\.{package}\.(?:[a-z_]+\.)?(\w+)"', text))
    assert set(names) - shown == set()

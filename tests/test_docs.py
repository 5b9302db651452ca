"""The documentation names files that exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("srcx/bundled/*.md")])
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

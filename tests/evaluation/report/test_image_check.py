import re

import numpy as np

from srcx.evaluation.report import image_check
from srcx.evaluation.report.image_check import write_check
from srcx.imaging import write_image
from srcx.prepare.check_images import Finding


def test_the_page_shows_both_images_of_a_pair_and_escapes_names(tmp_path, rng):
    names = ("a<b>.png", "other.png")
    for name in names:
        write_image(tmp_path / name, rng.integers(0, 256, (300, 500, 4), np.uint8))
    one = Finding("duplicate", tmp_path / names[0], "like <other>", tmp_path / names[1])
    torn = Finding("unreadable", tmp_path / "gone.png", "is gone")
    write_check(tmp_path / "out.html", tmp_path, 2, [one, torn])
    page = (tmp_path / "out.html").read_text("utf-8")
    assert len(re.findall(r'<img src="data:image/webp;base64,', page)) == 2
    assert "a&lt;b&gt;.png" in page
    assert "like &lt;other&gt;" in page
    assert "<h2>duplicate: 1</h2>" in page
    assert "<h2>flat: 0</h2>" in page
    assert not re.search(r'(src|href)="(?!data:)', page)


def test_both_images_have_names_for_screen_readers_and_fit_on_a_phone(tmp_path, rng, in_chromium):
    for name in ("a.png", "b.png"):
        write_image(tmp_path / name, rng.integers(0, 256, (300, 500, 3), np.uint8))
    one = Finding("duplicate", tmp_path / "a.png", "like b.png", tmp_path / "b.png")
    write_check(tmp_path / "out.html", tmp_path, 2, [one])
    page = (tmp_path / "out.html").read_text("utf-8")
    assert page.count("<main>") == 1
    assert re.findall('alt="([^"]*)"', page) == ["the image", "the image it resembles"]
    # Without a window, Chromium is at least 500 pixels wide.
    narrow = page.replace("max-width: 80rem", "width: 288px")
    probe = """const box = document.body.getBoundingClientRect();
    answer = [...document.images].map((image) => image.getBoundingClientRect().right <= box.right)"""
    assert in_chromium(narrow, probe, width_px=500) == [True, True]


def test_many_findings_of_a_kind_are_listed_by_name(tmp_path, monkeypatch):
    monkeypatch.setattr(image_check, "MOST_SHOWN", 2)
    found = [Finding("unreadable", tmp_path / f"{index}.png", "is gone") for index in range(5)]
    write_check(tmp_path / "out.html", tmp_path, 5, found)
    page = (tmp_path / "out.html").read_text("utf-8")
    assert "<h2>unreadable: 5</h2>" in page
    assert "<summary>3 more</summary>" in page
    assert "4.png: is gone" in page

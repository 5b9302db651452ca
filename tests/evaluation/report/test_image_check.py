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


def test_many_findings_of_a_kind_are_listed_by_name(tmp_path, monkeypatch):
    monkeypatch.setattr(image_check, "MOST_SHOWN", 2)
    found = [Finding("unreadable", tmp_path / f"{index}.png", "is gone") for index in range(5)]
    write_check(tmp_path / "out.html", tmp_path, 5, found)
    page = (tmp_path / "out.html").read_text("utf-8")
    assert "<h2>unreadable: 5</h2>" in page
    assert "<summary>3 more</summary>" in page
    assert "4.png: is gone" in page

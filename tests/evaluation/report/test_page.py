import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from srcx.evaluation.report import ImageResult, MeanResult, ModelInfo, Results, SetInfo, write_html
from srcx.evaluation.report.page import tables
from srcx.evaluation.report.plane import Plane, Point, plane_svg
from srcx.imaging import imresize, write_image

EVIL = '<script>alert("x")</script>'


@pytest.fixture
def results(tmp_path: Path, rng: np.random.Generator) -> Results:
    """Two models on one image of BSD100, one of them with a hostile name; niqe is missing."""
    gt = imresize(rng.integers(0, 256, (20, 20, 3), np.uint8), size=(160, 200))
    files = {
        "gt": tmp_path / "gt.png",
        "lq": tmp_path / "lq.png",
        "a": tmp_path / "a.png",
        "b": tmp_path / "b.png",
    }
    for name, path in files.items():
        write_image(path, imresize(gt, scale=0.25) if name == "lq" else gt)
    means = {"a": {"psnr": 26.5, "rmse": 12.0, "niqe": 5.0}, EVIL: {"psnr": 25.5, "rmse": 14.0, "niqe": None}}
    reasons = {EVIL: {"niqe": "no <b>blocks</b>"}}
    return Results(
        made_at="2026-01-01T00:00:00+0000",
        versions={"srcx": "0"},
        protocol={"text": "as always"},
        metrics={"psnr": "higher", "rmse": "lower", "niqe": "lower"},
        models=[ModelInfo(name, "SRResNet", 4, 1500, "0" * 64, "fp32") for name in means],
        sets=[SetInfo("BSD100", 4, 1, "stored")],
        means=[
            MeanResult(name, "BSD100", 4, values, reasons.get(name, {})) for name, values in means.items()
        ],
        images=[
            ImageResult(
                name, "BSD100", 4, "1", means[name], {}, file, str(files["gt"]), str(files["lq"]), "", "", ""
            )
            for name, file in (("a", "a.png"), (EVIL, "b.png"))
        ],
    )


@pytest.fixture
def page(results: Results, tmp_path: Path) -> str:
    write_html(tmp_path / "report.html", results)
    return (tmp_path / "report.html").read_text("utf-8")


def test_the_page_needs_no_other_file(page):
    addresses = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert addresses
    assert all(address.startswith(("data:", "#")) for address in addresses)
    assert "@import" not in page
    assert "url(http" not in page


class Tags(HTMLParser):
    """The tags that stand open."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in {"meta", "img", "br", "input", "link"}:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: object) -> None: ...

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_well_formed(page):
    tags = Tags()
    tags.feed(page)
    assert tags.open == []


def test_names_from_outside_stay_text(page):
    assert EVIL not in page
    assert "&lt;script&gt;alert" in page
    assert "no &lt;b&gt;blocks" in page
    assert page.count("<script>") == 1


HOSTILE = '"><img src=x onerror=alert(1)><svg onload=alert(2)>'
"""As a file's name; Linux forbids only the slash in one."""


def test_file_names_and_set_names_stay_text_too(results, tmp_path):
    """In tables, attributes, crops and the drawn planes."""
    hostile = replace(
        results,
        models=[replace(one, name=HOSTILE) for one in results.models],
        sets=[replace(one, name=HOSTILE, lq=HOSTILE) for one in results.sets],
        means=[replace(one, set=HOSTILE, model=HOSTILE) for one in results.means],
        images=[replace(one, set=HOSTILE, image=HOSTILE, model=HOSTILE) for one in results.images],
    )
    write_html(tmp_path / "report.html", hostile)
    seen = Attributes()
    seen.feed((tmp_path / "report.html").read_text("utf-8"))
    assert seen.handlers == set()
    assert "x" not in seen.sources


class Attributes(HTMLParser):
    """Event handlers and sources of every tag."""

    def __init__(self) -> None:
        super().__init__()
        self.handlers: set[str] = set()
        self.sources: set[str | None] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handlers |= {name for name, value in attrs if name.startswith("on") and "alert" in str(value)}
        self.sources |= {value for name, value in attrs if name == "src"}


@pytest.mark.parametrize("name", [r"$\frac$", "a$b$c", "100 $", r"\$x_1^2$"])
def test_a_name_is_not_read_as_a_formula(name):
    """A formula that is none would stop the page at the very end of a benchmark."""
    svg = plane_svg(Plane(f"{name} x4", "psnr", "niqe", (Point(name, 26.0, 5.0),)))
    assert svg.count(f">{name}<") == 1
    assert svg.count(f">{name} x4<") == 1


def test_the_table_marks_the_best_and_what_others_published(results):
    (table,) = tables(results)
    assert table.title == "BSD100 x4, 1 image"
    ours, evil, *published = table.rows
    assert [cell.text for cell in ours.cells] == ["26.500", "12.000", "5.000"]
    assert [cell.best for cell in ours.cells] == [True, True, False]  # only one model has a niqe
    assert [cell.best for cell in evil.cells] == [False, False, False]
    assert (evil.cells[2].text, evil.cells[2].reason) == ("–", "no <b>blocks</b>")
    assert all(row.published for row in published)
    assert [row.name for row in published][-1] == "contextual"
    assert [cell.text for cell in published[0].cells] == ["25.957", "–", "7.710"]


@pytest.mark.parametrize("change", ["degradation", "every"])
def test_published_figures_are_not_beside_damaged_or_partial_sets(results, change, tmp_path):
    if change == "every":
        results = replace(results, every=5)
    else:
        results = replace(
            results,
            sets=[replace(one, degradation="web") for one in results.sets],
            means=[replace(one, degradation="web") for one in results.means],
            images=[replace(one, degradation="web") for one in results.images],
            degradations={"web": {"clean_prob": 0.25}},
            seed=3,
        )
    write_html(tmp_path / "report.html", results)
    page = (tmp_path / "report.html").read_text("utf-8")
    assert "published" not in page.split("<body>")[1]
    if change == "every":
        assert "one image in 5" in page
    else:
        assert "BSD100 web x4, 1 image<" in page
        assert "BSD100 web x4 · 1<" in page
        assert "degradations with seed 3" in page
        assert "clean_prob: 0.25" in page


def test_the_page_says_that_niqe_does_not_rank_damage(results, page, tmp_path):
    assert "NIQE does not" in page
    without = replace(
        results,
        metrics={"psnr": "higher"},
        means=[replace(one, metrics={"psnr": 1.0}, reasons={}) for one in results.means],
        images=[replace(one, metrics={"psnr": 1.0}) for one in results.images],
    )
    write_html(tmp_path / "report.html", without)
    assert "NIQE" not in (tmp_path / "report.html").read_text("utf-8")


def test_a_screen_reader_is_told_the_rows_the_best_and_what_a_drawing_is(results, tmp_path):
    results = replace(results, degradations={"web": {"clean_prob": 0.25}}, seed=3)
    write_html(tmp_path / "report.html", results)
    page = (tmp_path / "report.html").read_text("utf-8")
    assert page.count("<main>") == 1
    assert page.count('<th scope="row">a</th>') == 2, "of the metrics and of the models"
    assert "<td><strong>26.500</strong></td>" in page
    assert "<title>BSD100 x4: NIQE (lower is better) against PSNR in dB (higher is better)</title>" in page
    assert '<pre tabindex="0">' in page, "it scrolls, so the keyboard must reach it"


def test_published_rows_are_marked_on_the_page(page):
    assert page.count("(published)</th>") == 6


def test_a_missing_figure_has_its_reason_on_the_page(page):
    assert "No niqe of &lt;script&gt;" in page


def test_the_slider_works_in_a_browser(page, in_chromium):
    probe = """
    const range = document.querySelector(".compare input"), stack = document.querySelector(".stack");
    const [left, right] = document.querySelectorAll(".compare select");
    range.value = 25; left.value = 0; left.dispatchEvent(new Event("input"));
    const crops = document.querySelectorAll(".crops img"), box = stack.getBoundingClientRect();
    answer = [
      stack.style.getPropertyValue("--at"), [...left.options].map((option) => option.text),
      stack.querySelector(".under").src === crops[0].src, stack.querySelector(".over").src === crops[3].src,
      [...crops].every((crop) => crop.naturalWidth === 192), document.querySelector(".compare").hidden];
    const at = {clientX: box.left + 0.75 * box.width, buttons: 1};
    stack.dispatchEvent(new PointerEvent("pointermove", at));
    answer.push(stack.style.getPropertyValue("--at"));
    stack.dispatchEvent(new PointerEvent("pointermove", {clientX: box.left}));
    answer.push(stack.style.getPropertyValue("--at"));"""
    found = in_chromium(page, probe)
    assert found == ["25%", ["ground truth", "input", "a", EVIL], True, True, True, False, "75%", "75%"]


def test_on_a_phone_headings_come_first_tables_scroll_and_the_text_of_plots_is_readable(page, in_chromium):
    probe = """
    const upper = (name) => document.querySelector(name).getBoundingClientRect().top;
    const table = document.querySelector(".scroll"), text = document.querySelectorAll(".planes text");
    answer = {
      heading: upper(".image h3") < upper(".compare") && upper(".compare") < upper(".crops"),
      cut: document.documentElement.scrollWidth - innerWidth,
      scrolls: table.scrollWidth > table.clientWidth, shadows: getComputedStyle(table).backgroundAttachment,
      smallest: Math.min(...[...text].map((one) => one.getBoundingClientRect().height))};"""
    # Without a window, Chromium is at least 500 pixels wide.
    narrow = page.replace("<html", '<html style="width: 390px"').replace("max-width: 80rem", "width: 358px")
    found = in_chromium(narrow, probe, width_px=500)
    assert found["heading"]
    assert found["cut"] <= 0
    assert found["scrolls"]
    assert found["shadows"] == "local, local, scroll, scroll"
    assert found["smallest"] > 8

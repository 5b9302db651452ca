"""The page in a real browser, where gradio, playwright and Debian's chromium are installed; else skipped."""

import contextlib
import importlib.util
import shutil
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from srcx.cli import main
from srcx.imaging import imresize, read_image, write_image
from srcx.inference import load_model

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
MISSING = [name for name in ("gradio", "playwright") if importlib.util.find_spec(name) is None]
MISSING += [] if CHROMIUM else ["chromium"]
ALONE = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)
in_a_browser = pytest.mark.skipif(bool(MISSING), reason=f"needs {', '.join(MISSING)}")


@contextlib.contextmanager
def browser(address: str) -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=ALONE.split())
        page = chromium.new_page(viewport={"width": 1280, "height": 860})
        page.set_default_timeout(120_000)
        elsewhere = []
        page.on(
            "request", lambda request: elsewhere.append(request.url) if address not in request.url else None
        )
        # The browser reports file choosers only after it was asked to. Asked just before a key is pressed, it
        # can be too late.
        page.on("filechooser", lambda chooser: None)
        page.goto(address)
        yield page
        chromium.close()
    assert [url for url in elsewhere if url.startswith("http")] == [], "nothing leaves this machine"


@pytest.mark.slow
@in_a_browser
def test_an_image_is_uploaded_upscaled_compared_and_downloaded(address, tmp_path, rng):
    image = imresize(rng.integers(0, 256, (6, 8, 3), np.uint8), size=(60, 80))
    write_image(tmp_path / "Grüße.png", image)
    with browser(address) as page:
        page.set_input_files("#images input[type=file]", tmp_path / "Grüße.png")
        page.wait_for_selector("#images .file-preview")
        page.click("#start")
        with page.expect_download() as download:
            page.click("#results a[download]")
        download.value.save_as(tmp_path / "result.png")
        np.testing.assert_array_equal(
            read_image(tmp_path / "result.png"), load_model(tmp_path / "net.pth")(image)
        )
        page.wait_for_function("document.querySelectorAll('#slider img').length == 2")
        sizes = "[...document.querySelectorAll('#slider img')].map(image => image.naturalWidth)"
        page.wait_for_function(f"{sizes}.every(width => width == 160)")
        assert "is now 160 x 120 pixels" in page.inner_text("#about")
        assert [page.inner_text(f"#slider .{half}") for half in ("before", "after")] == ["bicubic", "net"]
        looked_at = page.locator("#slider").screenshot(path=tmp_path / "slider.png")
        assert looked_at
        colours = read_image(tmp_path / "slider.png").reshape(-1, 3)
        assert len(np.unique(colours, axis=0)) > 1000, "an image is to be seen"

        (tmp_path / "bad.png").write_bytes(b"nothing")
        page.click("#images button[aria-label='Clear']")
        page.set_input_files("#images input[type=file]", tmp_path / "bad.png")
        page.wait_for_selector("#images .file-preview")
        page.click("#start")
        page.wait_for_selector("text=is not an image, by its content")


@pytest.mark.slow
@in_a_browser
def test_at_100_percent_one_pixel_of_a_result_is_one_of_the_screen(address, tmp_path, rng):
    # Thin enough that no engines are measured.
    write_image(tmp_path / "large.png", rng.integers(0, 256, (100, 1000, 3), np.uint8))
    with browser(address) as page:
        page.set_viewport_size({"width": 390, "height": 844})
        page.set_input_files("#images input[type=file]", tmp_path / "large.png")
        page.wait_for_selector("#images .file-preview")
        page.click("#start")
        page.wait_for_function("document.querySelectorAll('#slider img').length == 2")
        assert page.evaluate("document.documentElement.scrollWidth") == 390, "nothing is cut at the right"
        sizes = "[...document.querySelectorAll('#slider img')].map(image => image.naturalWidth)"
        page.wait_for_function(f"{sizes}.every(width => width == 1600)")
        page.click("#slider .actual-size")
        page.wait_for_function(f"{sizes}.every(width => width == 2000)")
        style = "getComputedStyle(document.querySelector('#slider .over'))"
        assert page.evaluate(f"{style}.objectFit") == "none"
        assert page.evaluate(f"{style}.objectPosition") == "50% 50%"
        box = page.locator("#slider .view").bounding_box()
        left, top = box["x"] + 0.8 * box["width"], box["y"] + 0.5 * box["height"]
        page.mouse.move(left, top)
        page.mouse.down()
        page.mouse.move(left - 100, top)
        page.mouse.up()
        across = page.evaluate("document.querySelector('#slider .view').style.getPropertyValue('--x')")
        hidden_px = 2000 - box["width"]
        assert float(across.rstrip("%")) == pytest.approx(50 + 100 * 100 / hidden_px, abs=0.5)
        page.focus("#slider .actual-size")
        for _ in range(2):  # back over the range
            page.keyboard.press("Shift+Tab")
        assert page.evaluate("document.activeElement.className") == "view actual"
        page.keyboard.press("ArrowLeft")
        moved = page.evaluate("document.activeElement.style.getPropertyValue('--x')")
        by_key = 100 * box["width"] / 8 / hidden_px
        assert float(moved.rstrip("%")) == pytest.approx(float(across.rstrip("%")) - by_key, abs=0.5)
        page.locator("#slider input").fill("25")
        assert page.evaluate(f"{style}.clipPath") == "inset(0px 0px 0px 25%)"


@pytest.mark.slow
@in_a_browser
def test_the_keyboard_alone_uses_the_page_and_a_screen_reader_is_told_what_things_are(address, tmp_path, rng):
    for name in ("a.png", "b.png"):
        write_image(tmp_path / name, rng.integers(0, 256, (8, 8, 3), np.uint8))
    with browser(address) as page:
        page.wait_for_selector("#start")
        page.focus("#images .upload-container")
        with page.expect_file_chooser() as chooser:
            page.keyboard.press("Enter")
        chooser.value.set_files([tmp_path / "a.png", tmp_path / "b.png"])
        page.wait_for_selector("#images .file-preview")
        page.focus("#scale input:checked")
        page.keyboard.press("ArrowRight")
        assert page.evaluate("document.activeElement.value") == "2"
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
        page.focus("#start")
        page.evaluate(
            "() => { focused = []; addEventListener('focusin', (e) => focused.push(e.target.id)); }"
        )
        page.keyboard.press("Enter")
        page.wait_for_function("focused.at(-1) == 'start'")
        page.focus("#which input:checked")
        page.keyboard.press("ArrowRight")
        page.wait_for_function("document.querySelector('#about').innerText.startsWith('b.png is now')")
        assert page.get_attribute("#about", "aria-live") == "polite"
        names = (
            "[...document.querySelectorAll('fieldset, #images button, #results a')].map((e) => e.ariaLabel)"
        )
        said = page.evaluate(names)
        assert [name for name in said if "common." in name] == []
        wanted = {"Scale", "Image", "Images: add more", "Add images", "Remove a.png", "Remove b.png"}
        assert wanted <= set(said)
        assert [name.partition(",")[0] for name in said[-3:]] == [
            "a-net.png",
            "b-net.png",
            "srcx-2-images.zip",
        ]
        assert page.get_attribute("#slider .over", "alt") == "b.png by net"
        assert page.get_attribute("#images [title='Add images']", "tabindex") == "-1", "the button is in it"


@pytest.mark.slow
@in_a_browser
def test_the_stop_button_ends_the_work_and_the_next_image_is_upscaled(address, tmp_path, rng):
    write_image(tmp_path / "large.png", np.zeros((6000, 6000), np.uint8))
    write_image(tmp_path / "small.png", rng.integers(0, 256, (8, 8, 3), np.uint8))
    with browser(address) as page:
        page.set_input_files("#images input[type=file]", tmp_path / "large.png")
        page.wait_for_selector("#images .file-preview")
        page.click("#start")
        page.wait_for_function("document.activeElement.id == 'stop'")
        page.keyboard.press("Enter")
        page.wait_for_selector("text=stopped; 0 of 1 images are done")
        page.wait_for_selector("#start")
        page.click("#images button[aria-label='Clear']")
        page.set_input_files("#images input[type=file]", tmp_path / "small.png")
        page.wait_for_selector("#images .file-preview")
        page.click("#start")
        page.wait_for_selector("#about >> text=is now 16 x 16 pixels")


@pytest.mark.slow
@in_a_browser
def test_after_an_error_the_next_image_is_upscaled(address, tmp_path, rng):
    (tmp_path / "broken.png").write_text("text")
    write_image(tmp_path / "small.png", rng.integers(0, 256, (8, 8, 3), np.uint8))
    with browser(address) as page:
        page.click("#start")
        page.wait_for_selector("text=choose an image first")
        page.set_input_files("#images input[type=file]", tmp_path / "broken.png")
        page.wait_for_selector("#images .file-preview")
        page.click("#start")
        page.wait_for_selector("text=broken.png: is not an image, by its content")
        page.click("#images button[aria-label='Clear']")
        page.set_input_files("#images input[type=file]", tmp_path / "small.png")
        page.wait_for_selector("#images .file-preview")
        page.click("#start")
        page.wait_for_selector("#about >> text=is now 16 x 16 pixels")


def test_without_gradio_the_error_says_how_to_install_it(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert main(["web"]) == 2
    assert capsys.readouterr().err == (
        "srcx web: needs gradio, which is not installed; pip install 'srcx[web]' installs it\n"
    )

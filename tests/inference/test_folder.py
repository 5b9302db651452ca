import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from srcx.imaging import write_image
from srcx.inference import folder
from srcx.inference.folder import plan, run
from srcx.inference.upscaler import Choice

SOON_S = 10


class Always:
    """An upscaler that is chosen for each image."""

    model = SimpleNamespace(name="always")

    def __init__(self, upscale):
        self.upscale = upscale

    def __call__(self, image, *, on_progress):
        on_progress("tile", 1, 1)
        return self.upscale(image)

    def choose(self, image, file=None):
        return Choice(self, "")

    def prepare(self, image):
        """Nothing has to be measured."""


@pytest.fixture
def photos(tmp_path) -> Path:
    (tmp_path / "in").mkdir()
    for place in range(8):
        write_image(tmp_path / f"in/{place}.png", np.full((4, 5), place, np.uint8))
    return tmp_path / "in"


def test_reading_and_writing_go_on_while_the_network_works(photos, tmp_path, monkeypatch):
    """The network does not end with image 1 before 2 is read and 0 written."""
    read, written = threading.Event(), threading.Event()
    real_read, real_write = folder.read_with_extras, folder.write_image

    def reading(path):
        found = real_read(path)
        if path.stem == "2":
            read.set()
        return found

    def writing(path, image, **options):
        real_write(path, image, **options)
        if path.stem == "0":
            written.set()

    def upscale(image):
        if image[0, 0] == 1:
            assert read.wait(SOON_S)
            assert written.wait(SOON_S)
        return image

    monkeypatch.setattr(folder, "read_with_extras", reading)
    monkeypatch.setattr(folder, "write_image", writing)
    outcomes = list(run(plan([photos], tmp_path / "out"), Always(upscale)))
    assert [outcome.problem for outcome in outcomes] == [None] * 8


@pytest.mark.parametrize("slow", ["read", "write", "network"])
def test_no_more_than_three_images_are_in_memory_whatever_is_slow(photos, tmp_path, monkeypatch, slow):
    alive, most, lock = 0, 0, threading.Lock()
    real_read, real_write = folder.read_with_extras, folder.write_image

    def more(by: int) -> None:
        nonlocal alive, most
        with lock:
            alive += by
            most = max(most, alive)

    def slowly(what: str) -> None:
        time.sleep(0.05 if what == slow else 0)

    def reading(path):
        more(1)
        slowly("read")
        return real_read(path)

    def writing(path, image, **options):
        slowly("write")
        real_write(path, image, **options)
        more(-1)

    def upscale(image):
        slowly("network")
        return image

    monkeypatch.setattr(folder, "read_with_extras", reading)
    monkeypatch.setattr(folder, "write_image", writing)
    list(run(plan([photos], tmp_path / "out"), Always(upscale)))
    assert most <= 3
    assert alive == 0

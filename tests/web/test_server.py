"""The server behind the page, with requests of browsers and of attackers; skipped where gradio is missing."""

import importlib.util
import json
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from srcx.imaging import imresize, read_image, write_image
from srcx.inference import load_model
from srcx.web.page import MAX_BYTES, MAX_WAITING
from srcx.web.work import MAX_IMAGES

pytestmark = pytest.mark.skipif(importlib.util.find_spec("gradio") is None, reason="needs gradio")

AT_ONCE = 50
PATIENCE_S = 300
ROOT = Path(__file__).resolve().parents[2]


class Visitor:
    """What the page's script sends and gets."""

    def __init__(self, calls, server) -> None:
        self.calls = calls
        self.model = str(server.folder / "net.pth")

    def upload(self, *files: tuple[str, bytes]):
        return self.calls.post("upload", files=[("files", file) for file in files])

    def ask(self, paths: list[str], model: str | None = None, fidelity: float = 0, scale: int = 0):
        """Ask for images to be upscaled; the answer may be that the queue is full."""
        images = [{"path": path, "meta": {"_type": "gradio.FileData"}} for path in paths]
        data = [images, model or self.model, "bicubic", fidelity, scale]
        return self.calls.post("call/work", json={"data": data})

    def answer(self, asked) -> tuple[str, list | dict]:
        """The kind of event that ends the work, and its data."""
        said = self.calls.get(f"call/work/{asked.json()['event_id']}").text.strip().split("\n\n")[-1]
        event, data = (line.split(": ", 1)[1] for line in said.splitlines())
        return event, json.loads(data)

    def result(self, answer: list) -> bytes:
        return self.calls.get(f"file={answer[1]['value'][0]['path']}").content


@contextmanager
def visitor_of(server) -> Iterator[Visitor]:
    import httpx  # comes with gradio

    address = f"{server.address.rstrip('/')}/gradio_api/"
    with httpx.Client(base_url=address, timeout=PATIENCE_S) as calls:
        yield Visitor(calls, server)


@pytest.fixture
def visitor(server) -> Iterator[Visitor]:
    with visitor_of(server) as visitor:
        yield visitor


def photo(number: int, folder: Path) -> Path:
    path = folder / f"{number}.png"
    if not path.exists():
        coarse = np.random.default_rng(number).integers(0, 256, (20, 20, 3), np.uint8)
        write_image(path, imresize(coarse, size=(800, 800)))
    return path


def peak_mib(server) -> float:
    """The most memory the server's process has had so far, as Linux counts it."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1024


@pytest.mark.slow
def test_of_fifty_at_once_some_are_answered_right_and_for_all_others_the_queue_is_full(server):
    """In the memory of about one of them, about half a GiB here, and the server serves on."""
    upscale = load_model(server.folder / "net.pth")
    together = threading.Barrier(AT_ONCE)

    def visit(number: int, wait: Callable[[], object] = together.wait) -> str:
        path, result = photo(number, server.folder), server.folder / f"result-{number}.png"
        with visitor_of(server) as visitor:
            (uploaded,) = visitor.upload((path.name, path.read_bytes())).json()
            wait()
            asked = visitor.ask([uploaded])
            if asked.status_code == 503:
                return asked.json()["detail"]
            event, answer = visitor.answer(asked)
            assert event == "complete", answer
            result.write_bytes(visitor.result(answer))
        np.testing.assert_array_equal(read_image(result), upscale(read_image(path)))
        return "right"

    assert visit(AT_ONCE, wait=lambda: None) == "right"
    alone_mib = peak_mib(server)
    with ThreadPoolExecutor(AT_ONCE) as visitors:
        said = list(visitors.map(visit, range(AT_ONCE)))
    assert set(said) == {"right", f"Queue is full. Max size is {MAX_WAITING} and size is {MAX_WAITING}."}
    assert MAX_WAITING <= said.count("right") < AT_ONCE / 2
    assert peak_mib(server) < alone_mib + 1024
    assert visit(AT_ONCE, wait=lambda: None) == "right"


@pytest.mark.slow
def test_files_too_large_too_many_or_elsewhere_are_refused_and_the_server_goes_on(server, visitor):
    large = visitor.upload(("large.png", bytes(MAX_BYTES + 1)))
    assert (large.status_code, "maximum allowed size" in large.text) == (413, True)

    path = photo(0, server.folder)
    paths = visitor.upload(*[(f"{n}.png", path.read_bytes()) for n in range(MAX_IMAGES + 1)]).json()
    event, said = visitor.answer(visitor.ask(paths))
    assert (event, said["error"]) == ("error", f"from 1 to {MAX_IMAGES} images at a time; got 11")

    secret = server.folder / "secret.png"
    secret.write_bytes(path.read_bytes())
    for outside in (
        str(secret),
        "secret.png",
        f"{server.folder}/gradio/../secret.png",
        f"{Path(paths[0]).parent}/../../secret.png",
        str(server.folder / "net.pth"),
        "/etc/passwd",
        "/proc/self/environ",
        f"{server.address}config",
    ):
        fetched = visitor.calls.get(f"file={outside}")
        assert fetched.status_code in (403, 404), outside
        event, said = visitor.answer(visitor.ask([outside]))
        assert event == "error", outside
    event, said = visitor.answer(visitor.ask(paths[:1], model=str(secret)))
    assert (event, "is not in the list of choices" in said["error"]) == ("error", True)

    (climbing,) = visitor.upload(("../../../climbing.png", path.read_bytes())).json()
    assert Path(climbing).is_relative_to(server.folder / "gradio")
    event, answer = visitor.answer(visitor.ask(paths[:1]))
    assert event == "complete"
    assert visitor.result(answer)


@pytest.mark.slow
def test_the_model_is_chosen_for_each_image_and_fidelity_is_passed_on(server, visitor):
    config = visitor.calls.get("../config").json()
    widgets = {one["props"].get("elem_id"): one["props"] for one in config["components"]}
    assert widgets["model"]["choices"][0][1] == "auto"
    assert widgets["model"]["value"] == visitor.model, "a model that was named comes first"
    slider = widgets["fidelity"]
    assert (slider["label"], slider["value"], slider["minimum"], slider["maximum"]) == ("Fidelity", 0, 0, 1)

    path = server.folder / "small.png"
    write_image(path, imresize(read_image(photo(0, server.folder)), size=(24, 24)))
    (uploaded,) = visitor.upload((path.name, path.read_bytes())).json()
    event, answer = visitor.answer(visitor.ask([uploaded], model="auto"))
    assert event == "complete"
    np.testing.assert_array_equal(
        read_image_of(visitor.result(answer), server.folder), load_model()(read_image(path))
    )
    event, said = visitor.answer(visitor.ask([uploaded], fidelity=0.5))
    assert event == "error"
    assert said["error"].startswith("net: fidelity needs faithful weights")
    assert visitor.answer(visitor.ask([uploaded], fidelity=2))[0] == "error"
    event, answer = visitor.answer(visitor.ask([uploaded], scale=3))
    assert event == "complete"
    assert read_image_of(visitor.result(answer), server.folder).shape == (72, 72, 3)
    assert visitor.answer(visitor.ask([uploaded], scale=7))[0] == "error"


def read_image_of(content: bytes, folder: Path) -> np.ndarray:
    (folder / "answer.png").write_bytes(content)
    return read_image(folder / "answer.png")


def test_each_model_has_a_sentence(server, visitor):
    config = visitor.calls.get("../config").json()
    widgets = {one["props"].get("elem_id"): one["props"] for one in config["components"]}
    for label, name in widgets["model"]["choices"]:
        assert label.startswith(f"{name}: ")
        assert len(label) > len(name) + 10
    assert widgets["other"]["info"] in dict(map(reversed, widgets["other"]["choices"]))["bicubic"]


@pytest.mark.slow
def test_several_images_come_as_one_zip_too(server, visitor):
    write_image(server.folder / "small.png", np.zeros((8, 8, 3), np.uint8))
    content = (server.folder / "small.png").read_bytes()
    event, answer = visitor.answer(visitor.ask(visitor.upload(("1.png", content), ("2.png", content)).json()))
    assert event == "complete"
    names = [file["orig_name"] for file in answer[1]["value"]]
    assert names == ["1-net.png", "2-net.png", "srcx-2-images.zip"]


def test_a_mistake_of_a_visitor_is_one_sentence_and_no_traceback_in_the_log(server, visitor):
    (jxl,) = visitor.upload(("IMG_1.JXL", b"\xff\x0a" + bytes(99))).json()
    for paths, said in (
        ([], "choose an image first"),
        ([jxl], "IMG_1.JXL: is a JPEG XL file, which is not read"),
    ):
        event, answer = visitor.answer(visitor.ask(paths))
        assert event == "error"
        assert answer["error"].startswith(said)
    assert "Traceback" not in (server.folder / "server.log").read_text()


def test_a_proxy_and_a_slow_first_answer_do_not_keep_the_server_from_starting(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = (
        "import sys, gradio; from srcx.cli import main\n"
        "gradio.networking.url_ok = lambda _address: False  # as after 3 seconds without an answer\n"
        f"sys.exit(main(['web', '--port', '{port}']))"
    )
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    nobody = {"http_proxy": "http://127.0.0.1:9", "GRADIO_TEMP_DIR": str(tmp_path), "PYTHONPATH": paths}
    command = [sys.executable, "-c", program]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **nobody}
    ) as process:
        assert process.stdout is not None
        said = process.stdout.readline()
        process.terminate()
        assert said.startswith(f"http://127.0.0.1:{port}"), process.communicate()[1]

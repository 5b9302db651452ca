"""Fixtures every test folder shares."""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import settings

from srcx.download import Wire

SHARED = Path(__file__).resolve().parents[2] / "shared"

# How long an example takes says more of what else the machine does than of the code.
settings.register_profile("srcx", parent=settings(), deadline=None)
settings.load_profile("srcx")


ALLOWED_SKIPS = (
    "no CUDA device here",
    "needs the developers' folder ../shared, which is not part of the project",
    "needs the right to mount a small disk",
    "this torch has no NNPACK for this processor",
    "needs wandb, an extra",
    "needs an x86 processor with AVX2 and a C++ compiler",
    "runs every network",  # a contract test that asks a backend for one it does not run
)
"""Reasons to skip a test that CI accepts: what its machine cannot have. All else it must run."""


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a run of CI that skipped a test for another reason: a skip must not hide a defect."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") != "true" or hasattr(session.config, "workerinput") or reporter is None:
        return
    reasons = {report.longrepr[2].removeprefix("Skipped: ") for report in reporter.stats.get("skipped", [])}
    for reason in sorted(reasons - set(ALLOWED_SKIPS)):
        reporter.write_line(
            f"a test was skipped for a reason that ALLOWED_SKIPS does not list: {reason}", red=True
        )
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(autouse=True)
def _plain_log() -> None:
    """A run that is not on rank 0 turns the log down, for all tests of the process."""
    logging.getLogger("srcx").setLevel(logging.NOTSET)
    logging.disable(logging.NOTSET)


@pytest.fixture(autouse=True)
def _fixed_seed() -> None:
    torch.manual_seed(0)
    np.random.seed(0)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.cuda)])
def device(request: pytest.FixtureRequest) -> torch.device:
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device here")
    return torch.device(request.param)


@pytest.fixture
def real_esrgan_names() -> Callable[[Mapping[str, torch.Tensor]], dict[str, torch.Tensor]]:
    """Renames the weights of spandrel's RRDBNet of two blocks, x4, as Real-ESRGAN calls them."""
    ends = {
        "model.0": "conv_first",
        "model.1.sub.2": "conv_body",
        "model.3": "conv_up1",
        "model.6": "conv_up2",
        "model.8": "conv_hr",
        "model.10": "conv_last",
    }

    def rename(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        new = {}
        for key, weight in state.items():
            name, _, kind = key.rpartition(".")
            if name not in ends:
                _, _, _, block, dense, conv, _ = name.split(".")
                name = f"body.{block}.{dense.lower()}.{conv}"
            new[f"{ends.get(name, name)}.{kind}"] = weight
        return new

    return rename


@pytest.fixture(scope="session")
def shared() -> Path:
    """The developers' folder of images and reference figures; users do not have it."""
    if not (SHARED / "data").is_dir():
        pytest.skip("needs the developers' folder ../shared, which is not part of the project")
    return SHARED


class Server:
    """A web server on loopback: what it serves and how it misbehaves.

    `asked` keeps each request's path, Range and Authorization.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.redirects: dict[str, str] = {}
        self.cuts: list[int] = []  # the next answers end after so many bytes
        self.takes_ranges = True
        self.says_length = True
        self.stalls_s = 0.0
        self.asked: list[tuple[str, str | None, str | None]] = []
        self.port = 0

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"


def _handler(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            server.asked.append((self.path, wanted, self.headers.get("Authorization")))
            time.sleep(server.stalls_s)
            if self.path in server.redirects:
                self.send_response(302)
                self.send_header("Location", server.redirects[self.path])
                self.end_headers()
            elif self.path not in server.files:
                self.send_error(404)
            else:
                self._send(server.files[self.path], wanted if server.takes_ranges else None)

        def _send(self, content: bytes, wanted: str | None) -> None:
            start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
            if start >= len(content) > 0:
                return self.send_error(416)
            self.send_response(206 if wanted else 200)
            if wanted:
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            if server.says_length:
                self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            self.wfile.write(content[start : start + server.cuts.pop(0)] if server.cuts else content[start:])

        def log_message(self, *_: Any) -> None:
            """Keeps the test's output clean."""

    return Handler


class _Quiet(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up in the middle is what some tests are about."""


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    with _Quiet(("127.0.0.1", 0), _handler(server)) as http:
        server.port = http.server_port
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        http.shutdown()
        thread.join()


@pytest.fixture
def loopback() -> Wire:
    return Wire(plain_hosts=frozenset({"127.0.0.1"}), silence_s=5)

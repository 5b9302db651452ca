import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from srcx.archs import MSRResNet
from srcx.weights import save_state

ROOT = Path(__file__).resolve().parents[2]


class Server(NamedTuple):
    address: str
    process: subprocess.Popen[str]
    folder: Path
    """Its current folder, with net.pth in it, and server.log, what it writes to stderr."""


@pytest.fixture
def server(tmp_path) -> Iterator[Server]:
    """The page, served by `srcx web` in a process of its own, with one more model: net.pth."""
    save_state(tmp_path / "net.pth", MSRResNet(num_feat=4, num_block=1, upscale=2).state_dict())
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "srcx", "web", "--port", str(port), "--model", str(tmp_path / "net.pth")]
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": paths, "GRADIO_TEMP_DIR": str(tmp_path / "gradio")}
    with (
        (tmp_path / "server.log").open("w") as log,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment, cwd=tmp_path
        ) as process,
    ):
        assert process.stdout is not None
        yield Server(process.stdout.readline().split()[0], process, tmp_path)
        process.terminate()


@pytest.fixture
def address(server) -> str:
    return server.address

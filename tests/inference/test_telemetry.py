"""No backend sends anything or stores an id: tested with a proxy on loopback that answers nothing."""

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from srcx.inference.backends import find_backend

RUN = """
import sys
import numpy as np
from srcx.archs import MSRResNet
from srcx.inference import Model
from srcx.inference.backends import find_backend

model = Model("test", 2, "MSRResNet", "0", net=MSRResNet(num_feat=4, num_block=1, upscale=2).eval())
print(tuple(find_backend(sys.argv[1]).open(model)(np.ones((1, 3, 8, 8), np.float32)).shape))
"""


@pytest.mark.parametrize("backend", ["onnx", "openvino"])
def test_nothing_leaves_the_machine_and_no_id_is_stored(backend, tmp_path):
    if not find_backend(backend).available():
        pytest.skip(f"{backend} is not installed")
    asked: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as proxy:

        def listen() -> None:
            try:
                while True:
                    connection, _ = proxy.accept()
                    with connection:
                        connection.settimeout(2)
                        asked.append(connection.recv(300))
            except OSError:
                return

        threading.Thread(target=listen, daemon=True).start()
        address = f"http://127.0.0.1:{proxy.getsockname()[1]}"
        names = ("http_proxy", "https_proxy", "all_proxy")
        env = {key: value for key, value in os.environ.items() if key not in ("CI", "ORT_DISABLE_TELEMETRY")}
        env |= {name: address for name in names} | {name.upper(): address for name in names}
        env |= {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / ".cache"), "OMP_NUM_THREADS": "1"}
        env |= {"PYTHONPATH": os.pathsep.join(sys.path)}
        done = subprocess.run(
            [sys.executable, "-c", RUN, backend], capture_output=True, text=True, env=env, check=False
        )
    assert (done.returncode, done.stdout) == (0, "(1, 3, 16, 16)\n"), done.stderr
    assert asked == []
    files = [path.name for path in Path(tmp_path).rglob("*") if path.is_file()]
    assert [name for name in files if "deviceid" in name or "openvino" in name or "cid" in name] == []

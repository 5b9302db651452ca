"""A place for whole runs, and a note of each wait for a GPU."""

import cv2
import numpy as np
import pytest
from torch.utils._python_dispatch import TorchDispatchMode

READS = {"_local_scalar_dense", "is_nonzero", "nonzero", "equal", "masked_select"}
"""The operations that copy a value to the host, so that a GPU is waited for."""


class HostReads(TorchDispatchMode):
    """Notes in `of_values` each tensor that is read inside its block, for which a GPU would be waited for."""

    def __init__(self):
        super().__init__()
        self.of_values = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.__name__.split(".")[0] in READS:
            self.of_values.append(args[0])
        return func(*args, **(kwargs or {}))


@pytest.fixture
def host_reads():
    return HostReads()


@pytest.fixture
def workplace(tmp_path, monkeypatch, rng):
    """A current folder with a few images in datasets/smoke, as the smoke file wants them."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "datasets/smoke"
    folder.mkdir(parents=True)
    for number in range(3):
        noise = rng.integers(0, 255, (20, 24, 3), dtype=np.uint8)
        smooth = cv2.resize(noise, (96, 80), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(folder / f"{number}.png"), smooth)
    return tmp_path

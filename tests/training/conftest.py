"""A place for whole runs."""

import cv2
import numpy as np
import pytest


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

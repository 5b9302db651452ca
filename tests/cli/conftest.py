"""The command line run in this process, as a user would call it."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from srcx.cli import main
from srcx.imaging import imresize, write_image
from srcx.inference import bundled


class Said(NamedTuple):
    """What a command answered."""

    code: int
    out: str
    err: str

    @property
    def sentences(self) -> list[str]:
        return self.err.strip().splitlines()


@pytest.fixture
def srcx(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Said]:
    """Run `srcx WORD ...` in tmp_path."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(bundled, "BUNDLED", tmp_path / "none")  # the default is bicubic, whatever is shipped

    def run(*words: object) -> Said:
        capsys.readouterr()
        code = main([str(word) for word in words])
        return Said(code, *capsys.readouterr())

    return run


@pytest.fixture
def photos(tmp_path: Path, rng: np.random.Generator) -> Path:
    """A folder with three small images."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, shape in (("a.png", (12, 16, 3)), ("b.jpg", (10, 9, 3)), ("c.png", (8, 8))):
        write_image(folder / name, rng.integers(0, 256, shape, np.uint8))
    return folder


@pytest.fixture
def benchmark_data(tmp_path: Path, rng: np.random.Generator) -> Path:
    """Two small benchmark sets at x4: Tiny with its lq images stored, Bare without."""
    root = tmp_path / "sets"
    for name, sizes in (("Tiny", [(64, 48), (56, 60)]), ("Bare", [(50, 49)])):
        for index, size in enumerate(sizes):
            coarse = rng.integers(0, 256, (8, 8, 3), np.uint8)
            image = imresize(coarse, size=size)
            save(root / name / "HR" / f"{index}.png", image)
            if name == "Tiny":
                save(root / name / "LR_bicubic" / "X4" / f"{index}x4.png", imresize(image, scale=0.25))
    return root


def save(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, image)

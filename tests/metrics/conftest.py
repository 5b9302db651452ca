"""Images for the tests of the evaluators, and the developers' reference figures."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from srcx.imaging.io import read_image

ImageArray = NDArray[np.uint8]


def draw_photo(height: int, width: int, seed: int = 0) -> ImageArray:
    """Something like a photo: structure at several sizes, RGB."""
    noise = np.random.default_rng(seed).standard_normal((height, width, 3))
    layers = [gaussian_filter(noise, (sigma, sigma, 0.5)) * sigma for sigma in (0.5, 1, 2, 4, 8)]
    image = np.sum(layers, axis=0)
    return (127 + 40 * image / image.std()).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def photo() -> ImageArray:
    return draw_photo(208, 248)


@pytest.fixture(scope="session")
def blurred(photo: ImageArray) -> ImageArray:
    return gaussian_filter(photo, (1.5, 1.5, 0))


@pytest.fixture
def draw() -> Callable[..., ImageArray]:
    return draw_photo


class Reference:
    """The figures that the authors' code gave, and the images it measured."""

    def __init__(self, shared: Path) -> None:
        self.folder, self.data = shared / "reference", shared / "data"
        files = json.loads((self.data / "MANIFEST.json").read_text())["files"]
        self._file_of = {one.get("path"): self.data / one["file"] for one in files}
        self._images = json.loads((self.folder / "metrics.json").read_text())["images"]

    def figures(self, name: str, index: int, variant: str = "rgb") -> dict[str, Any]:
        wanted = (name, index, variant)
        return next(one for one in self._images if (one["set"], one["idx"], one["variant"]) == wanted)

    def hr(self, name: str, index: int) -> Any:
        return read_image(self._file_of[f"data/{name}/image_SRF_4/img_{index:03d}_SRF_4_HR.png"])

    def bicubic(self, name: str, index: int) -> Any:
        return read_image(self.folder / "bicubic" / name / f"img_{index:03d}.png")


@pytest.fixture(scope="session")
def reference(shared: Path) -> Reference:
    return Reference(shared)

"""A small known set, whose published files are made here, and a folder of it as it should be."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from srcx.benchmarks import inspect
from srcx.benchmarks.manifest import KnownFile, KnownImage, KnownSet, pixel_sha256
from srcx.imaging import imresize, read_image, write_image
from srcx.imaging.resize import crop_to_multiple

SIZES = {"one": (48, 60), "two": (40, 52), "grey": (44, 36)}


def save(path: Path, image: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, image)
    return path


def photo(rng: np.random.Generator, size: tuple[int, int], *, grey: bool = False) -> np.ndarray:
    """Fine and coarse detail, so that every method gives another result."""
    shape = size if grey else (*size, 3)
    coarse = imresize(rng.integers(0, 256, (6, 6, *shape[2:]), np.uint8), size=size)
    return np.clip(coarse + rng.normal(0, 12, shape), 0, 255).astype(np.uint8)


@pytest.fixture
def published(tmp_path: Path, rng: np.random.Generator) -> Path:
    """What the publisher serves: image_SRF_4/NAME_SRF_4_HR.png and ..._LR.png."""
    folder = tmp_path / "publisher" / "image_SRF_4"
    for name, size in SIZES.items():
        gt = photo(rng, size, grey=name == "grey")
        save(folder / f"{name}_SRF_4_HR.png", gt)
        save(folder / f"{name}_SRF_4_LR.png", imresize(gt, scale=0.25, border="replicate"))
    return folder


@pytest.fixture
def tiny(published: Path, monkeypatch: pytest.MonkeyPatch) -> KnownSet:
    """A set srcx knows in this test, in place of those whose files are known."""
    from srcx.benchmarks.manifest import known_sets

    known = KnownSet(
        "Tiny",
        "benchmark/Tiny",
        "nobody, 2000",
        "none",
        "https://example.org/",
        tuple(
            KnownImage(
                name, entry(published / f"{name}_SRF_4_HR.png"), entry(published / f"{name}_SRF_4_LR.png")
            )
            for name in SIZES
        ),
    )
    sets = {"Tiny": known, **{name: known_sets()[name] for name in ("Urban100", "DIV2K")}}
    for module in ("manifest", "inspect", "verify"):
        monkeypatch.setattr(f"srcx.benchmarks.{module}.known_sets", lambda: sets)
    inspect._published.cache_clear()
    yield known
    inspect._published.cache_clear()


def entry(path: Path) -> KnownFile:
    image = read_image(path)
    return KnownFile(
        path.name,
        path.stat().st_size,
        hashlib.sha256(path.read_bytes()).hexdigest(),
        image.shape[1],
        image.shape[0],
        1 if image.ndim == 2 else 3,
        pixel_sha256(image),
        pixel_sha256(crop_to_multiple(image, 12)),
    )


@pytest.fixture
def copy(published: Path, tiny: KnownSet, tmp_path: Path) -> Path:
    """The set as `srcx data fetch` lays it out."""
    folder = tmp_path / "sets" / "Tiny"
    for name in SIZES:
        for kind, target in (("HR", f"HR/{name}.png"), ("LR", f"LR_bicubic/X4/{name}x4.png")):
            (folder / target).parent.mkdir(parents=True, exist_ok=True)
            (folder / target).write_bytes((published / f"{name}_SRF_4_{kind}.png").read_bytes())
    return folder

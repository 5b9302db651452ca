from pathlib import Path

import lmdb
import numpy as np
import pytest

from srcx.imaging.io import write_image
from srcx.imaging.resize import imresize


@pytest.fixture
def make_pairs():
    return _make_pairs


@pytest.fixture
def make_lmdb():
    return _make_lmdb


def _make_pairs(root, count=5, *, scale=4, lq_size=(12, 15), template="{}x4", suffix=".png"):
    """Smooth random pairs in root/HR and root/LR; returns their names."""
    names = [f"{number:02d}" for number in range(count)]
    rng = np.random.default_rng(7)
    for number, name in enumerate(names):
        coarse = rng.integers(0, 256, (3, 4, 3), np.uint8)
        gt = imresize(coarse, size=(scale * (lq_size[0] + number), scale * lq_size[1]))
        write_image_in(root / "HR", f"{name}{suffix}", gt)
        write_image_in(root / "LR", f"{template.format(name)}{suffix}", imresize(gt, scale=1 / scale))
    return names


def write_image_in(folder, name, image):
    folder.mkdir(parents=True, exist_ok=True)
    write_image(folder / name, image)


def _make_lmdb(folder, images: dict[str, Path]):
    """An LMDB folder as BasicSR's scripts make it: keys without suffix, meta_info.txt beside."""
    with lmdb.open(str(folder), map_size=2**24) as environment, environment.begin(write=True) as transaction:
        for key, path in images.items():
            transaction.put(key.encode(), path.read_bytes())
    (folder / "meta_info.txt").write_text("".join(f"{key}.png (48,60,3) 1\n" for key in images))


@pytest.fixture
def pairs(tmp_path):
    _make_pairs(tmp_path)
    return {
        "dataroot_gt": tmp_path / "HR",
        "dataroot_lq": tmp_path / "LR",
        "filename_tmpl": "{}x4",
        "scale": 4,
    }

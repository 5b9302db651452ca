import re
from pathlib import Path

import numpy as np
import pytest

from srcx.benchmarks.manifest import known_set, known_sets, pixel_sha256, without_copies
from srcx.errors import UsageError
from srcx.imaging.resize import crop_to_multiple

ROOT = Path(__file__).resolve().parents[2]
DIGEST = re.compile(r"[0-9a-f]{64}")
COUNTS = {"Set5": 5, "Set14": 14, "BSD100": 100, "Urban100": 100, "DIV2K": 900}


def test_the_sets_of_the_tables_are_known_in_full():
    assert {name: known.count for name, known in known_sets().items()} == COUNTS


@pytest.mark.parametrize("name", ["Set5", "Set14", "BSD100"])
def test_every_file_has_its_digest_its_size_and_its_pixels(name):
    for one in known_sets()[name].images:
        for file in (one.hr, one.lr):
            assert DIGEST.fullmatch(file.sha256)
            assert DIGEST.fullmatch(file.pixels)
            assert file.bytes > 1000
        assert (one.lr.width * 4, one.lr.height * 4) == (one.hr.width, one.hr.height)
        assert one.lr.file == one.hr.file.replace("_HR", "_LR")


@pytest.mark.parametrize("name", ["Set5", "Set14", "BSD100", "Urban100"])
def test_no_two_files_are_one(name):
    files = [file for one in known_sets()[name].images for file in (one.hr, one.lr)]
    for field in ("file", "sha256", "pixels"):
        values = [getattr(file, field) for file in files if getattr(file, field)]
        assert len(set(values)) == len(values)
    assert len({one.name for one in known_sets()[name].images}) == known_sets()[name].count


def test_what_nobody_here_has_seen_has_no_digest():
    assert all(one.hr.sha256 is None and one.lr.sha256 is None for one in known_sets()["Urban100"].images)


def test_the_source_is_one_commit_over_https():
    for known in known_sets().values():
        assert known.url.startswith("https://")
        assert known.url.endswith("/")
        if known.images:
            assert "/8f6dd8c1d20cb7e8792a7177b4f6fd677633f598/" in known.url


def test_the_grey_image_of_set14_is_known_to_be_grey():
    assert [one.name for one in known_sets()["Set14"].images if one.hr.channels == 1] == ["bridge"]


def test_div2k_s_names_are_numbered():
    names = [archive.image_names for archive in known_set("div2k").archives]
    assert [(one[0], one[-1], len(one)) for one in names] == [
        ("0001.png", "0800.png", 800),
        ("0001x4.png", "0800x4.png", 800),
        ("0801.png", "0900.png", 100),
        ("0801x4.png", "0900x4.png", 100),
    ]


def test_an_unknown_name_is_an_error():
    with pytest.raises(UsageError, match=r"Sett5: srcx knows no such set; did you mean 'Set5'\?"):
        known_set("Sett5")
    with pytest.raises(UsageError, match="mine: srcx knows no such set; known are Set5, Set14, BSD100"):
        known_set("mine")


def test_the_manifests_are_part_of_the_package():
    assert re.search(
        r'^srcx = \[.*"benchmarks/manifests/\*"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE
    )


def test_the_digest_is_of_shape_type_and_values(rng):
    image = rng.integers(0, 256, (6, 4, 3), np.uint8)
    other = image.copy()
    other[5, 3, 2] ^= 1
    digests = {pixel_sha256(one) for one in (image, other, image.reshape(4, 6, 3), image.astype(np.uint16))}
    assert len(digests) == 4
    assert pixel_sha256(np.asfortranarray(image)) == pixel_sha256(image)


def test_equal_channels_are_one(rng):
    grey = rng.integers(0, 256, (6, 4), np.uint8)
    assert without_copies(np.stack([grey] * 3, axis=2)).shape == (6, 4)
    almost = np.stack([grey] * 3, axis=2)
    almost[0, 0, 1] ^= 1
    assert without_copies(almost).shape == (6, 4, 3)


def test_cutting_keeps_the_upper_left(rng):
    image = rng.integers(0, 256, (13, 11, 3), np.uint8)
    assert np.array_equal(crop_to_multiple(image, 4), image[:12, :8])
    assert crop_to_multiple(image, 1).shape == image.shape

"""Which sets a benchmark takes, and how it makes their lq images."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from srcx.benchmarks.layout import BenchmarkSet, ImagePair
from srcx.config import DegradationOptions, degradation_names
from srcx.data.degradation import degrade
from srcx.errors import DataError, ImageError, OptionsError, UsageError
from srcx.evaluation.inputs import Degradation, Source, find_sources, load_degradations, make_lq
from srcx.imaging import imresize, write_image

NOISY = {"passes": [{"noise": {"prob": 1.0, "sigma": [5, 30]}}]}


def source(seed: int = 0, name: str = "noisy", scale: int = 2) -> Source:
    degradation = Degradation(name, DegradationOptions.model_validate(NOISY), seed)
    return Source(BenchmarkSet("Set", scale, (ImagePair("a", Path("a.png"), None),), None), degradation)


@pytest.fixture
def data(tmp_path: Path, rng: np.random.Generator) -> Path:
    for name in "abcdefg":
        path = tmp_path / "data/Tiny/HR" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_image(path, rng.integers(0, 256, (8, 8, 3), np.uint8))
        stored = tmp_path / "data/Tiny/LR_bicubic/X2" / f"{name}x2.png"
        stored.parent.mkdir(parents=True, exist_ok=True)
        write_image(stored, rng.integers(0, 256, (4, 4, 3), np.uint8))
    return tmp_path / "data"


def test_damage_depends_on_seed_degradation_and_image_alone(rng):
    gt = rng.integers(0, 256, (16, 16, 3), np.uint8)
    lq = make_lq(gt, "a", source())
    make_lq(gt, "b", source())  # another image between
    np.random.default_rng(1).random()
    assert np.array_equal(make_lq(gt, "a", source()), lq)
    for changed in (("b", source()), ("a", source(seed=1))):
        assert not np.array_equal(make_lq(gt, *changed), lq)


def test_the_lq_image_is_what_degrade_makes_of_gt_cut_to_a_multiple_of_the_scale(rng):
    gt, one = rng.integers(0, 256, (17, 19, 3), np.uint8), source()
    assert one.degradation is not None
    expected = degrade(gt[:16, :18], one.degradation.options, scale=2, rng=one.degradation.rng("a"))
    assert np.array_equal(make_lq(gt, "a", one), expected)


def test_grey_and_16_bits_can_be_damaged_too(rng):
    grey = rng.integers(0, 256, (16, 16), np.uint8)
    assert make_lq(grey, "a", source()).shape == (8, 8)
    rgb = rng.integers(0, 256, (16, 16, 3), np.uint8)
    assert np.array_equal(make_lq(rgb.astype(np.uint16) * 257, "a", source()), make_lq(rgb, "a", source()))


def test_without_a_degradation_bicubic_with_repeated_borders_is_made(rng):
    gt = rng.integers(0, 256, (16, 16, 3), np.uint8)
    clean = dataclasses.replace(source(), degradation=None)
    assert np.array_equal(make_lq(gt, "a", clean), imresize(gt, scale=0.5, border="replicate"))


@pytest.mark.parametrize("shape", [(3, 40, 3), (40, 3), (1, 1)])
@pytest.mark.parametrize("damaged", [True, False])
def test_ground_truth_smaller_than_one_lq_pixel_is_named(shape, damaged):
    one = source(scale=4)
    one = one if damaged else dataclasses.replace(one, degradation=None)
    with pytest.raises(ImageError, match=r"^tiny: has a side of less than 4 pixels"):
        make_lq(np.zeros(shape, np.uint8), "tiny", one)


def test_every_preset_is_known_and_a_file_goes_by_its_stem(tmp_path):
    (tmp_path / "mine.yml").write_text("passes: [{noise: {sigma: [5, 30]}}]\n")
    found = load_degradations([*degradation_names(), str(tmp_path / "mine.yml"), "web"], seed=3)
    assert [one.name for one in found] == [*degradation_names(), "mine"]
    assert {one.seed for one in found} == {3}


def test_two_degradations_of_one_name_are_refused(tmp_path):
    (tmp_path / "web.yml").write_text("clean_prob: 1\n")
    with pytest.raises(UsageError, match=r"web\.yml: there is already a degradation of the name 'web'"):
        load_degradations(["web", str(tmp_path / "web.yml")], seed=0)
    with pytest.raises(OptionsError, match="did you mean 'web'"):
        load_degradations(["webb"], seed=0)


def test_the_cache_key_has_options_seed_and_name():
    one = source().degradation
    assert one is not None
    keys = {
        one.made_of(),
        dataclasses.replace(one, seed=1).made_of(),
        dataclasses.replace(one, name="x").made_of(),
        dataclasses.replace(one, options=DegradationOptions(clean_prob=0.5)).made_of(),
        dataclasses.replace(one, options=DegradationOptions()).made_of(),
    }
    assert len(keys) == 5


@pytest.mark.parametrize(("every", "names"), [(1, "abcdefg"), (3, "adg"), (9, "a")])
def test_every_so_many_th_image_from_the_first_on(data, every, names):
    (one,) = find_sources(data, None, [], scale=2, every=every, without_gt=False)
    assert "".join(pair.name for pair in one.pairs) == names


def test_a_set_comes_once_for_each_degradation_and_its_stored_lq_images_are_not_read(data):
    degradations = load_degradations(["web", "old"], seed=5)
    found = find_sources(data, ["Tiny"], degradations, scale=2, every=1, without_gt=False)
    assert [(one.name, one.damage, one.folder) for one in found] == [
        ("Tiny", "web", "Tiny/web"), ("Tiny", "old", "Tiny/old"),
    ]  # fmt: skip
    assert all(pair.lq is None for one in found for pair in one.pairs)
    assert found[0].lq == "made from the ground truth by degradation web, seed 5"


def test_a_folder_without_ground_truth_gives_its_images_under_their_file_names(data, tmp_path):
    (one,) = find_sources(data / "Tiny/HR", None, [], scale=4, every=2, without_gt=True)
    assert one.name == "HR"
    assert [(pair.name, pair.gt) for pair in one.pairs] == [(f"{name}.png", None) for name in "aceg"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty: there are no images in this folder"):
        find_sources(tmp_path / "empty", None, [], scale=4, every=1, without_gt=True)

import logging
import shutil

import cv2
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from srcx.config import DegradationOptions, load_degradation
from srcx.data import HighResolutionDataset
from srcx.data.degradation import degrade
from srcx.errors import DataError
from srcx.imaging.io import read_image, write_image
from srcx.imaging.resize import imresize
from srcx.imaging.tensors import to_image


@pytest.fixture
def folder(tmp_path, rng):
    for name, shape in {"a/2.png": (37, 50, 3), "a/10.png": (40, 40), "b/x.png": (20, 70, 3)}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write_image(tmp_path / name, rng.integers(0, 256, shape, np.uint8))
    return tmp_path


def test_lq_is_matlabs_bicubic_of_the_image_cut_to_a_multiple(folder):
    dataset = HighResolutionDataset(dataroot_gt=folder, scale=4)
    assert [pair.name for pair in dataset] == ["2", "10", "x"]
    cut = read_image(folder / "a/2.png")[:36, :48]
    assert_array_equal(to_image(dataset[0].gt), cut)
    assert_array_equal(to_image(dataset[0].lq), imresize(cut, scale=1 / 4))


@pytest.mark.parametrize("scale", [2, 3, 4, 8])
def test_crops_are_aligned_with_the_small_image_at_any_scale(folder, scale):
    dataset = HighResolutionDataset(
        dataroot_gt=folder / "a", scale=scale, gt_size=2 * scale, use_hflip=False, use_rot=False
    )
    whole = dataset.read(0)
    for seed in range(20):
        crop = dataset.sample(0, np.random.default_rng(seed))
        places = [
            (top, left)
            for top in range(whole.lq.shape[0] - 1)
            for left in range(whole.lq.shape[1] - 1)
            if np.array_equal(whole.lq[top : top + 2, left : left + 2], crop.lq)
        ]
        assert any(
            np.array_equal(
                whole.gt[top * scale : (top + 2) * scale, left * scale : (left + 2) * scale], crop.gt
            )
            for top, left in places
        )


def test_several_folders_make_one_data_set_and_nothing_counts_twice(folder):
    dataset = HighResolutionDataset(dataroot_gt=[folder / "b", folder / "a", folder], scale=4)
    assert [dataset.name(index) for index in range(len(dataset))] == ["x", "2", "10"]


def test_images_smaller_than_a_crop_are_left_out_with_a_word(folder, caplog):
    with caplog.at_level(logging.WARNING):
        dataset = HighResolutionDataset(dataroot_gt=folder, scale=4, gt_size=36)
    assert len(dataset) == 2
    assert "1 of 3 images are smaller than a crop (gt_size 36) and left out" in caplog.text
    with pytest.raises(DataError, match="none of 3 images holds a crop of gt_size 96"):
        HighResolutionDataset(dataroot_gt=folder, scale=4, gt_size=96)


@pytest.mark.parametrize("degradation", [None, load_degradation("web")], ids=["bicubic", "web"])
def test_images_at_several_sizes_are_those_of_files_that_were_shrunk_before(
    folder, tmp_path, rng, caplog, degradation
):
    # Half of it, rounded up, just holds a crop.
    write_image(folder / "b/y.png", rng.integers(0, 256, (31, 40, 3), np.uint8))
    for name in ("a/2", "a/10", "b/x", "b/y"):
        whole = read_image(folder / f"{name}.png")
        (tmp_path / "half" / name).parent.mkdir(exist_ok=True, parents=True)
        write_image(tmp_path / f"half/{name}.png", imresize(whole, scale=1 / 2))
    settings = {"scale": 4, "gt_size": 16, "degradation": degradation}
    with caplog.at_level(logging.WARNING):
        shrunk = HighResolutionDataset(
            dataroot_gt=[folder / "a", folder / "b"], gt_scales=[1, 0.5], **settings
        )
    assert "1 of 8 images are smaller than a crop (gt_size 16) and left out" in caplog.text
    assert f"{folder}/b/x.png at 0.5" in caplog.text
    roots = [folder / "a", tmp_path / "half/a", folder / "b", tmp_path / "half/b"]
    files = HighResolutionDataset(dataroot_gt=roots, **settings)
    assert len(shrunk) == len(files) == 7
    for index in range(len(files)):
        for one, other in zip(shrunk.read(index), files.read(index), strict=True):
            assert_array_equal(one, other)
        one, other = (each.sample(index, np.random.default_rng(3)) for each in (shrunk, files))
        assert_array_equal(one.lq, other.lq)
        assert_array_equal(one.gt, other.gt)
    assert len(HighResolutionDataset(dataroot_gt=folder / "a", scale=4, gt_size=16, gt_scales=[0.5])) == 2


def test_a_damaged_image_at_several_sizes_is_named_once(folder):
    (folder / "b/x.png").write_bytes((folder / "b/x.png").read_bytes()[:200])
    with pytest.raises(DataError, match=r"^[^\n]*x\.png: is damaged or cut off[^\n]*$"):
        HighResolutionDataset(dataroot_gt=folder, scale=4, gt_size=12, gt_scales=[1, 0.5])


@pytest.mark.parametrize("gt_scales", [[], [1, 1.0], [0], [2, 1], [-0.5]])
def test_a_size_that_is_no_share_of_the_image_is_refused(folder, gt_scales):
    with pytest.raises(DataError, match=r"gt_scales must be different factors in \(0, 1\]; got \["):
        HighResolutionDataset(dataroot_gt=folder, scale=4, gt_size=12, gt_scales=gt_scales)


def test_lmdb_gives_what_the_folder_gives(tmp_path, make_pairs, make_lmdb):
    names = make_pairs(tmp_path)
    make_lmdb(tmp_path / "x.lmdb", {name: tmp_path / "HR" / f"{name}.png" for name in names})
    from_folder = HighResolutionDataset(dataroot_gt=tmp_path / "HR", scale=4)
    from_lmdb = HighResolutionDataset(dataroot_gt=tmp_path / "x.lmdb", scale=4, io_backend="lmdb")
    for file, record in zip(from_folder, from_lmdb, strict=True):
        assert file.lq.equal(record.lq)


def test_every_problem_is_said_at_once(folder):
    (folder / "a/2.png").write_bytes(b"")
    (folder / "b/x.png").write_bytes(b"text")
    with pytest.raises(DataError) as raised:
        HighResolutionDataset(dataroot_gt=[folder, folder / "none"], scale=4)
    message = str(raised.value)
    assert "3 problems" in message
    assert "2.png: is empty" in message
    assert "x.png: is not an image" in message
    assert "none: this folder does not exist" in message


def test_an_empty_folder_is_an_error(tmp_path):
    with pytest.raises(DataError, match="there are no images in this folder or below; check the path"):
        HighResolutionDataset(dataroot_gt=tmp_path, scale=4)


CLEAN = DegradationOptions(clean_prob=1)


@pytest.mark.parametrize("scale", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("lq_px", [1, 2, 5])
def test_clean_crops_are_those_of_matlabs_bicubic_of_the_whole_image_also_at_its_borders(
    tmp_path, rng, scale, lq_px
):
    """The images are from as large as the crop to larger than the surroundings that are degraded with it."""
    for name, side in {"a": lq_px, "b": lq_px + 7, "c": 40}.items():
        shape = (side * scale, (side + 3) * scale + scale - 1, 3)
        write_image(tmp_path / f"{name}.png", rng.integers(0, 256, shape, np.uint8))
    settings = {"dataroot_gt": tmp_path, "scale": scale, "gt_size": lq_px * scale}
    plain, clean = (HighResolutionDataset(**settings, degradation=one) for one in (None, CLEAN))
    for index in range(3):
        for seed in range(40):
            wanted, crop = (one.sample(index, np.random.default_rng(seed)) for one in (plain, clean))
            assert_array_equal(crop.gt, wanted.gt)
            assert_array_equal(crop.lq, wanted.lq)


def test_whole_clean_images_are_matlabs_bicubic(folder):
    plain, clean = (
        HighResolutionDataset(dataroot_gt=folder, scale=4, degradation=one) for one in (None, CLEAN)
    )
    for wanted, image in zip(plain, clean, strict=True):
        assert image.name == wanted.name
        assert image.lq.equal(wanted.lq)
        assert image.gt.equal(wanted.gt)


@pytest.mark.parametrize("name", ["web", "phone", "old"])
def test_degraded_crops_lie_on_their_ground_truth_which_is_left_as_it_is(tmp_path, rng, name):
    coarse = rng.integers(0, 256, (20, 20, 3), np.uint8)
    write_image(tmp_path / "a.png", imresize(coarse, size=(240, 240)))
    settings = {"dataroot_gt": tmp_path, "scale": 2, "gt_size": 96}
    plain = HighResolutionDataset(**settings)
    damaged = HighResolutionDataset(**settings, degradation=load_degradation(name))
    for seed in range(40):
        wanted, crop = (one.sample(0, np.random.default_rng(seed)) for one in (plain, damaged))
        assert crop.lq.shape == (48, 48, 3)
        assert_array_equal(crop.gt, wanted.gt)
        assert not np.array_equal(crop.lq, wanted.lq)
        assert np.corrcoef(crop.lq.ravel(), wanted.lq.ravel())[0, 1] > 0.8


@pytest.mark.parametrize("degradation", [None, CLEAN])
def test_crops_with_detail_are_chosen_whatever_makes_lq(tmp_path, rng, degradation):
    image = np.full((64, 640, 3), 90, np.uint8)
    image[:, :64] = rng.integers(0, 256, (64, 64, 3), np.uint8)
    write_image(tmp_path / "x.png", image)
    settings = {"dataroot_gt": tmp_path, "scale": 4, "gt_size": 32, "degradation": degradation}
    shares = [
        np.mean([np.ptp(dataset.sample(0, np.random.default_rng(seed)).gt) > 0 for seed in range(100)])
        for dataset in (
            HighResolutionDataset(**settings),
            HighResolutionDataset(**settings, crop_candidates=32),
        )
    ]
    assert shares[0] < 0.3
    assert shares[1] > 0.9


def test_a_crop_s_degradation_depends_on_its_generator_alone(folder):
    settings = {
        "dataroot_gt": folder / "a",
        "scale": 2,
        "gt_size": 16,
        "degradation": load_degradation("old"),
    }
    one, other = HighResolutionDataset(**settings), HighResolutionDataset(**settings)
    other.sample(1, np.random.default_rng(5))
    for seed in range(20):
        first, again = (each.sample(0, np.random.default_rng(seed)) for each in (one, other))
        assert_array_equal(first.lq, again.lq)
    crops = {one.sample(0, np.random.default_rng(seed)).lq.tobytes() for seed in range(20)}
    assert len(crops) == 20


def test_a_whole_image_s_degradation_is_the_same_each_time(folder):
    options = load_degradation("phone")
    dataset = HighResolutionDataset(dataroot_gt=folder, scale=4, degradation=options, cache_mib=0)
    assert dataset[1].lq.equal(dataset[1].lq)
    gt = to_image(dataset[1].gt)
    assert_array_equal(to_image(dataset[1].lq), degrade(gt, options, scale=4, rng=np.random.default_rng(1)))


def test_a_crop_lies_anywhere_in_the_grid_of_the_image_that_was_saved(tmp_path, rng):
    texture = cv2.GaussianBlur(rng.integers(0, 256, (400, 400, 3), np.uint8), (0, 0), 2)
    write_image(tmp_path / "a.png", texture)
    coarse = DegradationOptions.model_validate({"final": {"compression": {"quality": [12, 12]}}})
    dataset = HighResolutionDataset(
        dataroot_gt=tmp_path, scale=1, gt_size=120, degradation=coarse, use_hflip=False, use_rot=False
    )
    for axis in (0, 1):
        places = set()
        for seed in range(60):
            lq = dataset.sample(0, np.random.default_rng(seed)).lq.astype(float).mean(axis=2)
            steps = np.abs(np.diff(lq, axis=axis)).mean(axis=1 - axis)
            places.add(int(np.argmax([steps[place::8].mean() for place in range(8)])))
        assert places == set(range(8))


def test_crops_and_whole_images_may_be_taken_in_turn_and_decoded_ones_stay_as_they_are(folder):
    dataset = HighResolutionDataset(
        dataroot_gt=folder / "a", scale=2, gt_size=16, degradation=load_degradation("old")
    )
    before = dataset[0]
    for seed in range(5):
        dataset.sample(0, np.random.default_rng(seed))
        assert dataset[0].lq.equal(before.lq)
    assert_array_equal(to_image(dataset[0].gt), read_image(folder / "a/2.png")[:36, :50])
    crops = [dataset.sample(1, np.random.default_rng(seed)).lq for seed in (0, 1, 0)]
    assert_array_equal(crops[0], crops[2])


def test_two_whole_images_of_one_name_are_refused_since_their_results_would_be_one_file(folder):
    shutil.copy(folder / "a/2.png", folder / "b/2.png")
    with pytest.raises(DataError, match=r"b.2\.png: has the same name as 2\.png"):
        HighResolutionDataset(dataroot_gt=folder, scale=2)
    assert len(HighResolutionDataset(dataroot_gt=folder, scale=2, gt_size=16)) == 4


def test_images_smaller_than_one_lq_pixel_are_named(tmp_path, caplog):
    write_image(tmp_path / "a.png", np.zeros((40, 3, 3), np.uint8))
    with pytest.raises(DataError, match=rf"^{tmp_path}/a\.png: has a side of less than 4 pixels"):
        HighResolutionDataset(dataroot_gt=tmp_path, scale=4)
    write_image(tmp_path / "b.png", np.zeros((4, 4, 3), np.uint8))
    assert len(HighResolutionDataset(dataroot_gt=tmp_path, scale=4)) == 1
    assert caplog.messages == [
        f"{tmp_path}: 1 of 2 images have a side of less than 4 pixels, one of lq, and are left out "
        f"({tmp_path}/a.png)"
    ]

import logging

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from srcx.data import HighResolutionDataset
from srcx.errors import DataError
from srcx.imaging.io import read_picture, write_picture
from srcx.imaging.resize import imresize
from srcx.imaging.tensors import to_image


@pytest.fixture
def folder(tmp_path, rng):
    for name, shape in {"a/2.png": (37, 50, 3), "a/10.png": (40, 40), "b/x.png": (20, 70, 3)}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write_picture(tmp_path / name, rng.integers(0, 256, shape, np.uint8))
    return tmp_path


def test_lq_is_matlabs_bicubic_of_the_picture_cut_to_a_multiple(folder):
    dataset = HighResolutionDataset(dataroot_gt=folder, scale=4)
    assert [pair.name for pair in dataset] == ["2", "10", "x"]
    cut = read_picture(folder / "a/2.png")[:36, :48]
    assert_array_equal(to_image(dataset[0].gt), cut)
    assert_array_equal(to_image(dataset[0].lq), imresize(cut, scale=1 / 4))


@pytest.mark.parametrize("scale", [2, 3, 4, 8])
def test_crops_are_aligned_with_the_small_picture_at_any_scale(folder, scale):
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


def test_pictures_smaller_than_a_crop_are_left_out_with_a_word(folder, caplog):
    with caplog.at_level(logging.WARNING):
        dataset = HighResolutionDataset(dataroot_gt=folder, scale=4, gt_size=36)
    assert len(dataset) == 2
    assert "1 of 3 pictures are smaller than a crop (gt_size 36) and left out" in caplog.text
    with pytest.raises(DataError, match="none of 3 pictures holds a crop of gt_size 96"):
        HighResolutionDataset(dataroot_gt=folder, scale=4, gt_size=96)


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
    assert "x.png: is not a picture" in message
    assert "none: this folder does not exist" in message


def test_an_empty_folder_is_an_error(tmp_path):
    with pytest.raises(DataError, match="there are no pictures in this folder or below; check the path"):
        HighResolutionDataset(dataroot_gt=tmp_path, scale=4)

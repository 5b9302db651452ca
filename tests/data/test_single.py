import pytest
from torch.testing import assert_close

from srcx.data import SingleImageDataset
from srcx.errors import DataError
from srcx.imaging.io import read_image
from srcx.imaging.tensors import to_tensor


def test_gives_images_without_ground_truth(pairs):
    dataset = SingleImageDataset(dataroot_lq=pairs["dataroot_lq"])
    assert len(dataset) == 5
    assert [image.name for image in dataset] == ["00x4", "01x4", "02x4", "03x4", "04x4"]
    assert dataset[2].gt is None
    assert_close(dataset[2].lq, to_tensor(read_image(pairs["dataroot_lq"] / "02x4.png")))
    assert dataset.describe() == "5 images, 0.0 megapixels, without ground truth"


def test_a_list_chooses_images(pairs, tmp_path):
    (tmp_path / "meta.txt").write_text("03x4.png\n")
    dataset = SingleImageDataset(
        dataroot_lq=pairs["dataroot_lq"], meta_info_file=tmp_path / "meta.txt", color="y"
    )
    assert [(image.name, image.lq.shape[1]) for image in dataset] == [("03x4", 1)]


def test_reads_lmdb(tmp_path, pairs, make_lmdb):
    make_lmdb(tmp_path / "x.lmdb", {"k": pairs["dataroot_lq"] / "00x4.png"})
    dataset = SingleImageDataset(dataroot_lq=tmp_path / "x.lmdb", io_backend="lmdb")
    assert dataset[0].lq.shape == (1, 3, 12, 15)


def test_lmdb_records_are_sorted_and_their_ends_are_looked_at(tmp_path, pairs, make_lmdb):
    files = {key: pairs["dataroot_lq"] / f"{key}x4.png" for key in ("02", "00", "01")}
    make_lmdb(tmp_path / "x.lmdb", files)
    dataset = SingleImageDataset(dataroot_lq=tmp_path / "x.lmdb", io_backend="lmdb")
    assert [image.name for image in dataset] == ["00", "01", "02"]
    files["02"].write_bytes(files["02"].read_bytes()[:-9])
    make_lmdb(tmp_path / "cut.lmdb", files)
    with pytest.raises(DataError, match=r"cut\.lmdb/02: is damaged or cut off"):
        SingleImageDataset(dataroot_lq=tmp_path / "cut.lmdb", io_backend="lmdb")


def test_unreadable_images_are_named_at_once(pairs):
    for name in ("00x4.png", "01x4.png"):
        (pairs["dataroot_lq"] / name).write_bytes(b"")
    with pytest.raises(DataError, match=r"(?s)2 problems.*00x4\.png.*01x4\.png"):
        SingleImageDataset(dataroot_lq=pairs["dataroot_lq"])

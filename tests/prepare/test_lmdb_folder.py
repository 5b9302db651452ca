from importlib.util import find_spec

import numpy as np
import pytest

from srcx.basicsr_compat.importing import open_basicsr
from srcx.data.stored import list_stored
from srcx.errors import DataError, OutputError, UsageError
from srcx.imaging import read_image, write_image
from srcx.prepare import lmdb_folder
from srcx.prepare.lmdb_folder import make_lmdb


def quiet(*_):
    """Ignore the progress."""


@pytest.fixture
def source(tmp_path, rng):
    folder = tmp_path / "images"
    folder.mkdir()
    for name, shape in (("0001x4.png", (12, 16, 3)), ("grey.png", (10, 9)), ("last.bmp", (8, 8, 3))):
        write_image(folder / name, rng.integers(0, 256, shape, np.uint8))
    return folder


def test_srcx_reads_back_the_pixels(source, tmp_path):
    assert make_lmdb(source, tmp_path / "a.lmdb", quiet).made == 3
    records = {one.name: one for one in list_stored(tmp_path / "a.lmdb", io_backend="lmdb")}
    assert list(records) == ["0001", "grey", "last"]
    assert np.array_equal(records["0001"].read(), read_image(source / "0001x4.png"))
    assert np.array_equal(records["grey"].read()[..., 1], read_image(source / "grey.png"))


def test_the_folder_is_laid_out_as_basicsr_s(source, tmp_path):
    make_lmdb(source, tmp_path / "a.lmdb", quiet)
    names = {path.name for path in (tmp_path / "a.lmdb").iterdir() if not path.name.startswith(".")}
    assert names == {"data.mdb", "lock.mdb", "meta_info.txt"}
    assert (tmp_path / "a.lmdb/meta_info.txt").read_text() == (
        "0001.png (12,16,3) 1\ngrey.png (10,9,1) 1\nlast.png (8,8,3) 1\n"
    )


@pytest.mark.skipif(find_spec("basicsr") is None, reason="needs BasicSR, which does not build on this Python")
def test_basicsr_s_dataset_reads_it(source, tmp_path):
    make_lmdb(source, tmp_path / "a.lmdb", quiet)
    dataset = open_basicsr("basicsr.data.single_image_dataset").SingleImageDataset(
        {"io_backend": {"type": "lmdb"}, "dataroot_lq": str(tmp_path / "a.lmdb")}
    )
    first = (dataset[0]["lq"].numpy().transpose(1, 2, 0) * 255).round().astype(np.uint8)
    assert np.array_equal(first, read_image(source / "0001x4.png"))


def test_a_finished_one_is_left_alone_and_another_is_refused(source, tmp_path, rng):
    make_lmdb(source, tmp_path / "a.lmdb", quiet)
    assert make_lmdb(source, tmp_path / "a.lmdb", quiet).skipped == 3
    write_image(source / "new.png", rng.integers(0, 256, (8, 8, 3), np.uint8))
    with pytest.raises(OutputError, match="exists already, made from other images"):
        make_lmdb(source, tmp_path / "a.lmdb", quiet)


def test_what_was_stopped_goes_on(source, tmp_path, monkeypatch):
    monkeypatch.setattr(lmdb_folder, "BATCH", 1)

    def stop(_, done, __):
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_lmdb(source, tmp_path / "a.lmdb", stop)
    assert not (tmp_path / "a.lmdb").exists()
    outcome = make_lmdb(source, tmp_path / "a.lmdb", quiet)
    assert (outcome.made, outcome.skipped) == (1, 2)
    assert len(list_stored(tmp_path / "a.lmdb", io_backend="lmdb")) == 3
    assert not list(tmp_path.glob(".a.lmdb*"))


def test_a_damaged_image_leaves_no_half_lmdb(source, tmp_path):
    (source / "grey.png").write_bytes(b"no")
    (problem,) = make_lmdb(source, tmp_path / "a.lmdb", quiet).problems
    assert "grey.png: is not an image" in problem
    assert not (tmp_path / "a.lmdb").exists()


def test_more_than_lmdb_s_own_room_fits(tmp_path, rng):
    (tmp_path / "large").mkdir()
    for name in "abc":
        write_image(tmp_path / "large" / f"{name}.png", rng.integers(0, 256, (1500, 1500, 3), np.uint8))
    make_lmdb(tmp_path / "large", tmp_path / "a.lmdb", quiet)  # 20 MB; the default map holds 10
    assert len([one.read() for one in list_stored(tmp_path / "a.lmdb", io_backend="lmdb")]) == 3


def test_names_that_cannot_be_keys_are_refused(source, tmp_path, rng):
    with pytest.raises(UsageError, match=r"ends in \.lmdb"):
        make_lmdb(source, tmp_path / "a", quiet)
    write_image(source / "two.parts.png", rng.integers(0, 256, (8, 8, 3), np.uint8))
    with pytest.raises(DataError, match=r"cannot be keys: two\.parts\.png"):
        make_lmdb(source, tmp_path / "a.lmdb", quiet)

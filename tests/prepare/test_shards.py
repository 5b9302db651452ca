import numpy as np
import pytest

from srcx.data import PairedImageDataset
from srcx.data.stored import list_stored
from srcx.errors import DataError, OutputError
from srcx.imaging import imresize, read_image, write_image
from srcx.prepare.shards import make_shards


def quiet(*_):
    """Ignore the progress."""


@pytest.fixture
def source(tmp_path, rng):
    """Five images in HR and their low resolution in LR."""
    for folder in ("HR", "LR"):
        (tmp_path / folder).mkdir()
    for number in range(5):
        image = rng.integers(0, 256, (16, 24, 3), np.uint8)
        write_image(tmp_path / f"HR/{number}.png", image)
        write_image(tmp_path / f"LR/{number}x4.bmp", imresize(image, scale=1 / 4))
    return tmp_path / "HR"


def made(source, **options):
    arguments = {"low": None, "per_shard": 2, "on_progress": quiet, **options}
    return make_shards(source, source.parent / "shards", **arguments)


def test_images_come_back_in_order(source, tmp_path):
    assert made(source).made == 5
    shards = sorted(path.name for path in (tmp_path / "shards").glob("*.tar"))
    assert shards == ["shard-000000.tar", "shard-000001.tar", "shard-000002.tar"]
    stored = list_stored(tmp_path / "shards", io_backend="webdataset")
    assert [one.name for one in stored] == ["0", "1", "2", "3", "4"]
    for one in stored:
        assert np.array_equal(one.read(), read_image(source / f"{one.name}.png"))


def test_pairs_are_read_as_those_of_the_folders(source, tmp_path):
    made(source, low=tmp_path / "LR")
    root = tmp_path / "shards"
    shards = PairedImageDataset(dataroot_gt=root, dataroot_lq=root, scale=4, io_backend="webdataset")
    folders = PairedImageDataset(
        dataroot_gt=source, dataroot_lq=tmp_path / "LR", scale=4, filename_tmpl="{}x4"
    )
    for one, other in zip(shards, folders, strict=True):
        assert (one.name, one.lq.tolist(), one.gt.tolist()) == (
            other.name, other.lq.tolist(), other.gt.tolist(),
        )  # fmt: skip


def test_what_was_stopped_goes_on_to_the_same_bytes(source, tmp_path):
    def stop(_, done, __):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        made(source, on_progress=stop)
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "shards").glob("*.tar")}
    assert len(before) == 2
    outcome = made(source)
    assert (outcome.made, outcome.skipped) == (1, 4)
    for name, changed in before.items():
        assert (tmp_path / "shards" / name).stat().st_mtime_ns == changed
    content = {path.name: path.read_bytes() for path in (tmp_path / "shards").glob("*.tar")}
    (tmp_path / "shards").rename(tmp_path / "first")
    made(source)
    assert {path.name: path.read_bytes() for path in (tmp_path / "shards").glob("*.tar")} == content


def test_other_images_or_settings_are_refused(source, tmp_path, rng):
    made(source)
    for options in ({"per_shard": 3}, {"low": tmp_path / "LR"}):
        with pytest.raises(OutputError, match="shards: was prepared "):
            made(source, **options)
    write_image(source / "new.png", rng.integers(0, 256, (8, 8, 3), np.uint8))
    with pytest.raises(OutputError, match="shards: was prepared "):
        made(source)


def test_what_cannot_be_a_shard_is_named_and_nothing_is_written(source, tmp_path):
    (tmp_path / "LR/3x4.bmp").unlink()
    with pytest.raises(DataError, match="LR: one side of these pairs is missing: 3; a shard holds whole"):
        made(source, low=tmp_path / "LR")
    (source / "1.png").write_bytes(b"")
    assert made(source).problems == [f"{source / '1.png'}: is empty (0 bytes); get a whole copy of the file"]
    (source / "1.png").rename(source / "a.b.png")
    with pytest.raises(DataError, match=r"names with a dot inside cannot be keys: a\.b\.png; rename"):
        made(source)
    assert not (tmp_path / "shards").exists()


@pytest.mark.parametrize("name", ["x2", "x4", "x4x4"])
def test_an_image_named_like_a_scale_keeps_a_name(source, tmp_path, name):
    (source / "3.png").rename(source / f"{name}.png")
    made(source)
    stored = list_stored(tmp_path / "shards", io_backend="webdataset")
    assert sorted(one.name for one in stored) == ["0", "1", "2", "4", name.removesuffix("x4") or name]

"""Two commands at once that write to one place: the second is refused, and the first is whole."""

from functools import partial

import numpy as np
import pytest
from skimage.data import astronaut

from srcx.config import load_degradation
from srcx.errors import OutputError
from srcx.imaging import imresize, read_image, write_image
from srcx.prepare import lmdb_folder, recipe
from srcx.prepare.align import align_folders
from srcx.prepare.images import make_degraded, make_low_resolution, make_sub_images
from srcx.prepare.lmdb_folder import make_lmdb
from srcx.prepare.shards import make_shards

REFUSED = "another process is writing to it|was prepared from other images"


def quiet(*_):
    """Ignore the progress."""


def align(lq, gt, out, on_progress):
    return list(align_folders(lq, gt, scale=2, out=out, on_progress=on_progress))


COMMANDS = {
    "lr": partial(make_low_resolution, scale=2, multiple=2, border="replicate", gt_out=None),
    "sub-images": partial(make_sub_images, crop_px=8, step_px=8, threshold_px=0),
    "degrade": partial(make_degraded, degradation=load_degradation("old"), name="old", scale=2, seed=0),
    "lmdb": make_lmdb,
    "shards": partial(make_shards, low=None, per_shard=1),
}


@pytest.fixture
def folders(tmp_path, rng):
    """Two folders with the same names and other pixels."""
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        for name in "abc":
            write_image(tmp_path / folder / f"{name}.png", rng.integers(0, 256, (16, 16, 3), np.uint8))
    return tmp_path / "one", tmp_path / "two"


def contents(folder):
    return {
        path.relative_to(folder): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "lock.mdb"
    }


@pytest.mark.parametrize("command", COMMANDS)
def test_the_second_command_is_refused_and_the_first_is_whole(folders, tmp_path, command):
    make, (one, two) = COMMANDS[command], folders
    refused = []

    def start_another(*_):
        for source in folders:
            with pytest.raises(OutputError, match=REFUSED) as error:
                make(source, tmp_path / "out.lmdb", on_progress=quiet)
            refused.append(error)

    assert make(one, tmp_path / "out.lmdb", on_progress=start_another).made == 3
    assert "another process is writing to it" in str(refused[0].value)  # the same command twice
    make(one, tmp_path / "alone.lmdb", on_progress=quiet)
    assert contents(tmp_path / "out.lmdb") == contents(tmp_path / "alone.lmdb")
    with pytest.raises(OutputError, match="from other images"):
        make(two, tmp_path / "out.lmdb", on_progress=quiet)


@pytest.mark.parametrize("command", COMMANDS)
def test_one_that_begins_and_ends_just_before_the_lock_is_seen(folders, tmp_path, command, monkeypatch):
    make, (one, two) = COMMANDS[command], folders
    hold_folder = recipe.hold_folder

    def late(*args, **options):
        monkeypatch.setattr(recipe, "hold_folder", hold_folder)
        monkeypatch.setattr(lmdb_folder, "hold_folder", hold_folder)
        make(one, tmp_path / "out.lmdb", on_progress=quiet)
        return hold_folder(*args, **options)

    monkeypatch.setattr(recipe, "hold_folder", late)
    monkeypatch.setattr(lmdb_folder, "hold_folder", late)
    with pytest.raises(OutputError, match="from other images"):
        make(two, tmp_path / "out.lmdb", on_progress=quiet)
    make(one, tmp_path / "alone.lmdb", on_progress=quiet)
    assert contents(tmp_path / "out.lmdb") == contents(tmp_path / "alone.lmdb")


def test_pairs_of_two_alignments_do_not_mix(tmp_path):
    for folder in ("lq", "gt"):
        (tmp_path / folder).mkdir()
    photo = astronaut()[:192, :192]
    for name in "ab":
        write_image(tmp_path / "lq" / f"{name}.png", imresize(photo, scale=0.5))
        write_image(tmp_path / "gt" / f"{name}.png", photo)
    refused = []

    def start_another(name, *_):
        with pytest.raises(OutputError, match=REFUSED) as error:
            align(tmp_path / "lq", tmp_path / "gt", tmp_path / "out", quiet)
        refused.append(error)

    align(tmp_path / "lq", tmp_path / "gt", tmp_path / "out", start_another)
    assert len(refused) == 2
    assert sorted(path.name for path in (tmp_path / "out").rglob("*")) == [
        "a.png", "a.png", "b.png", "b.png", "gt", "lq",
    ]  # fmt: skip
    assert read_image(tmp_path / "out/lq/a.png").shape[:2] == (96, 96)

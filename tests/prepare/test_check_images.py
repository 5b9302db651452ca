import errno
import os
import re
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage.data
from PIL import Image

from srcx.errors import DataError, OutputError
from srcx.imaging import imresize, write_image
from srcx.prepare.check_images import Finding, check_images, move
from srcx.progress import no_progress


@pytest.fixture
def folder(tmp_path):
    """One image of each kind, and a sound one."""
    place = tmp_path / "photos"
    (place / "more").mkdir(parents=True)
    astronaut, chelsea, coffee = (
        imresize(getattr(skimage.data, name)(), scale=0.5) for name in ("astronaut", "chelsea", "coffee")
    )
    rocket = imresize(skimage.data.rocket(), scale=0.5)
    write_image(place / "sound.png", astronaut)
    write_image(place / "more/copy.png", imresize(astronaut, scale=0.75))
    write_image(place / "blurred.png", cv2.GaussianBlur(chelsea, (0, 0), 2))
    write_image(place / "known.jpg", coffee, quality=40)
    height, width = rocket.shape[:2]
    small = Image.fromarray(imresize(rocket, size=(height // 3, width // 3)))
    write_image(place / "upscaled.png", np.asarray(small.resize((width, height), Image.Resampling.LANCZOS)))
    write_image(place / "flat.png", np.full((200, 200), 99, np.uint8))
    (place / "torn.png").write_bytes(b"")
    known = tmp_path / "sets/Known/HR"
    known.mkdir(parents=True)
    write_image(known / "1.png", skimage.data.coffee())
    return place


def kinds(found):
    return {(one.kind, one.path.name) for one in found}


def test_every_kind_is_found_and_nothing_is_changed(folder, tmp_path):
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    images, found = check_images(folder, [tmp_path / "sets"], no_progress)
    assert images == 7
    assert kinds(found) == {
        ("duplicate", "copy.png"),
        ("benchmark", "known.jpg"),
        ("damaged", "known.jpg"),
        ("blurred", "blurred.png"),
        ("upscaled", "upscaled.png"),
        ("flat", "flat.png"),
        ("unreadable", "torn.png"),
    }
    by_kind = {one.kind: one for one in found}
    assert by_kind["duplicate"].like == folder / "sound.png"
    assert by_kind["benchmark"].like == tmp_path / "sets/Known/HR/1.png"
    assert "JPEG blocks of about quality " in by_kind["damaged"].detail
    assert "is empty" in by_kind["unreadable"].detail
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_each_image_is_opened_once(folder, monkeypatch):
    (folder / "torn.png").unlink()
    opened, path_open = Counter(), Path.open

    def noted(path, *args, **others):
        opened[path.name] += path.is_relative_to(folder)
        return path_open(path, *args, **others)

    monkeypatch.setattr(Path, "open", noted)
    count, _ = check_images(folder, [], no_progress)
    assert [times for times in opened.values() if times] == [1] * count


def test_the_larger_of_two_is_kept_whatever_their_names(folder):
    (folder / "sound.png").rename(folder / "zzz.png")
    _, found = check_images(folder, [], no_progress)
    assert [one.path.name for one in found if one.kind == "duplicate"] == ["copy.png"]


def test_a_set_within_the_folder_is_not_compared_with_itself(folder):
    _, found = check_images(folder, [folder], no_progress)
    assert not [one for one in found if one.kind == "benchmark"]


def test_images_of_the_named_kinds_are_moved_to_the_same_places(folder, tmp_path):
    _, found = check_images(folder, [tmp_path / "sets"], no_progress)
    assert move(found, folder, tmp_path / "aside", ["duplicate", "damaged", "benchmark"]) == 2
    assert (tmp_path / "aside/more/copy.png").is_file()
    assert (tmp_path / "aside/known.jpg").is_file()
    assert not (folder / "more/copy.png").exists()
    assert (folder / "blurred.png").exists()


def test_nothing_is_moved_where_a_file_would_be_overwritten(folder, tmp_path):
    _, found = check_images(folder, [], no_progress)
    (tmp_path / "aside").mkdir()
    (tmp_path / "aside/torn.png").touch()
    with pytest.raises(OutputError, match=r"torn\.png: exists; no image was moved"):
        move(found, folder, tmp_path / "aside", ["unreadable", "duplicate"])
    assert (folder / "more/copy.png").exists()


def test_nothing_is_moved_where_a_folder_of_images_cannot_be_written(folder, tmp_path, monkeypatch):
    _, found = check_images(folder, [], no_progress)
    closed = folder / "more"  # root may write everywhere, so the mode alone would not do
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != closed)
    said = f"^{re.escape(str(closed))}: nothing can be moved out of this folder: permission denied; no image"
    with pytest.raises(OutputError, match=said):
        move(found, folder, tmp_path / "aside", ["unreadable", "duplicate"])
    assert (folder / "torn.png").exists()
    assert not (tmp_path / "aside").exists()


def test_a_link_that_is_moved_still_leads_to_its_image(tmp_path):
    (tmp_path / "photos/more").mkdir(parents=True)
    write_image(tmp_path / "photos/a.png", np.full((8, 8, 3), 99, np.uint8))
    link = tmp_path / "photos/more/b.png"
    link.symlink_to("../a.png")
    found, moved = [Finding("flat", link, "")], tmp_path / "aside/more/b.png"
    assert move(found, tmp_path / "photos", tmp_path / "aside", ["flat"]) == 1
    assert moved.resolve() == tmp_path / "photos/a.png"
    assert not link.is_symlink()
    moved.unlink()
    moved.symlink_to("not_there.png")
    link.symlink_to("../a.png")
    with pytest.raises(OutputError, match=r"b\.png: exists; no image was moved"):
        move(found, tmp_path / "photos", tmp_path / "aside", ["flat"])


def test_a_link_in_a_circle_is_unreadable_and_can_be_moved(tmp_path):
    (tmp_path / "photos").mkdir()
    write_image(tmp_path / "photos/a.png", np.full((8, 8, 3), 99, np.uint8))
    (tmp_path / "photos/circle.png").symlink_to("circle.png")
    images, found = check_images(tmp_path / "photos", [tmp_path / "photos"], no_progress)
    assert images == 2
    assert ("unreadable", "circle.png") in kinds(found)
    assert move(found, tmp_path / "photos", tmp_path / "aside", ["unreadable"]) == 1
    assert (tmp_path / "aside/circle.png").is_symlink()
    assert [path.name for path in (tmp_path / "photos").iterdir()] == ["a.png"]


def test_an_image_is_moved_whole_or_not_at_all_to_another_disk(tmp_path, monkeypatch):
    def other_disk(*_paths):
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    def full(_source, target, **_how):
        Path(target).write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    image, moved = tmp_path / "photos/a.png", tmp_path / "aside/a.png"
    image.parent.mkdir()
    image.write_bytes(b"whole")
    monkeypatch.setattr(os, "rename", other_disk)
    with monkeypatch.context() as patched:
        patched.setattr("shutil.copyfile", full)
        with pytest.raises(OutputError, match=r"a\.png: cannot be written: No space left on device"):
            move([Finding("flat", image, "")], image.parent, moved.parent, ["flat"])
    assert (list(moved.parent.iterdir()), image.read_bytes()) == ([], b"whole")
    assert move([Finding("flat", image, "")], image.parent, moved.parent, ["flat"]) == 1
    assert (moved.read_bytes(), list(image.parent.iterdir())) == (b"whole", [])


def test_nothing_is_moved_into_the_folder_that_is_checked(folder):
    _, found = check_images(folder, [], no_progress)
    for inside in (folder, folder / "aside"):
        with pytest.raises(OutputError, match="whose images are read; name a folder outside it"):
            move(found, folder, inside, ["unreadable", "duplicate"])
    assert (folder / "more/copy.png").exists()


def test_a_folder_without_images_is_an_error(tmp_path):
    with pytest.raises(DataError, match="there are no images"):
        check_images(tmp_path, [], no_progress)

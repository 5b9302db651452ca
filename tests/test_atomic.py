import errno
import os

import pytest

from srcx.atomic import atomic_path, check_folder, make_folder, real_path, remove_leftovers
from srcx.errors import OutputError


def write(path, text, error):
    with atomic_path(path) as temporary:
        temporary.write_text(text)
        raise error


def test_a_block_that_fails_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("before")
    with pytest.raises(RuntimeError):
        write(path, "half", RuntimeError())
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("a.txt", "before")]


@pytest.mark.parametrize(
    ("number", "fix"),
    [(errno.ENOSPC, "MiB are free there: free some disk space"), (errno.EACCES, "permiss")],
)
def test_what_the_system_refuses_is_one_sentence_with_the_fix(tmp_path, number, fix):
    with pytest.raises(OutputError, match=rf"a\.txt: cannot be written: .*; .*{fix}"):
        write(tmp_path / "a.txt", "half", OSError(number, os.strerror(number)))


def test_leftovers_of_killed_processes_are_removed_and_nothing_else(tmp_path):
    (tmp_path / "deep").mkdir()
    for name in (".a.1-abcdef.part.txt", "deep/.b.22-012345.part.state", "a.part.txt", ".hidden"):
        (tmp_path / name).write_text("")
    remove_leftovers(tmp_path)
    assert sorted(path.name for path in tmp_path.rglob("*")) == [".hidden", "a.part.txt", "deep"]


def test_a_name_as_long_as_the_file_system_takes_is_written(tmp_path):
    path = tmp_path / ("x" * 251 + ".txt")
    with atomic_path(path) as temporary:
        temporary.write_text("whole")
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    with (
        pytest.raises(OutputError, match="cannot be written: File name too long; choose a shorter name"),
        atomic_path(tmp_path / ("x" * 252 + ".txt")) as temporary,
    ):
        temporary.write_text("whole")


@pytest.mark.parametrize("make", ["a file", "a dangling link"])
@pytest.mark.parametrize("below", [".", "deep/folder"])
def test_what_is_in_the_place_of_a_folder_is_named(tmp_path, make, below):
    place = tmp_path / "notes"
    place.symlink_to("gone") if make == "a dangling link" else place.write_text("")
    with pytest.raises(OutputError, match=f"{place} is there and is no folder; choose another name"):
        make_folder(place / below)
    with pytest.raises(OutputError, match=f"{place} is there and is no folder; choose another name"):
        check_folder(place / below)


def test_a_folder_that_can_be_made_is_not_made_by_its_check(tmp_path, monkeypatch):
    check_folder(tmp_path / "new/deep")
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path)  # root may write anywhere
    with pytest.raises(OutputError, match="new/deep: cannot be written: permission denied"):
        check_folder(tmp_path / "new/deep")


def test_the_real_path_follows_links_and_ends_where_they_lead_in_a_circle(tmp_path):
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "circle").symlink_to("circle")
    assert real_path(tmp_path / "link") == tmp_path / "file"
    assert real_path(tmp_path / "circle") == tmp_path / "circle"

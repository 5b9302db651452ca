import pytest

from srcx import lock
from srcx.errors import OutputError
from srcx.lock import hold_folder


def test_a_folder_is_held_once_and_free_again_afterwards(tmp_path):
    folder = tmp_path / "new" / "a"
    refused = r"a: another process is writing to it; wait for it or stop it, then run this again$"
    for _ in range(2):
        with hold_folder(folder), hold_folder(tmp_path / "b"):
            with pytest.raises(OutputError, match=refused), hold_folder(folder):
                pass
            with pytest.raises(OutputError, match=refused), hold_folder(tmp_path / "b" / ".." / "new" / "a"):
                pass
    assert not list(folder.iterdir())


def test_an_error_of_the_block_frees_the_folder(tmp_path):
    with pytest.raises(ValueError, match="of the block"), hold_folder(tmp_path):
        raise ValueError("of the block")
    with hold_folder(tmp_path):
        pass


def test_where_the_operating_system_has_no_such_locks_the_work_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "fcntl", None)
    with hold_folder(tmp_path / "a"), hold_folder(tmp_path / "a"):
        assert (tmp_path / "a").is_dir()


def test_a_place_that_is_no_folder_is_one_sentence(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="is there and is no folder"), hold_folder(tmp_path / "file"):
        pass

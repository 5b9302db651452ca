import dataclasses
import hashlib
import io
import stat
import zipfile

import pytest

from srcx.benchmarks.fetch import fetch_set, unpack
from srcx.benchmarks.manifest import Archive, KnownSet
from srcx.errors import DataError, OutputError


def quiet(*_):
    """Ignore the progress."""


def packed(members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


@pytest.fixture
def archive(tmp_path):
    def write(members):
        (tmp_path / "a.zip").write_bytes(packed(members))
        return tmp_path / "a.zip"

    return write


def test_images_come_out_wherever_they_lie_in_it(archive, tmp_path):
    path = archive({"DIV2K/deep/0001.png": b"one", "0002.png": b"two", "readme.txt": b"no"})
    unpack(path, tmp_path / "out", ["0001.png", "0002.png"], quiet)
    assert {one.name: one.read_bytes() for one in (tmp_path / "out").iterdir()} == {
        "0001.png": b"one",
        "0002.png": b"two",
    }


@pytest.mark.parametrize(
    "name", ["../0001.png", "a/../../0001.png", "/etc/0001.png", "C:/0001.png", "..\\0001.png"]
)
def test_a_path_that_leads_out_is_refused(archive, tmp_path, name):
    with pytest.raises(DataError, match="leads out of it"):
        unpack(archive({name: b"x", "0001.png": b"y"}), tmp_path / "out", ["0001.png"], quiet)
    assert not (tmp_path / "out").exists()


def test_a_link_is_refused(archive, tmp_path):
    link = zipfile.ZipInfo("0001.png")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with pytest.raises(DataError, match=r"holds the link '0001\.png'"):
        unpack(archive({link: b"/etc/passwd"}), tmp_path / "out", ["0001.png"], quiet)


def test_an_absurd_size_is_refused(archive, tmp_path, monkeypatch):
    monkeypatch.setattr("srcx.benchmarks.fetch.MAX_UNPACKED_BYTES", 10)
    with pytest.raises(DataError, match="unpacks to 11 bytes"):
        unpack(archive({"0001.png": b"x" * 11}), tmp_path / "out", ["0001.png"], quiet)


def test_a_lacking_image_and_a_damaged_archive_are_reported(archive, tmp_path):
    with pytest.raises(DataError, match=r"lacks 1 image such as 0002.png"):
        unpack(archive({"0001.png": b"x"}), tmp_path / "out", ["0001.png", "0002.png"], quiet)
    (tmp_path / "b.zip").write_bytes(b"no zip at all")
    with pytest.raises(DataError, match="is not a complete zip file"):
        unpack(tmp_path / "b.zip", tmp_path / "out", ["0001.png"], quiet)


@pytest.fixture
def served(server):
    content = packed({f"Big_HR/000{number}.png": b"image" * number for number in (1, 2)})
    server.files["/Big_HR.zip"] = content
    one = Archive("Big_HR.zip", len(content), hashlib.sha256(content).hexdigest(), "Big_HR", 1, 2, "")
    return KnownSet("Big", "Big", "nobody", "none", server.url("/"), archives=(one,))


def test_an_archive_is_fetched_unpacked_and_thrown_away(served, server, loopback, tmp_path):
    assert fetch_set(served, tmp_path / "Big", quiet, wire=loopback) == []
    assert sorted(path.name for path in (tmp_path / "Big/Big_HR").iterdir()) == ["0001.png", "0002.png"]
    assert not list(tmp_path.rglob("*.zip"))
    assert fetch_set(served, tmp_path / "Big", quiet, wire=loopback) == []
    assert len(server.asked) == 1


def test_a_place_taken_by_a_file_is_one_error_before_the_archive_is_downloaded(
    served, server, loopback, tmp_path
):
    (tmp_path / "Big").touch()
    with pytest.raises(OutputError, match=r"cannot make this folder: .*Big is there and is no folder"):
        fetch_set(served, tmp_path / "Big", quiet, wire=loopback)
    assert server.asked == []
    assert [path.name for path in tmp_path.iterdir()] == ["Big"]


def test_an_archive_that_breaks_off_goes_on(served, server, loopback, tmp_path):
    server.cuts = [100, 0]
    (problem,) = fetch_set(served, tmp_path / "Big", quiet, wire=loopback)
    assert "broke off after 100 of" in problem
    server.asked.clear()
    assert fetch_set(served, tmp_path / "Big", quiet, wire=loopback) == []
    assert server.asked[0][1] == "bytes=100-"


def test_an_archive_is_thrown_away_even_if_the_next_does_not_come(served, loopback, tmp_path):
    absent = dataclasses.replace(served.archives[0], file="gone.zip", folder="Big_LR")
    known = dataclasses.replace(served, archives=(*served.archives, absent))
    (problem,) = fetch_set(known, tmp_path / "Big", quiet, wire=loopback)
    assert problem.endswith("gone.zip: the server answers 404 Not Found")
    assert (tmp_path / "Big/Big_HR/0001.png").exists()
    assert not list(tmp_path.rglob("*.zip"))


def test_another_archive_is_refused(served, loopback, tmp_path):
    other = dataclasses.replace(served.archives[0], sha256="0" * 64)
    (problem,) = fetch_set(
        dataclasses.replace(served, archives=(other,)), tmp_path / "Big", quiet, wire=loopback
    )
    assert "Big_HR.zip: expected the sha256 digest 000" in problem
    assert not (tmp_path / "Big").exists()

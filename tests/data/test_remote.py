"""Shards on a local server of S3's protocol."""

import errno
import tarfile
from collections.abc import Iterator

import numpy as np
import pytest

s3fs = pytest.importorskip("s3fs", reason="needs srcx[remote]")
moto_server = pytest.importorskip("moto.server", reason="needs moto[server]")

import fsspec  # noqa: E402

from srcx.data import HighResolutionDataset, PairedImageDataset, train_batches  # noqa: E402
from srcx.data import remote as module  # noqa: E402
from srcx.data.remote import RemoteShard  # noqa: E402
from srcx.data.shards import find_members, open_member  # noqa: E402
from srcx.errors import DataError, OutputError  # noqa: E402
from srcx.imaging import imresize, write_image  # noqa: E402


@pytest.fixture(scope="module")
def store() -> Iterator[str]:
    """The address of an object store, which the environment names too."""
    server = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "anyone")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "any")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        s3fs.S3FileSystem.clear_instance_cache()  # another test may have had another store
        fsspec.filesystem("s3").mkdir("films")
        yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(autouse=True)
def _impatient(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "WAIT_S", 0.01)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def shards(store, tmp_path, rng) -> str:
    """Four pairs in two shards, here in a folder and in the store; the address."""
    (tmp_path / "here").mkdir()
    fs = fsspec.filesystem("s3")
    for number in range(2):
        with tarfile.open(tmp_path / f"here/t-{number}.tar", "w") as archive:
            for key in (2 * number, 2 * number + 1):
                gt = imresize(rng.integers(0, 256, (6, 7, 3), np.uint8), size=(40, 48))
                for side, image in (("gt", gt), ("lq", imresize(gt, scale=0.25))):
                    write_image(tmp_path / "one.png", image)
                    archive.add(tmp_path / "one.png", f"{key}.{side}.png")
        fs.put(str(tmp_path / f"here/t-{number}.tar"), f"films/{tmp_path.name}/t-{number}.tar")
    return f"s3://films/{tmp_path.name}/t-{{0..1}}.tar"


class Noting:
    """A file system that notes what is asked of it, and fails where `failures` has something left."""

    def __init__(self, fs) -> None:
        self.fs = fs
        self.asked: list[str] = []
        self.failures: list[Exception] = []
        self.fails = ""  # the one request that fails; all where it is empty

    def __getattr__(self, name: str):
        self.asked.append(name)
        if self.failures and self.fails in ("", name):
            raise self.failures.pop()
        return getattr(self.fs, name)


@pytest.fixture
def noting(store, monkeypatch) -> Noting:
    """The store's file system as srcx sees it."""
    noting = Noting(fsspec.filesystem("s3"))
    monkeypatch.setattr(fsspec.core, "url_to_fs", lambda address, **_: (noting, address.partition("://")[2]))
    return noting


def no_room(_path):
    return type("Usage", (), {"total": 100, "free": 5})


@pytest.mark.parametrize("room", [True, False])
def test_pairs_at_an_address_are_those_of_a_disk(shards, tmp_path, monkeypatch, room):
    if not room:
        monkeypatch.setattr(module.shutil, "disk_usage", no_room)
    here = PairedImageDataset(
        dataroot_gt=tmp_path / "here", dataroot_lq=tmp_path / "here", scale=4, io_backend="webdataset"
    )
    far = PairedImageDataset(dataroot_gt=shards, dataroot_lq=shards, scale=4, io_backend="remote")
    assert [pair.name for pair in far] == [pair.name for pair in here] == ["0", "1", "2", "3"]
    for one, other in zip(here, far, strict=True):
        assert one.gt.equal(other.gt)
        assert one.lq.equal(other.lq)
    assert len(list((tmp_path / "cache").rglob("shard.tar"))) == (2 if room else 0)


def test_batches_are_those_of_a_disk_and_go_on_anywhere(shards, tmp_path):
    here = HighResolutionDataset(dataroot_gt=tmp_path / "here", scale=4, gt_size=16, io_backend="webdataset")
    far = HighResolutionDataset(dataroot_gt=shards, scale=4, gt_size=16, io_backend="remote", cache_mib=0)
    for start in (0, 5):
        expected = train_batches(here, batch_size=3, seed=1, start_iter=start)
        batches = train_batches(far, batch_size=3, seed=1, start_iter=start, workers=2)
        for _ in range(5):
            assert next(batches)["gt"].equal(next(expected)["gt"])
        batches.close()


def test_a_second_start_fetches_nothing(shards, noting):
    members = find_members(shards, "gt", remote=True)
    assert sorted(noting.asked) == ["get_file"] * 2 + ["info"] * 2
    noting.asked.clear()
    assert find_members(shards, "gt", remote=True) == members
    assert [open_member(member).read() for member in find_members(shards, "lq", remote=True)]
    assert noting.asked == ["info"] * 4


def test_without_a_copy_images_are_fetched_one_by_one_and_sizes_are_in_the_index(
    shards, tmp_path, noting, monkeypatch, caplog
):
    monkeypatch.setattr(module.shutil, "disk_usage", no_room)
    far = HighResolutionDataset(dataroot_gt=shards, scale=4, io_backend="remote", cache_mib=0)
    assert "no copy is kept" in caplog.text
    assert "cat_file" not in noting.asked
    far[1]
    assert noting.asked.count("cat_file") == 1
    member = find_members(shards, "gt", remote=True)[1]
    with tarfile.open(tmp_path / "here/t-0.tar") as archive:
        content = archive.extractfile("1.gt.png").read()
    assert open_member(member).read() == content
    assert member.pixels == (40, 48)


def test_a_shard_that_changed_is_fetched_again(shards, tmp_path):
    assert len(find_members(shards, "gt", remote=True)) == 4
    fsspec.filesystem("s3").copy(f"films/{tmp_path.name}/t-1.tar", f"films/{tmp_path.name}/t-0.tar")
    with pytest.raises(DataError, match="holds a second gt image of the key '2'"):
        find_members(shards, "gt", remote=True)


def test_requests_that_fail_for_a_while_are_repeated(shards, noting):
    noting.failures = [OSError("busy"), TimeoutError("slow"), ConnectionError("reset")]
    address = shards.replace("{0..1}", "1")
    assert len(find_members(address, "gt", remote=True)) == 2
    noting.failures = [OSError("busy")] * 4
    with pytest.raises(DataError, match=r"t-1\.tar: cannot be fetched: OSError: busy"):
        find_members(address, "gt", remote=True)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device"),
            "No space left on device; .* free some disk space",
        ),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "Disk quota exceeded; .* free some disk space"),
        (PermissionError(errno.EACCES, "Permission denied", "the copy"), "Permission denied; .*permissions"),
        (OSError(errno.EROFS, "Read-only file system", "the copy"), "Read-only file system; .*permissions"),
    ],
    ids=["full", "quota", "permission", "read-only"],
)
def test_a_disk_that_takes_no_copy_is_said_at_once(shards, noting, tmp_path, error, message):
    if error.filename:
        error.filename = str(RemoteShard(shards.replace("{0..1}", "1")).folder / ".1.part.tar")
    noting.failures = [error]
    noting.fails = "get_file"
    with pytest.raises(OutputError, match=rf"cache.*shard\.tar: cannot be written: {message}"):
        find_members(shards.replace("{0..1}", "1"), "gt", remote=True)
    assert noting.asked == ["info", "get_file"]


def test_a_damaged_shard_is_named_by_its_address_and_nothing_is_left(shards, tmp_path):
    address = shards.replace("{0..1}", "1")
    fsspec.filesystem("s3").pipe(address, b"x" * 700)
    with pytest.raises(DataError, match=f"^{address}: is no whole tar archive"):
        find_members(address, "gt", remote=True)
    assert [path.name for path in (tmp_path / "cache").rglob("*") if path.is_file()] == ["lock"]


def test_a_server_that_ignores_ranges_is_named(monkeypatch):
    monkeypatch.setattr(module.RemoteShard, "_try", lambda shard, work: b"x" * 700)
    with pytest.raises(
        DataError, match=r"t\.tar: expected 10 bytes from byte 512 on; got 700; the server must"
    ):
        module.RemoteShard("https://host/t.tar").read(512, 10)


def test_what_is_not_there_is_said(store):
    with pytest.raises(DataError, match=r"gone\.tar: this shard does not exist or may not be read"):
        find_members("s3://films/gone.tar", "gt", remote=True)


def test_https_reads_ranges(store, shards, tmp_path, monkeypatch):
    """By http, since the store has no certificate."""
    fsspec.filesystem("s3").chmod(f"films/{tmp_path.name}/t-0.tar", acl="public-read")
    address = f"{store}/films/{tmp_path.name}/t-0.tar"
    with pytest.raises(DataError, match="expected an address that begins with s3://"):
        find_members(address, "gt", remote=True)
    monkeypatch.setattr(module, "PROTOCOLS", (*module.PROTOCOLS, "http"))
    members = find_members(address, "gt", remote=True)
    assert [member.key for member in members] == ["0", "1"]
    whole = (tmp_path / "here/t-0.tar").read_bytes()
    shard = RemoteShard(address)
    shard.copy.unlink()
    for member in members:
        assert shard.read(member.start, member.size) == whole[member.start : member.start + member.size]


@pytest.mark.parametrize(
    ("address", "message"),
    [
        (
            "s3://films/{0..1}.tar",
            "nothing is fetched, .* write io_backend: {type: webdataset, remote: true}",
        ),
        ("pipe:rm -rf x.tar", "no command of 'pipe:' is run"),
    ],
)
def test_without_leave_nothing_is_fetched(address, message):
    with pytest.raises(DataError, match=message):
        find_members(address, "gt")


@pytest.mark.parametrize(
    "address",
    [
        "http://x/a.tar",
        "pipe:a.tar",
        "file:///a.tar",
        "simplecache::s3://x/a.tar",
        "s3:x/a.tar",
        "ftp://x/a.tar",
    ],
)
def test_other_kinds_of_addresses_are_refused(address):
    with pytest.raises(DataError, match="expected an address that begins with s3://"):
        find_members(address, "gt", remote=True)


def test_shards_are_named_not_listed():
    with pytest.raises(DataError, match=r"expected shards by their names, such as .*train-\{0000\.\.0146\}"):
        find_members("s3://films/all", "gt", remote=True)

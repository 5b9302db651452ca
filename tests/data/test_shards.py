import importlib.util
import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from srcx.data import HighResolutionDataset, PairedImageDataset, SingleImageDataset, train_batches
from srcx.data import shards as module
from srcx.data.shards import find_members, open_member
from srcx.data.stored import list_stored
from srcx.errors import DataError, ImageError


def write_shard(shard: Path, members: dict[str, bytes | tarfile.TarInfo], format=tarfile.PAX_FORMAT) -> None:
    """Members by name; one may be a header alone, and lie."""
    shard.parent.mkdir(exist_ok=True)
    with tarfile.open(shard, "w", format=format) as archive:
        for name, content in members.items():
            if isinstance(content, tarfile.TarInfo):
                archive.addfile(content)
            else:
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))


def entry(name: str, **fields) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    for field, value in fields.items():
        setattr(made, field, value)
    return made


@pytest.fixture
def files(tmp_path, make_pairs) -> dict[str, Path]:
    """Member names of pairs -> their files."""
    names = make_pairs(tmp_path, template="{}")
    sides = {"gt": tmp_path / "HR", "lq": tmp_path / "LR"}
    return {f"{name}.{side}.png": folder / f"{name}.png" for name in names for side, folder in sides.items()}


@pytest.fixture
def pair_shards(files, tmp_path) -> str:
    """Five pairs in two shards, with other members between; as a pattern."""
    content = {name: file.read_bytes() for name, file in files.items()}
    others = {"00.json": b"{}", "00.seg.png": b"not looked at", "README": b"", "__meta__": b""}
    split = list(content.items())
    write_shard(tmp_path / "shards/train-00.tar", {**others, **dict(split[:6])})
    write_shard(tmp_path / "shards/train-01.tar", dict(split[6:]))
    return f"{tmp_path}/shards/train-{{00..01}}.tar"


def test_pairs_of_shards_are_those_of_folders(pair_shards, tmp_path):
    folders = PairedImageDataset(dataroot_gt=tmp_path / "HR", dataroot_lq=tmp_path / "LR", scale=4)
    for root in (pair_shards, tmp_path / "shards"):
        shards = PairedImageDataset(dataroot_gt=root, dataroot_lq=root, scale=4, io_backend="webdataset")
        assert len(shards) == len(folders) == 5
        for file, member in zip(folders, shards, strict=True):
            assert file.name == member.name
            assert file.lq.equal(member.lq)
            assert file.gt.equal(member.gt)


def test_ground_truth_alone_and_low_resolution_alone(pair_shards, tmp_path):
    shards = HighResolutionDataset(dataroot_gt=pair_shards, scale=4, io_backend="webdataset")
    folder = HighResolutionDataset(dataroot_gt=tmp_path / "HR", scale=4)
    assert [one.gt.equal(other.gt) for one, other in zip(shards, folder, strict=True)] == [True] * 5
    low = SingleImageDataset(dataroot_lq=pair_shards, io_backend="webdataset")
    assert [pair.lq.shape for pair in low] == [pair.lq.shape for pair in folder]


def test_sides_may_be_in_shards_of_their_own_under_the_bare_key(files, tmp_path):
    for side in ("gt", "lq"):
        content = {f"./a/{name[:2]}.PNG": file.read_bytes() for name, file in files.items() if side in name}
        write_shard(tmp_path / f"{side}.tar", content, format=tarfile.GNU_FORMAT)
    pairs = PairedImageDataset(
        dataroot_gt=tmp_path / "gt.tar", dataroot_lq=tmp_path / "lq.tar", scale=4, io_backend="webdataset"
    )
    assert [pair.name for pair in pairs] == ["a/00", "a/01", "a/02", "a/03", "a/04"]


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_go_on_anywhere_as_those_of_a_folder_do(pair_shards, tmp_path, workers):
    shards = HighResolutionDataset(
        dataroot_gt=pair_shards, scale=4, gt_size=16, io_backend="webdataset", cache_mib=0
    )
    folder = HighResolutionDataset(dataroot_gt=tmp_path / "HR", scale=4, gt_size=16)
    expected = train_batches(folder, batch_size=3, seed=1)
    for start in (0, 7):
        batches = train_batches(shards, batch_size=3, seed=1, start_iter=start, workers=workers)
        for _ in range(7):
            assert next(batches)["gt"].equal(next(expected)["gt"])
        if workers:
            batches.close()


@pytest.mark.skipif(importlib.util.find_spec("webdataset") is None, reason="needs webdataset")
def test_shards_that_webdataset_writes_are_read_by_its_keys(files, tmp_path):
    import webdataset

    (tmp_path / "shards").mkdir()
    with webdataset.ShardWriter(f"{tmp_path}/shards/x-%06d.tar", maxcount=2, verbose=0) as writer:
        for name, file in files.items():
            if ".gt." in name:
                lq = files[name.replace("gt", "lq")]
                writer.write(
                    {"__key__": f"set.1/{name[:2]}", "gt.png": file.read_bytes(), "lq.png": lq.read_bytes()}
                )
    gts, lqs = (find_members(f"{tmp_path}/shards/x-{{000000..000002}}.tar", side) for side in ("gt", "lq"))
    assert [gt.key for gt in gts] == [f"set.1/{number:02d}" for number in range(5)]
    for gt, lq in zip(gts, lqs, strict=True):
        assert bytes_of(gt) == files[f"{gt.key[-2:]}.gt.png"].read_bytes()
        assert bytes_of(lq) == files[f"{lq.key[-2:]}.lq.png"].read_bytes()


@pytest.mark.skipif(importlib.util.find_spec("webdataset") is None, reason="needs webdataset")
@pytest.mark.parametrize("name", ["a.png", "a.gt.png", "b.c/a.x.y", "a", "b/a", "a.", ".a", "a.b/c"])
def test_names_are_split_as_webdataset_does(name):
    from webdataset.tariterators import base_plus_ext

    key, kind = base_plus_ext(name)
    assert module._parts(name) == ((name, "") if key is None else (key, kind))


def bytes_of(member) -> bytes:
    with open_member(member) as file:
        return file.read()


@pytest.mark.parametrize(
    "root",
    ["pipe:cat a.tar", "http://here/a.tar", "https://here/{0..1}.tar", "s3://bucket/a.tar", "file:a.tar"],
)
def test_addresses_are_refused_and_nothing_is_run_or_fetched(root, monkeypatch):
    def never(*_, **__):
        raise AssertionError("was called")

    for name in ("subprocess.Popen", "os.system", "socket.socket.connect"):
        monkeypatch.setattr(name, never)
    for kind, arguments in (
        (HighResolutionDataset, {"dataroot_gt": root, "scale": 4}),
        (PairedImageDataset, {"dataroot_gt": root, "dataroot_lq": root, "scale": 4}),
        (SingleImageDataset, {"dataroot_lq": root}),
    ):
        with pytest.raises(DataError, match="nothing is fetched, and no command of 'pipe:' is run"):
            kind(**arguments, io_backend="webdataset")


HUGE = module.MAX_IMAGE_BYTES + 1


@pytest.mark.parametrize(
    ("member", "said"),
    [
        (entry("../0.png"), r"the path '\.\./0\.png', which leads out of it"),
        (entry("a/../../0.png"), "which leads out of it"),
        (entry("/etc/0.png"), "which leads out of it"),
        (entry("C:\\0.png"), "which leads out of it"),
        (entry("..", type=tarfile.DIRTYPE), "which leads out of it"),
        (entry("0.png", type=tarfile.SYMTYPE, linkname="/etc/passwd"), "is a link, a device"),
        (entry("0.png", type=tarfile.LNKTYPE, linkname="../../x"), "is a link, a device"),
        (entry("0.txt", type=tarfile.CHRTYPE, devmajor=1, devminor=5), "is a link, a device"),
        (entry("0.png", type=tarfile.FIFOTYPE), "is a link, a device"),
        (entry("0.png", type=tarfile.GNUTYPE_SPARSE), "is a link, a device or a sparse file"),
        (entry("0.png", size=HUGE), f"says it is of {HUGE} bytes"),
        (entry("0.json", size=1 << 60), "is no whole tar archive"),
        (entry("0.png", pax_headers={"size": "-512"}), "says it is of -512 bytes|is no whole tar archive"),
        (entry("x" * 100_000), r"is no whole tar archive \(a header says it is of 10\d{4} bytes\)"),
    ],
)
def test_hostile_members_are_refused_whole_in_one_sentence(tmp_path, files, member, said):
    image = next(iter(files.values())).read_bytes()
    write_shard(tmp_path / "x.tar", {"1.png": image, "bad": member})
    with pytest.raises(DataError, match=said) as raised:
        list_stored(tmp_path / "x.tar", io_backend="webdataset")
    assert str(raised.value).startswith(f"{tmp_path / 'x.tar'}: ")
    assert "\n" not in str(raised.value)


def test_shards_that_are_cut_off_or_go_on_after_their_end_are_refused(tmp_path, files):
    image = next(iter(files.values())).read_bytes()
    shard = tmp_path / "x.tar"
    write_shard(shard, {"0.png": image, "1.png": image})
    whole = shard.read_bytes()
    ends = 2 * (512 + -(-len(image) // 512) * 512)
    assert len(list_stored(shard, io_backend="webdataset")) == 2
    for length in (0, 100, 512, ends // 2, ends // 2 + 512, ends - 1, ends):
        shard.write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"x\.tar: is no whole tar archive"):
            list_stored(shard, io_backend="webdataset")
    for more in (whole, b"x"):
        shard.write_bytes(whole + more)
        with pytest.raises(DataError, match=f"something else behind byte {ends}"):
            list_stored(shard, io_backend="webdataset")


@pytest.fixture(scope="module")
def small_shard(tmp_path_factory) -> Path:
    shard = tmp_path_factory.mktemp("small") / "x.tar"
    longer = entry("2.png", pax_headers={"comment": "x", "path": "y/" * 80 + "2.png"})
    write_shard(shard, {"0.png": b"0" * 600, "a/1.gt.png": b"1" * 20, "2": longer})
    return shard


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damage_of_any_kind_gives_members_inside_the_shard_or_one_sentence(small_shard, tmp_path, data):
    content = bytearray(small_shard.read_bytes()[:6000])
    places = st.integers(0, len(content) - 1)
    for place, value in data.draw(st.lists(st.tuples(places, st.integers(0, 255)), max_size=4)):
        content[place] = value
    header = 512 * data.draw(st.integers(0, 7))
    if data.draw(st.booleans()):  # a lie whose checksum is right
        start, stop = data.draw(st.sampled_from([(0, 100), (124, 136), (156, 157), (157, 257)]))
        content[header + start : header + stop] = data.draw(
            st.binary(min_size=stop - start, max_size=stop - start)
        )
        content[header + 148 : header + 156] = b" " * 8
        content[header + 148 : header + 156] = b"%06o\0 " % sum(content[header : header + 512])
    (tmp_path / "x.tar").write_bytes(content[: data.draw(st.integers(0, len(content)))])
    said, members = "", []
    try:
        members = find_members(tmp_path / "x.tar", "gt")
    except DataError as error:
        said = str(error)
    assert said.startswith(f"{tmp_path / 'x.tar'}: " if said else "")
    for member in members:
        assert 0 <= member.start <= member.start + member.size <= len(content)
        assert len(bytes_of(member)) == member.size


def test_two_images_of_one_key_are_named_with_their_shards(tmp_path):
    write_shard(tmp_path / "0.tar", {"0.png": b""})
    write_shard(tmp_path / "1.tar", {"0.gt.png": b""})
    (tmp_path / ".0.1234.part.tar").write_bytes(b"half a file")
    with pytest.raises(DataError, match=r"1\.tar: holds a second gt image of the key '0', .*0\.tar; a key"):
        find_members(tmp_path, "gt")
    assert [member.key for member in find_members(tmp_path, "lq")] == ["0"]


def test_missing_files_are_named(tmp_path, files):
    for root, said in (
        (f"{tmp_path}/x-{{0..2}}.tar", r"x-0\.tar: this shard does not exist"),
        (tmp_path, r"there are no shards \(\.tar\) in this folder"),
        (f"{tmp_path}/x-{{2..1}}.tar", "from the lower to the higher number"),
        (f"{tmp_path}/x-{{0..99999999}}.tar", "expected 1 to 1000000 shards"),
    ):
        with pytest.raises(DataError, match=said):
            list_stored(root, io_backend="webdataset")
    write_shard(tmp_path / "x.tar", {"0.txt": b"", "0.lq.png": b""})
    with pytest.raises(DataError, match=r"these shards hold no images called KEY\.png or KEY\.gt\.png"):
        list_stored(tmp_path / "x.tar", io_backend="webdataset")
    with pytest.raises(DataError, match=r"list\.txt: names files of a folder, and shards are read whole"):
        list_stored(tmp_path / "x.tar", io_backend="webdataset", meta_info_file="list.txt")


def test_damaged_images_are_called_by_shard_and_key(tmp_path, files):
    image = next(iter(files.values())).read_bytes()
    write_shard(tmp_path / "x.tar", {"0.png": image[:-20], "1.png": b"", "2.png": image})
    with pytest.raises(DataError) as raised:
        HighResolutionDataset(dataroot_gt=tmp_path / "x.tar", scale=4, io_backend="webdataset")
    assert f"{tmp_path}/x.tar/0: is damaged or cut off" in str(raised.value)
    assert f"{tmp_path}/x.tar/1: is empty" in str(raised.value)
    assert "/2:" not in str(raised.value)


def test_a_shard_that_goes_away_in_training_is_called_by_name(tmp_path, files):
    write_shard(tmp_path / "x.tar", {"0.png": next(iter(files.values())).read_bytes()})
    (stored,) = list_stored(tmp_path / "x.tar", io_backend="webdataset")
    assert_array_equal(stored.read(), stored.read())
    (tmp_path / "x.tar").unlink()
    with pytest.raises(ImageError, match=r"x\.tar/0: cannot be read: No such file"):
        stored.read()


def test_checking_a_image_reads_its_head_and_end_alone(tmp_path, rng, monkeypatch):
    from srcx.imaging import write_image

    write_image(tmp_path / "0.png", rng.integers(0, 256, (600, 600, 3), np.uint8))
    write_shard(tmp_path / "x.tar", {"0.png": (tmp_path / "0.png").read_bytes()})
    (stored,) = list_stored(tmp_path / "x.tar", io_backend="webdataset")
    read, whole = [], module._Part.readinto
    monkeypatch.setattr(
        module._Part, "readinto", lambda part, buffer: read.append(whole(part, buffer)) or read[-1]
    )
    assert stored.size() == (600, 600)
    assert sum(read) < 50_000 < stored.member.size

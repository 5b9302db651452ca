import dataclasses

import pytest

from srcx.benchmarks.fetch import GIVE_UP, fetch_set
from srcx.benchmarks.manifest import KnownFile
from srcx.benchmarks.verify import verify
from srcx.errors import OutputError


def quiet(*_):
    """Ignore the progress."""


@pytest.fixture
def served(server, published, tiny):
    """The known set at a server on loopback."""
    for path in published.iterdir():
        server.files[f"/data/{path.name}"] = path.read_bytes()
    return dataclasses.replace(tiny, url=server.url("/data/"))


def without_digests(known):
    images = [
        dataclasses.replace(one, hr=KnownFile(one.hr.file), lr=KnownFile(one.lr.file)) for one in known.images
    ]
    return dataclasses.replace(known, images=tuple(images))


def test_a_set_comes_whole_in_the_layout_benchmark_reads(served, loopback, tmp_path):
    calls = []
    place = tmp_path / "got" / "Tiny"
    assert fetch_set(served, place, lambda *a: calls.append(a), wire=loopback) == []
    assert verify(place, quiet).sentence == "Tiny: HR: the published files; LR x4: the published files"
    assert [done for _, done, _ in calls] == [1, 2, 3, 4, 5, 6]
    assert [path.name for path in place.parent.iterdir() if path.is_dir()] == ["Tiny"]


def test_what_is_there_is_not_fetched_again(served, server, loopback, tmp_path):
    fetch_set(served, tmp_path / "Tiny", quiet, wire=loopback)
    (tmp_path / "Tiny/HR/one.png").unlink()
    server.asked.clear()
    assert fetch_set(served, tmp_path / "Tiny", quiet, wire=loopback) == []
    assert [path for path, _, _ in server.asked] == ["/data/one_SRF_4_HR.png"]


def test_a_broken_fetch_goes_on_where_it_broke(served, server, loopback, tmp_path):
    content = server.files.pop("/data/two_SRF_4_LR.png")
    staging = tmp_path / ".Tiny.fetching"
    assert len(fetch_set(served, tmp_path / "Tiny", quiet, wire=loopback)) == 1
    assert not staging.exists(), "no bytes came"
    staging.mkdir()
    (staging / "twox4.png.part").write_bytes(content[:100])
    server.files["/data/two_SRF_4_LR.png"] = content
    server.asked.clear()
    assert fetch_set(served, tmp_path / "Tiny", quiet, wire=loopback) == []
    assert [asked[:2] for asked in server.asked] == [("/data/two_SRF_4_LR.png", "bytes=100-")]
    assert not staging.exists()


def test_every_file_that_is_not_the_published_one_is_named(served, server, loopback, tmp_path):
    for name in ("one_SRF_4_HR.png", "grey_SRF_4_LR.png"):
        server.files[f"/data/{name}"] = server.files[f"/data/{name}"][:-1] + b"!"
    problems = fetch_set(served, tmp_path / "Tiny", quiet, wire=loopback)
    assert len(problems) == 2
    assert "one_SRF_4_HR.png: expected the sha256 digest" in problems[0]
    assert "grey_SRF_4_LR.png: expected the sha256 digest" in problems[1]
    assert not (tmp_path / "Tiny/HR/one.png").exists()
    assert (tmp_path / "Tiny/HR/two.png").exists()


def test_a_file_of_the_user_s_is_left_alone(served, loopback, tmp_path):
    (tmp_path / "Tiny/HR").mkdir(parents=True)
    (tmp_path / "Tiny/HR/one.png").write_bytes(b"mine")
    (problem,) = fetch_set(served, tmp_path / "Tiny", quiet, wire=loopback)
    assert problem.endswith("HR/one.png: differs from the published file; remove it, then fetch it again")
    assert (tmp_path / "Tiny/HR/one.png").read_bytes() == b"mine"


@pytest.mark.parametrize("taken", ["Tiny", "Tiny/HR", "Tiny/LR_bicubic"])
def test_a_place_taken_by_a_file_is_one_error_before_anything_is_downloaded(
    served, server, loopback, tmp_path, taken
):
    sets = tmp_path / "sets"
    (sets / taken).parent.mkdir(parents=True)
    (sets / taken).touch()
    with pytest.raises(OutputError, match=rf"cannot make this folder: .*{taken} is there and is no folder"):
        fetch_set(served, sets / "Tiny", quiet, wire=loopback)
    assert server.asked == []
    assert [path.name for path in sets.iterdir()] == ["Tiny"]


def test_without_a_digest_only_a_whole_image_is_taken(served, server, loopback, tmp_path):
    known = without_digests(served)
    server.files["/data/two_SRF_4_HR.png"] = b"<html>not here</html>"
    (problem,) = fetch_set(known, tmp_path / "Tiny", quiet, wire=loopback)
    assert "two_SRF_4_HR.png: the downloaded file is not a complete image" in problem
    assert not (tmp_path / "Tiny/HR/two.png").exists()
    assert (tmp_path / "Tiny/HR/one.png").exists()


def test_a_bad_file_without_a_digest_is_asked_for_again(served, server, loopback, tmp_path):
    known, good = without_digests(served), server.files["/data/two_SRF_4_HR.png"]
    server.files["/data/two_SRF_4_HR.png"] = b"<html>not here</html>"
    fetch_set(known, tmp_path / "Tiny", quiet, wire=loopback)
    server.files["/data/two_SRF_4_HR.png"] = good
    assert fetch_set(known, tmp_path / "Tiny", quiet, wire=loopback) == []


def test_a_server_that_fails_is_not_asked_for_everything(served, server, loopback, tmp_path):
    many = dataclasses.replace(served, images=served.images * 20)
    server.files.clear()
    problems = fetch_set(many, tmp_path / "Tiny", quiet, wire=loopback)
    assert len(problems) == 1
    left = 120 - GIVE_UP
    assert problems[0].startswith(f"Tiny: stopped with {left} files left: {GIVE_UP} downloads failed; ")
    assert f"The first error: {served.url}" in problems[0]
    assert list(tmp_path.glob(".Tiny.fetching*")) == []
    assert len(server.asked) < 60


def test_only_https_is_asked(tiny, tmp_path):
    known = dataclasses.replace(tiny, url="http://127.0.0.1/")
    assert all(
        "expected an https address" in problem for problem in fetch_set(known, tmp_path / "Tiny", quiet)
    )

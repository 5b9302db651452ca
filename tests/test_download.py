import errno
import hashlib
import http.client
import ssl
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from srcx.digest import Digest
from srcx.download import Wire, download
from srcx.errors import DownloadError, OutputError

CONTENT = bytes(range(256)) * 4000  # a megabyte
SHA256 = Digest("sha256", hashlib.sha256(CONTENT).hexdigest())


def fetch(server: Any, target: Path, wire: Wire, **changes: object) -> Path:
    server.files.setdefault("/w.bin", CONTENT)
    arguments = {"digest": SHA256, "max_bytes": 2_000_000, "wire": wire} | changes
    return download(server.url("/w.bin"), target, **arguments)  # type: ignore[arg-type] # a dictionary of mixed types


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir() if not file.name.endswith(".lock"))


def test_a_whole_file_comes_and_progress_is_reported(server: Any, tmp_path: Path, loopback: Wire) -> None:
    calls: list[tuple[str, int, int]] = []
    target = tmp_path / "new" / "w.bin"
    server.files["/w.bin"] = content = bytes(2 << 20) + b"rest"
    changes = {"digest": None, "max_bytes": 3 << 20, "on_progress": lambda *call: calls.append(call)}
    fetch(server, target, loopback, **changes)
    assert target.read_bytes() == content
    assert (calls[0], calls[-1]) == (("MiB of w.bin", 1, 2), ("MiB of w.bin", 2, 2))
    assert names(target.parent) == ["w.bin"]


def test_a_file_that_is_there_is_not_fetched_again(server: Any, tmp_path: Path, loopback: Wire) -> None:
    fetch(server, tmp_path / "w.bin", loopback)
    fetch(server, tmp_path / "w.bin", loopback)
    assert len(server.asked) == 1


def test_another_file_in_its_place_is_replaced(server: Any, tmp_path: Path, loopback: Wire) -> None:
    (tmp_path / "w.bin").write_bytes(b"half a file from somewhere")
    assert fetch(server, tmp_path / "w.bin", loopback).read_bytes() == CONTENT


def test_a_broken_transfer_goes_on_where_it_broke(server: Any, tmp_path: Path, loopback: Wire) -> None:
    server.cuts = [300_000, 400_000]
    assert fetch(server, tmp_path / "w.bin", loopback).read_bytes() == CONTENT
    assert [wanted for _, wanted, _ in server.asked] == [None, "bytes=300000-", "bytes=700000-"]


def test_a_later_call_resumes_what_an_earlier_one_left(server: Any, tmp_path: Path, loopback: Wire) -> None:
    server.cuts = [100_000, 0]  # breaks off, then brings nothing at all
    with pytest.raises(DownloadError, match="broke off after 100000 of 1024000 bytes"):
        fetch(server, tmp_path / "w.bin", loopback)
    assert names(tmp_path) == ["w.bin.part"]
    server.asked.clear()
    assert fetch(server, tmp_path / "w.bin", loopback).read_bytes() == CONTENT
    assert server.asked[0][1] == "bytes=100000-"
    assert names(tmp_path) == ["w.bin"]


def test_a_server_that_cannot_resume_sends_it_all_again(server: Any, tmp_path: Path, loopback: Wire) -> None:
    server.cuts, server.takes_ranges = [300_000], False
    assert fetch(server, tmp_path / "w.bin", loopback).read_bytes() == CONTENT


@pytest.mark.parametrize("rubbish", [b"x" * 1000, CONTENT, CONTENT + b"more", CONTENT[:-1] + b"x"])
def test_a_damaged_part_file_is_replaced(server: Any, tmp_path: Path, loopback: Wire, rubbish: bytes) -> None:
    (tmp_path / "w.bin.part").write_bytes(rubbish)
    assert fetch(server, tmp_path / "w.bin", loopback).read_bytes() == CONTENT


def test_another_content_is_refused_and_not_saved(server: Any, tmp_path: Path, loopback: Wire) -> None:
    server.files["/w.bin"] = CONTENT[:-1] + b"!"
    with pytest.raises(DownloadError, match=f"expected the sha256 digest {SHA256.value}, got ") as error:
        fetch(server, tmp_path / "w.bin", loopback)
    assert "\n" not in str(error.value)
    assert names(tmp_path) == []


@pytest.mark.parametrize("says_length", [True, False])
def test_a_file_over_the_limit_is_refused(
    server: Any, tmp_path: Path, loopback: Wire, says_length: bool
) -> None:
    server.says_length = says_length
    with pytest.raises(DownloadError, match="expected at most 500000 bytes"):
        fetch(server, tmp_path / "w.bin", loopback, max_bytes=500_000)
    assert not (tmp_path / "w.bin").exists()
    part = tmp_path / "w.bin.part"
    assert not part.exists() or part.stat().st_size <= 500_000


def test_a_length_nobody_says_is_no_hindrance(server: Any, tmp_path: Path, loopback: Wire) -> None:
    server.says_length = False
    assert fetch(server, tmp_path / "w.bin", loopback).read_bytes() == CONTENT


def test_a_refusal_by_the_server_is_reported(server: Any, tmp_path: Path, loopback: Wire) -> None:
    with pytest.raises(DownloadError, match="the server answers 404"):
        download(server.url("/no"), tmp_path / "w.bin", digest=SHA256, max_bytes=10, wire=loopback)


def test_a_silent_server_does_not_hang_us(server: Any, tmp_path: Path) -> None:
    server.stalls_s = 0.6
    wire = Wire(plain_hosts=frozenset({"127.0.0.1"}), silence_s=0.2)
    with pytest.raises(DownloadError, match="does not answer"):
        fetch(server, tmp_path / "w.bin", wire)


def test_a_closed_port_is_reported(server: Any, tmp_path: Path, loopback: Wire) -> None:
    with pytest.raises(DownloadError, match="the connection to the server failed"):
        download("http://127.0.0.1:9/w.bin", tmp_path / "w.bin", digest=SHA256, max_bytes=10, wire=loopback)


@pytest.mark.parametrize("url", ["http://127.0.0.1/w", "ftp://example.org/w", "file:///etc/passwd", "w.bin"])
def test_only_https_is_asked(tmp_path: Path, url: str) -> None:
    with pytest.raises(DownloadError, match="expected an https address"):
        download(url, tmp_path / "w.bin", digest=SHA256, max_bytes=10)


@pytest.mark.parametrize(
    "where", ["http://localhost:1/w.bin", "file:///etc/hostname", "ftp://127.0.0.1/w.bin"]
)
def test_no_redirect_leads_off_https(server: Any, tmp_path: Path, loopback: Wire, where: str) -> None:
    server.redirects["/w.bin"] = where
    with pytest.raises(DownloadError, match=r"expected an https address|is not allowed"):
        fetch(server, tmp_path / "w.bin", loopback)
    assert names(tmp_path) == []


def test_a_redirect_among_admitted_addresses_is_followed(server: Any, tmp_path: Path, loopback: Wire) -> None:
    server.files["/there.bin"] = CONTENT
    server.redirects["/w.bin"] = server.url("/there.bin")
    assert fetch(server, tmp_path / "w.bin", loopback).read_bytes() == CONTENT


def test_two_at_once_fetch_it_once(server: Any, tmp_path: Path, loopback: Wire) -> None:
    server.stalls_s = 0.1
    threads = [threading.Thread(target=fetch, args=(server, tmp_path / "w.bin", loopback)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "w.bin").read_bytes() == CONTENT
    assert len(server.asked) == 1


def test_a_place_that_cannot_be_written_is_reported(server: Any, tmp_path: Path, loopback: Wire) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError):
        fetch(server, tmp_path / "file" / "w.bin", loopback)
    (tmp_path / "w.bin.part").mkdir()
    with pytest.raises(OutputError, match="cannot be written"):
        fetch(server, tmp_path / "w.bin", loopback)


BREAKS_OF_THE_NET = [
    ssl.SSLEOFError(8, "EOF occurred in violation of protocol"),
    ssl.SSLError(1, "[SSL: DECRYPTION_FAILED_OR_BAD_RECORD_MAC] decryption failed or bad record mac"),
    OSError(errno.EHOSTUNREACH, "No route to host"),
    OSError(errno.ENETDOWN, "Network is down"),
    ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"),
    TimeoutError("timed out"),
]


@pytest.mark.parametrize("error", BREAKS_OF_THE_NET, ids=lambda error: type(error).__name__)
def test_a_break_of_tls_or_the_net_is_retried_and_is_no_error_of_the_disk(
    server: Any, tmp_path: Path, loopback: Wire, error: OSError, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, breaks = http.client.HTTPResponse.read, [error]
    before: list[int] = []

    def read(self: Any, amount: int | None = None) -> bytes:
        content = real(self, 300_000)
        before.append(len(content))
        if len(before) == 2:
            raise breaks.pop()
        return content

    monkeypatch.setattr(http.client.HTTPResponse, "read", read)
    assert fetch(server, tmp_path / "w.bin", loopback).read_bytes() == CONTENT
    assert not breaks
    (tmp_path / "w.bin").unlink()
    monkeypatch.setattr(http.client.HTTPResponse, "read", lambda *_: (_ for _ in ()).throw(error))
    with pytest.raises(DownloadError, match=r"the (connection to the server failed|server does not answer)"):
        fetch(server, tmp_path / "w.bin", loopback)


def test_a_full_disk_is_an_error_of_the_disk(
    server: Any, tmp_path: Path, loopback: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full:
        def __enter__(self) -> "Full":
            return self

        def __exit__(self, *_: object) -> None: ...

        def write(self, content: bytes) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    real = Path.open
    monkeypatch.setattr(
        Path, "open", lambda self, mode="r", *args: Full() if mode == "wb" else real(self, mode, *args)
    )
    with pytest.raises(OutputError, match=r"w\.bin\.part: cannot be written: No space left on device"):
        fetch(server, tmp_path / "w.bin", loopback)
    assert len(server.asked) == 1


def test_git_s_digest_is_git_s(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"hello\n")
    assert Digest("git", "").of(tmp_path / "a") == "ce013625030ba8dba906f756967f9e9ca394464a"
    answer = subprocess.run(
        ["git", "hash-object", tmp_path / "a"], capture_output=True, text=True, check=False
    )
    if answer.returncode == 0:
        assert Digest("git", answer.stdout.strip()).matches(tmp_path / "a")


def test_a_file_whose_digest_nobody_knows_is_whole_by_its_length(
    server: Any, tmp_path: Path, loopback: Wire
) -> None:
    server.cuts = [300_000]
    assert fetch(server, tmp_path / "w.bin", loopback, digest=None).read_bytes() == CONTENT
    server.cuts = [1000, 0]
    with pytest.raises(DownloadError, match="broke off after 1000 of 1024000 bytes"):
        fetch(server, tmp_path / "other.bin", loopback, digest=None)
    assert not (tmp_path / "other.bin").exists()

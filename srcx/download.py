"""Download files over https: pinned digest, resumed after an interruption, written atomically."""

import contextlib
import http.client
import re
import ssl
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from filelock import FileLock, Timeout

from srcx.atomic import atomic_path, make_folder
from srcx.digest import Digest
from srcx.errors import DownloadError, OutputError
from srcx.progress import OnProgress

__all__ = ["Wire", "alone", "download"]

BREAKS = 4  # attempts to resume an interrupted transfer
MIB = 1 << 20


@dataclass(frozen=True)
class Wire:
    """Connection settings: https, certificates, login and timeout.

    Args:
        plain_hosts: Hosts that may be asked over http: pip's trusted hosts, or a test's own server.
        ca_file: Certificates to trust instead of the system's.
        login: Server (with its port, if any), name and password, for that server alone.
        silence_s: Longest time without an answer, in seconds.
    """

    plain_hosts: frozenset[str] = frozenset()
    ca_file: str | None = None
    login: tuple[str, str, str] | None = None
    silence_s: float = 20.0

    def open(self, url: str, headers: dict[str, str]) -> http.client.HTTPResponse:
        """Ask for `url`; a redirect may lead to https alone, and the password is for `url`'s server alone.

        Raises:
            DownloadError: the address, or one that it leads to, is not https.
            OSError: the connection fails (urllib's errors are OSErrors).
        """
        self.check(url)
        context = ssl.create_default_context(cafile=self.ca_file)
        handlers: list[urllib.request.BaseHandler] = [
            urllib.request.HTTPSHandler(context=context),
            _Redirects(self),
        ]
        if self.login and urllib.parse.urlsplit(url).netloc == self.login[0]:
            passwords = urllib.request.HTTPPasswordMgrWithPriorAuth()
            passwords.add_password(None, url, *self.login[1:], is_authenticated=True)
            handlers.append(urllib.request.HTTPBasicAuthHandler(passwords))
        request = urllib.request.Request(url, headers={"User-Agent": "srcx", **headers})
        answer = urllib.request.build_opener(*handlers).open(request, timeout=self.silence_s)
        assert isinstance(answer, http.client.HTTPResponse)
        return answer

    def check(self, url: str) -> None:
        """Raise DownloadError unless `url` is one that may be asked for."""
        parts = urllib.parse.urlsplit(url)
        if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in self.plain_hosts):
            raise DownloadError(f"{url}: expected an https address, got one of kind '{parts.scheme}'")


class _Redirects(urllib.request.HTTPRedirectHandler):
    def __init__(self, wire: Wire) -> None:
        self.wire = wire

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        self.wire.check(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def download(
    url: str,
    target: Path,
    *,
    digest: Digest | None,
    max_bytes: int,
    on_progress: OnProgress | None = None,
    wire: Wire | None = None,
) -> Path:
    """Fetch `url` into the file `target`, unless it is there already.

    After an interruption the data stay beside it in a `.part` file, and the next call resumes from there. The
    file gets its name only when it is complete and its digest is right. Processes that want the same file
    wait for the one that downloads it.

    Args:
        url: An https address.
        target: The file to be.
        digest: What the file must be; None where nobody knows, and then only the length is checked.
        max_bytes: No file larger than this is taken.
        on_progress: Called after each chunk with the MiB fetched and the MiB of the whole file.
        wire: Connection settings; by default only https is allowed.

    Returns:
        `target`.

    Raises:
        DownloadError: the connection to the server fails, or the file has another digest.
        OutputError: the file cannot be written.
    """
    make_folder(target.parent)
    part = target.with_name(f"{target.name}.part")
    with alone(target):
        if target.exists() and (digest is None or digest.matches(target)):
            return target
        resumed = _size(part) > 0
        got = _fetch(url, part, digest, max_bytes, on_progress, wire or Wire())
        if (
            digest and got != digest.value and resumed
        ):  # what was there may have been the start of another file
            got = _fetch(url, part, digest, max_bytes, on_progress, wire or Wire())
        if digest and got != digest.value:
            raise DownloadError(
                f"{url}: expected the {digest.kind} digest {digest.value}, got {got}, which is another file"
            )
        with atomic_path(target) as temporary:
            part.replace(temporary)
    return target


@contextlib.contextmanager
def alone(target: Path) -> Iterator[None]:
    """Let one process at a time make `target`; the lock is let go when its process ends, however it ends."""
    try:
        with FileLock(target.with_name(f".{target.name}.lock"), timeout=3600):
            yield
    except Timeout as error:
        raise DownloadError(f"{target}: another process has been fetching it for an hour") from error
    except OSError as error:
        raise _cannot_be_written(target, error) from error


def _fetch(
    url: str, part: Path, digest: Digest | None, max_bytes: int, on_progress: OnProgress | None, wire: Wire
) -> str:
    """Bring `part` to its full length and return its digest, if one is expected; a wrong one is thrown away.

    A break in the transfer that came after some new bytes allows another try.
    """
    for attempt in range(BREAKS):
        before = _size(part)
        try:
            _append(url, part, max_bytes, on_progress, wire)
            break
        except urllib.error.HTTPError as error:
            error.close()
            if error.code != 416 or before == 0:
                raise DownloadError(f"{url}: the server answers {error.code} {error.reason}") from error
            part.unlink()  # longer than the file, so no part of it
        except (http.client.HTTPException, OSError) as error:
            # urllib's, TLS' and the network's errors are OSErrors; the disk's come as OutputError.
            if _size(part) <= before or attempt == BREAKS - 1:
                raise DownloadError(f"{url}: {_reason(error)}") from error
    if digest is None:
        return ""
    got = digest.of(part)
    if got != digest.value:
        part.unlink()
    return got


def _append(url: str, part: Path, max_bytes: int, on_progress: OnProgress | None, wire: Wire) -> None:
    name, done = part.name.removesuffix(".part"), _size(part)
    with wire.open(url, {"Range": f"bytes={done}-"} if done else {}) as answer:
        if answer.status != 206:
            done = 0  # the whole file comes, whatever was asked for
        elif not re.match(rf"bytes {done}-", answer.headers.get("Content-Range", "")):
            raise http.client.HTTPException("it sends another range of bytes than asked for")
        length = answer.headers.get("Content-Length", "")
        total = done + int(length) if length.isdigit() else None
        _check_bytes(url, total or 0, max_bytes)
        with _written(part), part.open("ab" if done else "wb") as file:
            while chunk := _read(answer):
                done += len(chunk)
                _check_bytes(url, done, max_bytes)
                file.write(chunk)
                if on_progress:
                    on_progress(f"MiB of {name}", done // MIB, (total or done) // MIB)
    if total is not None and done < total:
        raise ConnectionError(f"the connection broke off after {done} of {total} bytes")


class _Break(ConnectionError):
    """The transfer broke; this is not an error of the disk."""


def _read(answer: http.client.HTTPResponse) -> bytes:
    try:
        return answer.read(MIB)
    except OSError as error:
        raise _Break(str(error)) from error


@contextlib.contextmanager
def _written(path: Path) -> Iterator[None]:
    """Turn an error of the disk into an OutputError; a break of the transfer comes through."""
    try:
        yield
    except _Break:
        raise
    except OSError as error:
        raise _cannot_be_written(path, error) from error


def _cannot_be_written(path: Path, error: OSError) -> OutputError:
    reason = error.strerror or error
    return OutputError(f"{path}: cannot be written: {reason}; free disk space or fix the permissions")


def _check_bytes(url: str, count: int, max_bytes: int) -> None:
    if count > max_bytes:
        raise DownloadError(f"{url}: expected at most {max_bytes} bytes, got {count} or more")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _reason(error: Exception) -> str:
    """Return the reason of a failed request in a few words; urllib wraps the system's reason."""
    cause = error.__cause__ if isinstance(error, _Break) else error
    reason = getattr(cause, "reason", None) or cause
    if isinstance(reason, TimeoutError):
        return "the server does not answer"
    return f"the connection to the server failed ({getattr(reason, 'strerror', None) or reason})"

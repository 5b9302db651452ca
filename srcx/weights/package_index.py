"""A source package from the package index that pip uses here, as a file: nothing in it is built or run.

`pip download` would run the package's build script to learn its dependencies, so the index is read here, by
the simple repository API (PEP 503), at the places that pip's own settings name.
"""

import ast
import dataclasses
import html.parser
import http.client
import re
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from srcx.digest import Digest
from srcx.download import Wire, download
from srcx.errors import DownloadError
from srcx.progress import OnProgress

__all__ = ["fetch_source_package"]

DEFAULT_INDEX = "https://pypi.org/simple"
MAX_PAGE_BYTES = 4 << 20


def fetch_source_package(
    project: str,
    file_name: str,
    folder: Path,
    *,
    digest: Digest,
    max_bytes: int,
    on_progress: OnProgress | None = None,
) -> Path:
    """Fetch one file of `project` from pip's folders and indexes, in pip's order.

    Args:
        project: Its name on the index.
        file_name: The file wanted, such as "project-1.0.tar.gz".
        folder: Where a downloaded file is put.
        digest: What the file must be; what the index says about it is not believed.
        max_bytes: No file larger than this is taken.
        on_progress: Called after each chunk with the MiB fetched and the MiB of the whole file.

    Returns:
        The file: in `folder`, or where pip's settings have it on this machine.

    Raises:
        DownloadError: no place has it; the text gives each one's reason.
    """
    settings = _pip_settings()
    wire = Wire(
        plain_hosts=frozenset(host.split(":")[0] for host in settings.get("trusted-host", "").split()),
        ca_file=settings.get("cert"),
    )
    reasons = []
    for place in _places(settings):
        try:
            link, its_wire = _find_link(place, project, file_name, wire)
            local = _local_path(link)
            if local is None:
                target = folder / file_name
                return download(
                    link, target, digest=digest, max_bytes=max_bytes, on_progress=on_progress, wire=its_wire
                )
            if local.is_file() and digest.matches(local):
                return local
            why = (
                f"is another file, by its {digest.kind} digest"
                if local.is_file()
                else "there is no such file"
            )
            reasons.append(f"{link}: {why}")
        except DownloadError as error:
            reasons.append(str(error))
    raise DownloadError("; ".join(reasons) or f"{file_name}: pip's settings name no index and no folder")


def _pip_settings() -> dict[str, str]:
    """Return pip's settings from its files and the environment; empty without pip."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return {}
    settings: dict[str, dict[str, str]] = {"global": {}, "download": {}, ":env:": {}}
    for section, name, value in re.findall(
        r"^(global|download|:env:)\.([\w-]+)=(.*)$", answer.stdout, re.MULTILINE
    ):
        settings[section][name] = str(ast.literal_eval(value))
    return settings["global"] | settings["download"] | settings[":env:"]


def _places(settings: dict[str, str]) -> list[str]:
    """Folders first, as they cost nothing; then indexes."""
    folders = settings.get("find-links", "").split()
    if settings.get("no-index", "").lower() in ("1", "true", "yes", "on"):
        return folders
    indexes = [settings.get("index-url", DEFAULT_INDEX), *settings.get("extra-index-url", "").split()]
    return folders + [f"{index.rstrip('/')}/" for index in indexes]


def _find_link(place: str, project: str, file_name: str, wire: Wire) -> tuple[str, Wire]:
    """Return the address of the file at one place, and the connection settings for it."""
    folder = _local_path(place)
    if folder is not None and (folder / file_name).is_file():
        return (folder / file_name).resolve().as_uri(), wire
    page, wire = _without_password(f"{place}{project}/" if place.endswith("/") else place, wire)
    parser = _Links()
    parser.feed(_read_page(page, wire))
    for link in parser.links:
        address = urllib.parse.urldefrag(urllib.parse.urljoin(page, link)).url
        if urllib.parse.unquote(address.rsplit("/", 1)[-1]) == file_name:
            return address, wire
    raise DownloadError(f"{page}: has no {file_name}")


def _read_page(page: str, wire: Wire) -> str:
    local = _local_path(page)
    try:
        if local is not None:
            index = local / "index.html" if local.is_dir() else local
            return index.read_text(errors="replace") if index.is_file() else ""
        with wire.open(page, {"Accept": "text/html"}) as answer:
            return answer.read(MAX_PAGE_BYTES).decode(errors="replace")
    except urllib.error.HTTPError as error:
        error.close()
        raise DownloadError(f"{page}: the server answers {error.code} {error.reason}") from error
    except (OSError, http.client.HTTPException) as error:
        raise DownloadError(f"{page}: cannot be read ({getattr(error, 'reason', None) or error})") from error


def _without_password(url: str, wire: Wire) -> tuple[str, Wire]:
    """An index address may hold a name and a password; they go into the wire and out of every message."""
    parts = urllib.parse.urlsplit(url)
    if not parts.username:
        return url, wire
    server = parts.netloc.rpartition("@")[2]
    login = server, urllib.parse.unquote(parts.username), urllib.parse.unquote(parts.password or "")
    return parts._replace(netloc=server).geturl(), dataclasses.replace(wire, login=login)


def _local_path(place: str) -> Path | None:
    """Return the path of a folder or a file:// address; None for a web address."""
    parts = urllib.parse.urlsplit(place)
    if parts.scheme == "file":
        return Path(urllib.request.url2pathname(parts.path))
    return None if "://" in place else Path(place)


class _Links(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [value for name, value in attrs if tag == "a" and name == "href" and value]

"""How a server may be asked for a file: https alone, a limit on silence, no redirect off https."""

import http.client
import ssl
import urllib.parse
import urllib.request
from dataclasses import dataclass
from typing import IO

from srcx.errors import DownloadError

__all__ = ["Wire"]


@dataclass(frozen=True)
class Wire:
    """A way to reach servers.

    Args:
        plain_hosts: Hosts that may be asked over http: those pip is told to trust, or a test's own server.
        ca_file: Certificates to trust instead of the system's.
        login: Server (with its port, if any), name and password, for that server alone.
        silence_s: How long a server may say nothing, in seconds.
    """

    plain_hosts: frozenset[str] = frozenset()
    ca_file: str | None = None
    login: tuple[str, str, str] | None = None
    silence_s: float = 20.0

    def open(self, url: str, headers: dict[str, str]) -> http.client.HTTPResponse:
        """Ask for `url`; a redirect may lead to https alone, and the password is for `url`'s server alone.

        Raises:
            DownloadError: the address, or one that it leads to, is not https.
            OSError: the server cannot be reached (urllib's errors are OSErrors).
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

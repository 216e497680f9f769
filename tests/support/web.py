"""A web server on the loopback interface, which can be told to behave as real ones do."""

from __future__ import annotations

import contextlib
import dataclasses
import http.server
import re
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support.loopback import HOST, running


@dataclasses.dataclass
class Web:
    """A running server.

    Attributes:
      url: Its address.
      files: Path, with the slash, to content; or the URL that it redirects to.
      ranges: Whether it gives parts of files.
      head: Whether it knows HEAD.
      length: Whether it tells how long an answer is.
      encoding: What it says that its files are compressed by.
      cut: How many more answers end in the middle.
      requests: Method, path and range of each request so far.
      secrets: What it was sent of credentials.
    """

    url: str = ""
    files: dict[str, bytes | str] = dataclasses.field(default_factory=dict)
    ranges: bool = True
    head: bool = True
    length: bool = True
    encoding: str = ""
    cut: int = 0
    requests: list[tuple[str, str, str]] = dataclasses.field(default_factory=list)
    secrets: list[str] = dataclasses.field(default_factory=list)


def _handler(web: Web) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            if web.head:
                self._answer(with_content=False)
            else:
                self._plain(405)

        def do_GET(self) -> None:
            self._answer(with_content=True)

        def _plain(self, status: int, **headers: str) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def _answer(self, with_content: bool) -> None:
            web.requests.append((self.command, self.path, self.headers.get("Range", "")))
            web.secrets += [self.headers[name] for name in ("Authorization", "Cookie") if name in self.headers]
            content = web.files.get(self.path.partition("?")[0])
            if content is None:
                self._plain(404)
                return
            if isinstance(content, str):
                self._plain(302, Location=content)
                return
            wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", "")) if web.ranges else None
            part = content
            if wanted:
                first, last = int(wanted[1]), min(int(wanted[2]), len(content) - 1)
                if first >= len(content):
                    self._plain(416)
                    return
                part = content[first : last + 1]
            self.send_response(206 if wanted else 200)
            if wanted:
                self.send_header("Content-Range", f"bytes {first}-{last}/{len(content)}")
            if web.ranges:
                self.send_header("Accept-Ranges", "bytes")
            self.send_header("ETag", f'"{hash(content)}"')
            self.send_header("Set-Cookie", "secret=1")
            if web.encoding:
                self.send_header("Content-Encoding", web.encoding)
            if web.length:
                self.send_header("Content-Length", str(len(part)))
            else:
                self.send_header("Connection", "close")
                self.close_connection = True
            self.end_headers()
            if with_content:
                if web.cut:
                    web.cut -= 1
                    self.wfile.write(part[: len(part) // 2])
                    self.close_connection = True
                else:
                    self.wfile.write(part)

        def log_message(self, *_: Any) -> None:
            """Logs nothing."""

    return Handler


@contextlib.contextmanager
def serve_web(files: dict[str, bytes | str], certificate: Path | None = None) -> Iterator[Web]:
    """Serves files for the duration of the block; by https with a certificate and its key in one file."""
    web = Web(files=files)
    server = http.server.ThreadingHTTPServer((HOST, 0), _handler(web))
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    with running(server) as address:
        web.url = f"{'https' if certificate else 'http'}://{address}"
        yield web

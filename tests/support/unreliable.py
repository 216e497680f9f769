"""A local proxy that fails a share of the requests, in the ways that object stores and networks fail."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import random
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from tests.support.loopback import HOST, running

FAULTS = ("unavailable", "busy", "reset before", "reset after", "truncated")
DELAY_SECONDS = 0.05


class UnreliableProxy:
    """A proxy in front of a server.

    Attributes:
      url: Its address.
      outcomes: The number of requests so far for each outcome: a fault, or ``passed``.
    """

    def __init__(self, upstream: str, share: float, seed: int) -> None:
        self.outcomes: Counter[str] = Counter()
        self._upstream, self._share = urlsplit(upstream), share
        self._random, self._lock = random.Random(seed), threading.Lock()
        proxy = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                proxy._handle(self)

            do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = do_HEAD = handle_any  # noqa: N815

            def log_message(self, *_: Any) -> None:
                """Logs nothing."""

        self.server = http.server.ThreadingHTTPServer((HOST, 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://{HOST}:{self.server.server_address[1]}"

    def _draw_outcome(self) -> str:
        with self._lock:
            outcome = self._random.choice(FAULTS) if self._random.random() < self._share else "passed"
            delayed = self._random.random() < self._share
            self.outcomes[outcome] += 1
        if delayed:
            time.sleep(DELAY_SECONDS)
        return outcome

    def _handle(self, request: http.server.BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        outcome = self._draw_outcome()
        if outcome == "reset before":
            _reset(request)
            return
        if outcome in ("unavailable", "busy"):
            request.send_response(503 if outcome == "unavailable" else 429)
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        status, headers, content = self._forward(request, body)
        if outcome == "reset after":
            _reset(request)
            return
        request.send_response(status)
        for name, value in headers:
            if name.lower() not in ("connection", "content-length", "date", "server", "transfer-encoding"):
                request.send_header(name, value)
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        if request.command == "HEAD":
            return
        if outcome == "truncated" and len(content) > 1:
            request.wfile.write(content[: len(content) // 2])
            request.wfile.flush()
            _reset(request)
            return
        request.wfile.write(content)

    def _forward(
        self, request: http.server.BaseHTTPRequestHandler, body: bytes
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        connection = http.client.HTTPConnection(HOST, self._upstream.port, timeout=60)
        forwarded = {name: value for name, value in request.headers.items() if name.lower() != "connection"}
        with contextlib.closing(connection):
            connection.request(request.command, request.path, body or None, forwarded)
            response = connection.getresponse()
            return response.status, response.getheaders(), response.read()


def _reset(request: http.server.BaseHTTPRequestHandler) -> None:
    """Closes the connection with a reset (SO_LINGER of 0 seconds)."""
    request.close_connection = True
    with contextlib.suppress(OSError):
        request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        request.connection.close()


@contextlib.contextmanager
def unreliable(upstream: str, share: float, seed: int = 0) -> Iterator[UnreliableProxy]:
    """A proxy in front of ``upstream`` that fails ``share`` of the requests, for the duration of the block."""
    proxy = UnreliableProxy(upstream, share, seed)
    with running(proxy.server):
        yield proxy

"""An HTTP server on the loopback interface that behaves like TF Hub."""

from __future__ import annotations

import contextlib
import http.server
import io
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support.loopback import HOST, running


def archive(folder: Path) -> bytes:
    """The .tar.gz of a model's directory, with its files at the top level."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for path in sorted(folder.iterdir()):
            tar.add(path, path.name)
    return buffer.getvalue()


@contextlib.contextmanager
def serve_hub(models: dict[str, bytes | str]) -> Iterator[tuple[str, list[str]]]:
    """Serves models by path: bytes as an archive, text as the gs:// URL of an uncompressed model.

    Yields:
      The server's address, and the list of requests so far.
    """
    requests: list[str] = []

    class Hub(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requests.append(self.path)
            path, _, query = self.path.partition("?")
            model = models.get(path)
            if isinstance(model, bytes) and query == "tf-hub-format=compressed":
                self._respond(200, "application/x-tar", model)
            elif isinstance(model, str) and query == "tf-hub-format=uncompressed":
                self._respond(303, "text/plain", model.encode())
            else:
                self._respond(404, "text/plain", b"no such model")

        def _respond(self, status: int, kind: str, content: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            """Logs nothing."""

    with running(http.server.ThreadingHTTPServer((HOST, 0), Hub)) as address:
        yield f"http://{address}", requests

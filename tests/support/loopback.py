"""HTTP servers on the loopback interface."""

from __future__ import annotations

import contextlib
import http.server
import sys
import threading
from collections.abc import Iterator
from typing import Any

HOST = "127.0.0.1"


@contextlib.contextmanager
def running(server: http.server.HTTPServer) -> Iterator[str]:
    """Runs a server in a separate thread for the duration of the block, then closes it.

    Yields:
      Its host and port, as in a URL.
    """
    report_error = server.handle_error

    def handle_error(request: Any, address: Any) -> None:
        """Ignores clients that close the connection early, as some tests do on purpose."""
        if not isinstance(sys.exception(), ConnectionError):
            report_error(request, address)

    server.handle_error = handle_error  # type: ignore[method-assign]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"{HOST}:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

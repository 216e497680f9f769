"""Servers on the loopback interface, for as long as a test wants them."""

from __future__ import annotations

import contextlib
import http.server
import threading
from collections.abc import Iterator

HOST = "127.0.0.1"


@contextlib.contextmanager
def running(server: http.server.HTTPServer) -> Iterator[str]:
    """Has a server answer in a thread of its own as long as the block lasts, and closes it then.

    Yields:
      Its host and port, as they stand in a URL.
    """
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"{HOST}:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

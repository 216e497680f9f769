"""Beam's portability layer on this machine: its job service and a worker pool, each in a separate process."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

_TIMEOUT_SECONDS = 60


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_until_open(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _TIMEOUT_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    raise RuntimeError(f"nothing listens on port {port}")


@contextlib.contextmanager
def _serving(module: str, flag: str, logs: Path) -> Iterator[int]:
    """Runs a Beam module as a process and yields the port that it listens on."""
    port = _free_port()
    # The pool starts its workers as `python`, which must be this one.
    environment = {**os.environ, "PATH": f"{os.path.dirname(sys.executable)}{os.pathsep}{os.environ['PATH']}"}
    with (logs / f"{module}.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", module, flag, str(port)], env=environment, stdout=log, stderr=log
        )
        try:
            _wait_until_open(port, process)
            yield port
        finally:
            process.terminate()
            process.wait()


@contextlib.contextmanager
def worker_pool(logs: Path) -> Iterator[list[str]]:
    """Runs a worker pool for the duration of the block and yields the Beam options that use it."""
    with _serving("apache_beam.runners.worker.worker_pool_main", "--service_port", logs) as port:
        yield ["--environment_type=EXTERNAL", f"--environment_config=localhost:{port}"]


@contextlib.contextmanager
def portable_runner(logs: Path) -> Iterator[list[str]]:
    """Runs the portability layer for the duration of the block and yields the Beam options that use it."""
    job_service = _serving("apache_beam.runners.portability.local_job_service_main", "--port", logs)
    with job_service as port, worker_pool(logs) as pool:
        yield ["--runner=PortableRunner", f"--job_endpoint=localhost:{port}", *pool]

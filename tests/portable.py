"""Beam's portability layer on this machine: its job service and a pool of workers, each a process of its own."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

_MODULES = "apache_beam.runners.portability.local_job_service_main", "apache_beam.runners.worker.worker_pool_main"
_PATIENCE_SECONDS = 60


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_until_open(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    raise RuntimeError(f"nothing answers at port {port}")


@contextlib.contextmanager
def portable_runner(logs: Path) -> Iterator[list[str]]:
    """The options of Beam's with which a run goes through the portability layer, as long as the block lasts."""
    job_port, pool_port = _free_port(), _free_port()
    # The pool starts its workers as `python`, whichever comes first.
    environment = {**os.environ, "PATH": f"{os.path.dirname(sys.executable)}{os.pathsep}{os.environ['PATH']}"}
    arguments = ["--port", str(job_port)], ["--service_port", str(pool_port)]
    with contextlib.ExitStack() as stack:
        for module, options, port in zip(_MODULES, arguments, (job_port, pool_port), strict=True):
            log = stack.enter_context((logs / f"{module}.log").open("wb"))
            process = subprocess.Popen(
                [sys.executable, "-m", module, *options], env=environment, stdout=log, stderr=log
            )
            stack.callback(process.wait)
            stack.callback(process.terminate)
            _wait_until_open(port, process)
        yield [
            "--runner=PortableRunner",
            f"--job_endpoint=localhost:{job_port}",
            "--environment_type=EXTERNAL",
            f"--environment_config=localhost:{pool_port}",
        ]

"""Compares reading from an object store, with every response delayed, with reading from local disk.

python -m benchmarks.object_store [--milliseconds 50] serves the small photographs as a bucket on the loopback interface
from a separate process that delays each response. It runs the job from the bucket and from disk in turn, at two numbers
of images. The rate is the marginal rate, which excludes startup and the lookup of credentials. The store shares the
cores with the job, so it does as little work as possible: it responds from memory, in one thread.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import shutil
import statistics
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import psutil

from benchmarks.photographs import make_photographs

LOW, HIGH = 600, 2400


class Store(asyncio.Protocol):
    """Responds to downloads of gs://photographs/NAME, requests for the bucket and metadata server requests only."""

    def __init__(self, objects: Mapping[str, bytes], seconds: float) -> None:
        self._objects, self._seconds = objects, seconds
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._send = cast(asyncio.Transport, transport).write

    def data_received(self, data: bytes) -> None:
        *requests, self._received = (self._received + data).split(b"\r\n\r\n")
        for request in requests:
            path = urllib.parse.unquote(request.split(b" ", 2)[1].partition(b"?")[0].decode())
            if "/photographs" in path:
                response = self._objects.get(path.rpartition("/")[2]) or _response(b'{"name": "photographs"}')
                asyncio.get_running_loop().call_later(self._seconds, self._send, response)
            else:
                self._send(_response(_metadata(path).encode()))


def serve(root: str, seconds: float, port: Any) -> None:
    """Serves the files in a directory, delays each response, and stores the port in ``port``."""
    objects = {path.name: _response(path.read_bytes()) for path in Path(root).iterdir()}

    async def run() -> None:
        server = await asyncio.get_running_loop().create_server(lambda: Store(objects, seconds), "127.0.0.1", 0)
        port.value = server.sockets[0].getsockname()[1]
        await server.serve_forever()

    asyncio.run(run())


def _response(content: bytes) -> bytes:
    content_type = b"application/json" if content.startswith(b"{") else b"text/plain"
    header = b"HTTP/1.1 200 OK\r\nMetadata-Flavor: Google\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n"
    return header % (content_type, len(content)) + content


def _metadata(path: str) -> str:
    if path.endswith("/token"):
        return json.dumps({"access_token": "token", "expires_in": 3600, "token_type": "Bearer"})
    if path.endswith("/universe-domain"):
        return "googleapis.com"
    return json.dumps({"email": "tester@example.com", "scopes": [], "aliases": []})


def seconds(manifest: Path, output: Path, environment: dict[str, str]) -> float:
    """The seconds of a run, without loading the model."""
    shutil.rmtree(output, ignore_errors=True)
    command = [sys.executable, "-m", "beam_job", "extract", "--json", "--input", str(manifest), "--output", str(output)]
    process = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, **environment})
    extract_seconds: float = json.loads(process.stdout)["extract_seconds"]
    return extract_seconds


def _cpu_seconds(server: multiprocessing.Process) -> float:
    times = psutil.Process(server.pid).cpu_times()
    return float(times.user + times.system)


def main() -> None:
    """Measures the rates and prints them."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--work", default="build/bench")
    parser.add_argument("--milliseconds", type=float, default=50)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    work = Path(args.work).resolve()
    images = [path for path, _ in make_photographs(work, "small")]
    sources = {"disk": "{path}", "store": "gs://photographs/{name}"}
    for source, template in sources.items():
        uris = [template.format(path=path, name=path.name) for path in images]
        for count in (LOW, HIGH):
            rows = (f"{uris[number % len(uris)]},{number}\n" for number in range(count))
            (work / f"{source}-{count}.csv").write_text("uri,id\n" + "".join(rows))
    port = multiprocessing.Value("i", 0)
    server = multiprocessing.Process(target=serve, args=(str(work / "small"), args.milliseconds / 1000, port))
    server.start()
    try:
        while not port.value:
            time.sleep(0.01)
        address = f"127.0.0.1:{port.value}"
        environment = {
            "STORAGE_EMULATOR_HOST": f"http://{address}",
            "GCE_METADATA_HOST": address,
            "GCE_METADATA_IP": address,
            "GOOGLE_CLOUD_PROJECT": "benchmark",
        }
        rates: dict[str, list[float]] = {source: [] for source in sources}
        cpu_start = _cpu_seconds(server)
        for _ in range(args.rounds):
            for source, source_rates in rates.items():
                low, high = (
                    seconds(work / f"{source}-{count}.csv", work / "output", environment) for count in (LOW, HIGH)
                )
                source_rates.append((HIGH - LOW) / (high - low))
        milliseconds = (_cpu_seconds(server) - cpu_start) * 1000 / (args.rounds * (LOW + HIGH))
    finally:
        server.terminate()
    for source, source_rates in rates.items():
        rounded = [round(rate, 1) for rate in source_rates]
        print(f"{source:6} {statistics.median(source_rates):7.1f} images/s  {rounded}")
    print(f"the store itself took {milliseconds:.2f} ms of CPU time per object")
    print(f"store / disk {statistics.median(rates['store']) / statistics.median(rates['disk']):.3f}")


if __name__ == "__main__":
    main()

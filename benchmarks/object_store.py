"""Reading from an object store: the rate with every request delayed, beside the rate from local disk.

python -m benchmarks.object_store [--milliseconds 50] serves the small photographs as a bucket on the loopback interface
in a process of its own, each answer delayed, and runs the job from there and from disk in turn, at two counts:
the rate is what more images cost, without the start and the look for credentials. The store shares the cores with the
job, so it does as little as it can: it answers from memory, in one thread.
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
    """Answers downloads of gs://photographs/NAME, questions for the bucket and the metadata server's, nothing else."""

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
                answer = self._objects.get(path.rpartition("/")[2]) or _answer(b'{"name": "photographs"}')
                asyncio.get_running_loop().call_later(self._seconds, self._send, answer)
            else:
                self._send(_answer(_metadata(path).encode()))


def serve(root: str, seconds: float, port: Any) -> None:
    """Serves the files in a directory, each answer delayed; ``port`` is told where."""
    objects = {path.name: _answer(path.read_bytes()) for path in Path(root).iterdir()}

    async def run() -> None:
        server = await asyncio.get_running_loop().create_server(lambda: Store(objects, seconds), "127.0.0.1", 0)
        port.value = server.sockets[0].getsockname()[1]
        await server.serve_forever()

    asyncio.run(run())


def _answer(content: bytes) -> bytes:
    kind = b"application/json" if content.startswith(b"{") else b"text/plain"
    head = b"HTTP/1.1 200 OK\r\nMetadata-Flavor: Google\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n"
    return head % (kind, len(content)) + content


def _metadata(path: str) -> str:
    if path.endswith("/token"):
        return json.dumps({"access_token": "token", "expires_in": 3600, "token_type": "Bearer"})
    if path.endswith("/universe-domain"):
        return "googleapis.com"
    return json.dumps({"email": "tester@example.com", "scopes": [], "aliases": []})


def seconds(manifest: Path, output: Path, environment: dict[str, str]) -> float:
    """Seconds of a run, without the loading of the model."""
    shutil.rmtree(output, ignore_errors=True)
    command = [sys.executable, "-m", "beam_job", "extract", "--json", "--input", str(manifest), "--output", str(output)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, **environment})
    found: float = json.loads(done.stdout)["extract_seconds"]
    return found


def _busy_seconds(server: multiprocessing.Process) -> float:
    times = psutil.Process(server.pid).cpu_times()
    return float(times.user + times.system)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--work", default="build/bench")
    parser.add_argument("--milliseconds", type=float, default=50)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    work = Path(given.work).resolve()
    images = [path for path, _ in make_photographs(work, "small")]
    places = {"disk": "{path}", "store": "gs://photographs/{name}"}
    for place, form in places.items():
        uris = [form.format(path=path, name=path.name) for path in images]
        for count in (LOW, HIGH):
            rows = (f"{uris[number % len(uris)]},{number}\n" for number in range(count))
            (work / f"{place}-{count}.csv").write_text("uri,id\n" + "".join(rows))
    port = multiprocessing.Value("i", 0)
    server = multiprocessing.Process(target=serve, args=(str(work / "small"), given.milliseconds / 1000, port))
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
        rates: dict[str, list[float]] = {place: [] for place in places}
        begun = _busy_seconds(server)
        for _ in range(given.rounds):
            for place, found in rates.items():
                low, high = (
                    seconds(work / f"{place}-{count}.csv", work / "output", environment) for count in (LOW, HIGH)
                )
                found.append((HIGH - LOW) / (high - low))
        milliseconds = (_busy_seconds(server) - begun) * 1000 / (given.rounds * (LOW + HIGH))
    finally:
        server.terminate()
    for place, found in rates.items():
        print(f"{place:6} {statistics.median(found):7.1f} images/s  {[round(value, 1) for value in found]}")
    print(f"the store itself took {milliseconds:.2f} ms of a core for each object")
    print(f"store / disk {statistics.median(rates['store']) / statistics.median(rates['disk']):.3f}")


if __name__ == "__main__":
    main()

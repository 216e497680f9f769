"""Compares loose files and containers, on a local disk and in an object store that delays every response.

python -m benchmarks.object_store [--milliseconds 50] serves the small photographs, and the same ones in tar and Parquet
files, as a bucket on the loopback interface from a separate process that delays each response. It runs the job on each
in turn, at two numbers of images. The rate is the marginal rate, which excludes startup and the lookup of credentials.
The store shares the cores with the job, so it does as little work as possible: it responds from memory, in one thread.
It counts requests and bytes of the containers.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import multiprocessing
import os
import re
import shutil
import statistics
import subprocess
import sys
import tarfile
import time
import urllib.parse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import psutil
import pyarrow as pa
from pyarrow import parquet

from benchmarks.photographs import make_photographs

LOW, HIGH = 600, 2400
IN_A_CONTAINER = 300
KINDS = ("files", "tar", "parquet")
_RANGE = re.compile(rb"[Rr]ange: bytes=(\d+)-(\d+)")


class Store(asyncio.Protocol):
    """Responds to downloads of gs://photographs/NAME, or of a range of it, listings, and metadata requests only."""

    def __init__(self, objects: Mapping[str, bytes], seconds: float, counts: Any) -> None:
        self._objects, self._seconds, self._counts = objects, seconds, counts
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._send = cast(asyncio.Transport, transport).write

    def data_received(self, data: bytes) -> None:
        *requests, self._received = (self._received + data).split(b"\r\n\r\n")
        for request in requests:
            url = urllib.parse.urlsplit(request.split(b" ", 2)[1].decode())
            path = urllib.parse.unquote(url.path)
            if "/photographs" in path:
                response = self._respond(path.rpartition("/")[2], urllib.parse.parse_qs(url.query), request)
                asyncio.get_running_loop().call_later(self._seconds, self._send, response)
            else:
                self._send(_response(_metadata(path).encode()))

    def _respond(self, name: str, query: Mapping[str, list[str]], request: bytes) -> bytes:
        content = self._objects.get(name)
        if content is None:
            prefix = query.get("prefix", [""])[0]
            found = [name for name in sorted(self._objects) if name.startswith(prefix)] if "prefix" in query else []
            items = [{"name": name, "size": str(len(self._objects[name])), "generation": "1"} for name in found]
            return _response(json.dumps({"name": "photographs", "items": items}).encode())
        part = _RANGE.search(request)
        if part is None:
            return _response(content)
        first, last = map(int, part.groups())
        self._counts[0] += 1
        self._counts[1] += min(last + 1, len(content)) - first
        return _response(content[first : last + 1], b"206 Partial Content")


def serve(roots: Sequence[str], seconds: float, port: Any, counts: Any) -> None:
    """Serves the files in some directories, delays each response, and stores the port in ``port``."""
    objects = {path.name: path.read_bytes() for root in roots for path in Path(root).iterdir()}

    async def run() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Store(objects, seconds, counts), "127.0.0.1", 0)
        port.value = server.sockets[0].getsockname()[1]
        await server.serve_forever()

    asyncio.run(run())


def _response(content: bytes, status: bytes = b"200 OK") -> bytes:
    content_type = b"application/json" if content.startswith(b"{") else b"text/plain"
    header = b"HTTP/1.1 %b\r\nMetadata-Flavor: Google\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n"
    return header % (status, content_type, len(content)) + content


def _metadata(path: str) -> str:
    if path.endswith("/token"):
        return json.dumps({"access_token": "token", "expires_in": 3600, "token_type": "Bearer"})
    if path.endswith("/universe-domain"):
        return "googleapis.com"
    return json.dumps({"email": "tester@example.com", "scopes": [], "aliases": []})


def make_containers(work: Path, images: list[Path], count: int) -> Path:
    """A directory of tar and Parquet files with ``count`` images in all, which are made again where they repeat."""
    folder = work / f"containers-{count}"
    if folder.exists():
        return folder
    folder.mkdir()
    contents = [path.read_bytes() for path in images]
    for number in range(count // IN_A_CONTAINER):
        places = range(number * IN_A_CONTAINER, (number + 1) * IN_A_CONTAINER)
        with tarfile.open(folder / f"{number:04d}.tar", "w") as archive:
            for place in places:
                info = tarfile.TarInfo(f"{place:06d}.jpg")
                info.size = len(contents[place % len(contents)])
                archive.addfile(info, io.BytesIO(contents[place % len(contents)]))
        table = pa.table(
            {"image": [{"bytes": contents[place % len(contents)], "path": f"{place}.jpg"} for place in places]}
        )
        parquet.write_table(table, folder / f"{number:04d}.parquet", row_group_size=100)
    return folder


def inputs(work: Path, images: list[Path], containers: Path, count: int) -> dict[tuple[str, str], str]:
    """Kind and place to the input with ``count`` images."""
    found = {}
    places = {"disk": f"{images[0].parent}/", "store": "gs://photographs/"}
    for place, root in places.items():
        manifest = work / f"{place}-{count}.csv"
        rows = (f"{root}{images[number % len(images)].name},{number}\n" for number in range(count))
        manifest.write_text("uri,id\n" + "".join(rows))
        found["files", place] = str(manifest)
        root = f"{containers}/" if place == "disk" else root
        for kind in KINDS[1:]:
            found[kind, place] = f"{root}{{0000..{count // IN_A_CONTAINER - 1:04d}}}.{kind}"
    return found


def seconds(source: str, output: Path, environment: dict[str, str]) -> float:
    """The seconds of a run, without loading the model."""
    shutil.rmtree(output, ignore_errors=True)
    command = [sys.executable, "-m", "beam_job", "extract", "--json", "--input", source, "--output", str(output)]
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
    parser.add_argument("--high", type=int, default=HIGH, help="the higher number of images, a multiple of 300")
    args = parser.parse_args()
    work = Path(args.work).resolve()
    work.mkdir(parents=True, exist_ok=True)
    images = [path for path, _ in make_photographs(work, "small")]
    containers = make_containers(work, images, args.high)
    counts = (LOW, args.high)
    sources = {count: inputs(work, images, containers, count) for count in counts}
    port, counted = multiprocessing.Value("i", 0), multiprocessing.Array("q", 2)
    folders = [str(work / "small"), str(containers)]
    server = multiprocessing.Process(target=serve, args=(folders, args.milliseconds / 1000, port, counted))
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
        rates: dict[tuple[str, str], list[float]] = {source: [] for source in sources[LOW]}
        for _ in range(args.rounds):
            for source, source_rates in rates.items():
                low, high = (seconds(sources[count][source], work / "output", environment) for count in counts)
                source_rates.append((args.high - LOW) / (high - low))
                print(*source, f"{source_rates[-1]:.1f} images/s; ranges and bytes so far: {list(counted)}", flush=True)
        milliseconds = _cpu_seconds(server) * 1000 / (args.rounds * sum(counts))
    finally:
        server.terminate()
    for place in ("disk", "store"):
        files = statistics.median(rates["files", place])
        for kind in KINDS:
            median = statistics.median(rates[kind, place])
            rounded = [round(rate, 1) for rate in rates[kind, place]]
            print(f"{kind:8} on {place:6} {median:7.1f} images/s  {median / files:5.2f} of loose files  {rounded}")
    print(f"the store took {milliseconds:.2f} ms of CPU time per image")


if __name__ == "__main__":
    main()

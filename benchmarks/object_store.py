"""Reading from an object store: the rate with every request delayed, beside the rate from local disk.

python -m benchmarks.object_store [--milliseconds 50] serves the small photographs as a bucket on the loopback interface
in a process of its own, each answer delayed, and runs the job from there and from disk in turn.
"""

from __future__ import annotations

import argparse
import http.server
import json
import multiprocessing
import os
import shutil
import statistics
import subprocess
import sys
import time
import urllib.parse
from pathlib import Path
from typing import Any

from benchmarks.photographs import make_photographs

COUNT = 1200


def serve(root: str, seconds: float, port: Any) -> None:
    """Answers downloads of gs://photographs/PATH, questions for the bucket and the metadata server's, nothing else."""

    class Store(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # or headers and body wait for each other, 40 ms on top of the delay

        def do_GET(self) -> None:
            path = urllib.parse.unquote(self.path.partition("?")[0])
            if "/photographs" not in path:
                self._answer(_metadata(path).encode())
                return
            time.sleep(seconds)
            if path.endswith("/b/photographs"):
                self._answer(json.dumps({"name": "photographs"}).encode())
                return
            self._answer(Path(root, path.rpartition("/")[2]).read_bytes())

        def _answer(self, content: bytes) -> None:
            self.send_response(200)
            self.send_header("Metadata-Flavor", "Google")
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Content-Type", "application/json" if content.startswith(b"{") else "text/plain")
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            """Says nothing."""

    class Server(http.server.ThreadingHTTPServer):
        request_queue_size = 256

    server = Server(("127.0.0.1", 0), Store)
    port.value = server.server_address[1]
    server.serve_forever()


def _metadata(path: str) -> str:
    if path.endswith("/token"):
        return json.dumps({"access_token": "token", "expires_in": 3600, "token_type": "Bearer"})
    if path.endswith("/universe-domain"):
        return "googleapis.com"
    return json.dumps({"email": "tester@example.com", "scopes": [], "aliases": []})


def rate(manifest: Path, output: Path, environment: dict[str, str]) -> float:
    """Images per second of a run, without its start."""
    shutil.rmtree(output, ignore_errors=True)
    command = [sys.executable, "-m", "beam_job", "extract", "--json", "--input", str(manifest), "--output", str(output)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, **environment})
    found: float = json.loads(done.stdout)["images_per_second"]
    return found


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
        rows = (
            f"{form.format(path=path, name=path.name)},{number}\n"
            for number in range(COUNT)
            for path in [images[number % len(images)]]
        )
        (work / f"{place}.csv").write_text("uri,id\n" + "".join(rows))
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
        for _ in range(given.rounds):
            for place, found in rates.items():
                found.append(rate(work / f"{place}.csv", work / "output", environment))
    finally:
        server.terminate()
    for place, found in rates.items():
        print(f"{place:6} {statistics.median(found):7.1f} images/s  {[round(value, 1) for value in found]}")
    print(f"store / disk {statistics.median(rates['store']) / statistics.median(rates['disk']):.3f}")


if __name__ == "__main__":
    main()

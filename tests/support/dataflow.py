"""The edge of Dataflow's API: takes a job as the service does, keeps it to be looked at, and tells of its state."""

from __future__ import annotations

import contextlib
import dataclasses
import http.server
import json
import re
from collections.abc import Iterator
from typing import Any

from tests.support.loopback import HOST, running

_JOBS = re.compile(r"/v1b3/projects/(?P<project>[^/]+)/locations/(?P<region>[^/]+)/jobs(?P<rest>[^?]*)")


@dataclasses.dataclass
class Dataflow:
    """What was asked of the service.

    Attributes:
      endpoint: Its address; Beam goes without TLS where it says localhost.
      jobs: The bodies of the jobs that were created.
      ends_as: The state that a job is in when it is asked for.
      error: The last error message in its log.
    """

    endpoint: str
    jobs: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    ends_as: str = "JOB_STATE_FAILED"
    error: str = "Workflow failed."

    def beam_options(self, bucket: str) -> list[str]:
        """What leads a run here."""
        return [
            f"--dataflow_endpoint={self.endpoint}",
            "--project=test-project",
            "--region=europe-west1",
            f"--temp_location=gs://{bucket}/tmp",
            "--sdk_container_image=europe-docker.example/beam_job:1",
        ]


@contextlib.contextmanager
def serve_dataflow() -> Iterator[Dataflow]:
    """Serves the API on the loopback interface as long as the block lasts."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if not _JOBS.fullmatch(self.path.partition("?")[0]):
                self._answer(404, {})
                return
            service.jobs.append(content)
            self._answer(200, {**content, "id": "job-1", "currentState": "JOB_STATE_PENDING"})

        def do_GET(self) -> None:
            found = _JOBS.fullmatch(self.path.partition("?")[0])
            if found and found["rest"] == "/job-1":
                self._answer(200, {"id": "job-1", "currentState": service.ends_as, "name": "beam-job"})
            elif found and found["rest"] == "/job-1/messages":
                message = {"id": "m", "time": "2026-11-25T12:00:00Z", "messageText": service.error}
                self._answer(200, {"jobMessages": [{**message, "messageImportance": "JOB_MESSAGE_ERROR"}]})
            elif found:
                self._answer(200, {})
            else:
                self._answer(404, {})

        def _answer(self, code: int, content: dict[str, Any]) -> None:
            data = json.dumps(content).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            """Says nothing."""

    server = http.server.ThreadingHTTPServer((HOST, 0), Handler)
    service = Dataflow(f"http://localhost:{server.server_address[1]}")
    with running(server):
        yield service

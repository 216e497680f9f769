"""A stub of Dataflow's API: accepts jobs as the service does, records them, and reports their state."""

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
    """The stub and the jobs that it has received.

    Attributes:
      endpoint: Its URL. Beam uses no TLS if the host is localhost.
      jobs: The bodies of the requests that created a job.
      final_state: The state that it reports for a job.
      error: The error message that it reports for a job.
    """

    endpoint: str
    jobs: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    final_state: str = "JOB_STATE_FAILED"
    error: str = "Workflow failed."

    def beam_options(self, bucket: str) -> list[str]:
        """The Beam options that submit a run to the stub."""
        return [
            f"--dataflow_endpoint={self.endpoint}",
            "--project=test-project",
            "--region=europe-west1",
            f"--temp_location=gs://{bucket}/tmp",
            "--sdk_container_image=europe-docker.example/beam_job:1",
        ]


@contextlib.contextmanager
def serve_dataflow() -> Iterator[Dataflow]:
    """Serves the API on the loopback interface for the duration of the block."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if not _JOBS.fullmatch(self.path.partition("?")[0]):
                self._respond(404, {})
                return
            service.jobs.append(content)
            self._respond(200, {**content, "id": "job-1", "currentState": "JOB_STATE_PENDING"})

        def do_GET(self) -> None:
            match = _JOBS.fullmatch(self.path.partition("?")[0])
            if match and match["rest"] == "/job-1":
                self._respond(200, {"id": "job-1", "currentState": service.final_state, "name": "beam-job"})
            elif match and match["rest"] == "/job-1/messages":
                message = {"id": "m", "time": "2026-11-25T12:00:00Z", "messageText": service.error}
                self._respond(200, {"jobMessages": [{**message, "messageImportance": "JOB_MESSAGE_ERROR"}]})
            elif match:
                self._respond(200, {})
            else:
                self._respond(404, {})

        def _respond(self, status: int, content: dict[str, Any]) -> None:
            data = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            """Logs nothing."""

    server = http.server.ThreadingHTTPServer((HOST, 0), Handler)
    service = Dataflow(f"http://localhost:{server.server_address[1]}")
    with running(server):
        yield service

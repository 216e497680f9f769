"""Google Cloud Storage on this machine: an emulator, and a metadata server that issues its tokens."""

from __future__ import annotations

import contextlib
import dataclasses
import http.server
import json
from collections.abc import Iterator, Mapping
from typing import Any

from gcp_storage_emulator.server import create_server
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage as gcs

from tests.support.loopback import HOST, running


class _Metadata(http.server.BaseHTTPRequestHandler):
    """The metadata server that google.auth expects on a machine in Google Cloud."""

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path.endswith("/token"):
            content = json.dumps({"access_token": "token", "expires_in": 3600, "token_type": "Bearer"})
        elif path.endswith("/project-id"):
            content = "test-project"
        elif path.endswith("/universe-domain"):
            content = "googleapis.com"
        else:
            content = json.dumps({"email": "tester@example.com", "scopes": [], "aliases": []})
        data = content.encode()
        self.send_response(200)
        self.send_header("Metadata-Flavor", "Google")
        self.send_header("Content-Type", "application/json" if content.startswith("{") else "text/plain")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Logs nothing."""


@dataclasses.dataclass(frozen=True)
class Bucket:
    """An emulated bucket.

    Attributes:
      name: Its name.
      environment: The environment variables with which a process reaches it.
      client: A client of Google's library, to inspect the bucket independently of our code.
    """

    name: str
    environment: Mapping[str, str]
    client: Any

    def url(self, path: str) -> str:
        return f"gs://{self.name}/{path}"

    def write(self, path: str, data: bytes) -> str:
        self.client.bucket(self.name).blob(path).upload_from_string(data)
        return self.url(path)

    def read(self, path: str) -> bytes:
        content: bytes = self.client.bucket(self.name).blob(path).download_as_bytes()
        return content

    def list(self, prefix: str) -> list[str]:
        return sorted(blob.name for blob in self.client.list_blobs(self.name, prefix=prefix))


@contextlib.contextmanager
def serve_bucket(name: str = "photographs") -> Iterator[Bucket]:
    """Serves a bucket on the loopback interface for the duration of the block."""
    with running(http.server.ThreadingHTTPServer((HOST, 0), _Metadata)) as metadata:
        emulator = create_server(HOST, 0, in_memory=True, default_bucket=name)
        emulator.start()
        try:
            endpoint = f"http://{HOST}:{emulator._api._httpd.server_address[1]}"
            environment = {
                "STORAGE_EMULATOR_HOST": endpoint,
                "GCE_METADATA_HOST": metadata,
                "GCE_METADATA_IP": metadata,
                "GOOGLE_CLOUD_PROJECT": "test-project",
            }
            client = gcs.Client(
                project="test-project", credentials=AnonymousCredentials(), client_options={"api_endpoint": endpoint}
            )
            yield Bucket(name, environment, client)
        finally:
            emulator.stop()

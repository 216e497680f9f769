"""Google Cloud Storage: objects are fetched by libcurl and sent in one piece; the rest is Beam's."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from beam_job.runtime.storage.remote import RemoteFileSystem

SCHEME = "gs://"
# Connections that the client keeps open for concurrent writers; each reading thread has another one.
_CONNECTIONS = 64

R = TypeVar("R")


class GcsFileSystem(RemoteFileSystem):
    """Objects in buckets, with Beam's credentials."""

    def fetch(self, path: str, file: Any) -> None:
        _downloader().fetch(*_bucket_and_name(path), file)

    def send(self, file: Any, path: str) -> None:
        """An object appears when it is complete and not before, so no temporary name is needed."""
        bucket, name = _bucket_and_name(path)
        _client().bucket(bucket).blob(name).upload_from_file(file, retry=None)


def _bucket_and_name(path: str) -> tuple[str, str]:
    bucket, _, name = path.removeprefix(SCHEME).partition("/")
    return bucket, name


def _once(function: Callable[[], R]) -> Callable[[], R]:
    """Decorates what is made once per process: when several threads ask for it first, one makes it and others wait."""
    made, lock = functools.cache(function), threading.Lock()

    @functools.wraps(function)
    def get() -> R:
        with lock:
            return made()

    return get


@_once
def _client() -> Any:
    """The process's client of Google Cloud Storage, with Beam's credentials and a connection for every writer."""
    from apache_beam.io.gcp.gcsio import GcsIO
    from requests.adapters import HTTPAdapter

    client = GcsIO().client
    for scheme in ("https://", "http://"):
        client._http.mount(scheme, HTTPAdapter(pool_connections=4, pool_maxsize=_CONNECTIONS))
    return client


@_once
def _downloader() -> Any:
    from beam_job.runtime.downloads import Downloader

    client = _client()
    return Downloader(client._http.credentials, client.api_endpoint)

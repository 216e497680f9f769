"""Google Cloud Storage: objects are listed by pages, fetched by libcurl, sent in one piece."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeVar

from beam_job.runtime.retries import python_errors, with_retries
from beam_job.runtime.storage import globs
from beam_job.runtime.storage.base import FileInfo
from beam_job.runtime.storage.remote import RemoteFileSystem

SCHEME = "gs://"
# Connections that the client keeps open for concurrent writers; each reading thread has another one.
_CONNECTIONS = 64
_PAGE_SIZE = 1000  # the largest that there is
# What is asked about the objects of a listing.
_LISTED = "items(name,size,generation),prefixes,nextPageToken"

R = TypeVar("R")


class GcsFileSystem(RemoteFileSystem):
    """Objects in buckets, with Beam's credentials."""

    def fetch(self, path: str, file: Any) -> None:
        _downloader().fetch(*_bucket_and_name(path), file)

    def fetch_range(self, path: str, start: int, length: int, file: Any) -> None:
        _downloader().fetch(*_bucket_and_name(path), file, (start, length))

    @with_retries
    def read_range(self, path: str, start: int, length: int) -> bytes:
        with python_errors(path):
            return bytes(_blob(path).download_as_bytes(start=start, end=start + length - 1, retry=None))

    @with_retries
    def exists(self, path: str) -> bool:
        with python_errors(path):
            return bool(_blob(path).exists(retry=None))

    @with_retries
    def size_of(self, path: str) -> int:
        blob = _blob(path)
        with python_errors(path):
            blob.reload(retry=None)
        return int(blob.size)

    @with_retries
    def delete(self, path: str) -> None:
        with python_errors(path):
            _blob(path).delete(retry=None)

    def is_directory(self, path: str) -> bool:
        return any(True for _ in self._list(path.rstrip("/") + "/"))

    def list_files(self, root: str, recursive: bool) -> Iterator[FileInfo]:
        return self._list(root.rstrip("/") + "/", "" if recursive else "/")

    def list_folders(self, root: str) -> list[str] | None:
        prefix = root.rstrip("/") + "/"
        return [name for page in _pages(prefix, "/") for name in page.folders]

    def match(self, pattern: str) -> Iterator[FileInfo]:
        matches = globs.translate(pattern).fullmatch
        return (info for info in self._list(globs.WILDCARDS.split(pattern, maxsplit=1)[0]) if matches(info.path))

    def _list(self, prefix: str, delimiter: str = "") -> Iterator[FileInfo]:
        return (info for page in _pages(prefix, delimiter) for info in page.files)

    def send(self, file: Any, path: str) -> None:
        """An object appears when it is complete and not before, so no temporary name is needed."""
        _blob(path).upload_from_file(file, retry=None)


class _Page(NamedTuple):
    """A page of a listing: its files, the names of its folders where they end the names, and where the next one is."""

    files: list[FileInfo]
    folders: list[str]
    next: str | None


def _pages(prefix: str, delimiter: str) -> Iterator[_Page]:
    """The pages of a listing, fetched one after the other as they are consumed."""
    page = _page(prefix, delimiter, None)
    yield page
    while page.next:
        page = _page(prefix, delimiter, page.next)
        yield page


@with_retries
def _page(prefix: str, delimiter: str, token: str | None) -> _Page:
    bucket, start = _bucket_and_name(prefix)
    with python_errors(prefix):
        listing = _client().list_blobs(
            bucket,
            prefix=start,
            delimiter=delimiter or None,
            page_token=token,
            page_size=_PAGE_SIZE,
            fields=_LISTED,
            retry=None,
        )
        blobs = list(next(listing.pages, ()))
    files = [
        FileInfo(f"{SCHEME}{bucket}/{blob.name}", f"{blob.size}-{blob.generation}", int(blob.size or 0))
        for blob in blobs
        if not blob.name.endswith("/")  # a folder that a console has made
    ]
    folders = [name.removeprefix(start).rstrip("/") for name in sorted(listing.prefixes)]
    return _Page(files, folders, listing.next_page_token)


def _bucket_and_name(path: str) -> tuple[str, str]:
    bucket, _, name = path.removeprefix(SCHEME).partition("/")
    return bucket, name


def _blob(path: str) -> Any:
    bucket, name = _bucket_and_name(path)
    return _client().bucket(bucket).blob(name)


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
    """The process's client of Google Cloud Storage, with Beam's credentials and a connection for every writer.

    Without credentials it is anonymous, for public buckets. Beam would look for them for half a minute.
    """
    import google.auth
    from apache_beam.io.gcp.gcsio import GcsIO
    from google.auth.exceptions import DefaultCredentialsError
    from google.cloud.storage import Client
    from requests.adapters import HTTPAdapter

    try:
        google.auth.default()
        client = GcsIO().client
    except DefaultCredentialsError:
        client = Client.create_anonymous_client()
    for scheme in ("https://", "http://"):
        client._http.mount(scheme, HTTPAdapter(pool_connections=4, pool_maxsize=_CONNECTIONS))
    return client


@_once
def _downloader() -> Any:
    from beam_job.runtime.downloads import Downloader

    client = _client()
    return Downloader(client._http.credentials, client.api_endpoint)

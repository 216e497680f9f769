"""Downloads objects of Google Cloud Storage with as little CPU time as possible.

The client of google-cloud-storage takes about 2 ms of CPU time per object, most of it in ``requests`` and above it; an
image is decoded in 1 ms. Here the same request goes through libcurl, which waits, receives and does TLS without the
GIL, in less than half the CPU time of urllib3, the library below ``requests``.
"""

from __future__ import annotations

import base64
import contextlib
import gzip
import os
import sys
import threading
from collections.abc import Iterator
from typing import IO, Any
from urllib.parse import quote

import google_crc32c
import requests
from google.api_core.exceptions import from_http_status
from google.auth.transport.requests import Request


@contextlib.contextmanager
def _deep_binding() -> Iterator[None]:
    """Loads shared libraries in the block such that they prefer their own symbols to those already in the process.

    TensorFlow's library exports the symbols of another libcurl and another TLS library.
    """
    flags = sys.getdlopenflags()
    sys.setdlopenflags(os.RTLD_NOW | getattr(os, "RTLD_DEEPBIND", 0))  # glibc only; elsewhere it is not needed
    try:
        yield
    finally:
        sys.setdlopenflags(flags)


with _deep_binding():
    import pycurl

_TIMEOUT_SECONDS = 60  # the default of google-cloud-storage
_BUFFER_BYTES = 128 << 10
_OK, _PARTIAL, _UNAUTHORIZED = 200, 206, 401
_ERROR_BYTES = 300


class Downloader:
    """Fetches objects, concurrently from many threads; each thread keeps its own connection."""

    def __init__(self, credentials: Any, endpoint: str) -> None:
        """A downloader that has no connection yet.

        Args:
          credentials: Credentials of google-auth, sent with every request.
          endpoint: The URL of the service, without a path.
        """
        self._credentials = credentials
        self._endpoint = endpoint.rstrip("/")
        self._options = _curl_options(self._endpoint)
        self._refresh_request: Any = Request()
        self._local = threading.local()

    def fetch(self, bucket: str, name: str, file: IO[bytes], part: tuple[int, int] | None = None) -> None:
        """Replaces a file's content by that of an object: one request, and its checksum is compared.

        An object that is stored compressed (``Content-Encoding: gzip``) is decompressed.

        Args:
          bucket: The bucket's name.
          name: The object's name.
          file: Where the content goes; its previous content is lost.
          part: First byte and number of bytes, for a part of the object, which has no checksum.

        Raises:
          google.api_core.exceptions.GoogleAPICallError: the service refused; ``code`` is the HTTP status code.
          ConnectionError: the connection failed or ended too early, or the content does not match its checksum.
        """
        # The request of objects.get (https://cloud.google.com/storage/docs/json_api/v1/objects/get).
        url = f"{self._endpoint}/download/storage/v1/b/{quote(bucket, '')}/o/{quote(name, '')}?alt=media"
        response = self._get(url, file, part)
        if response.status == _UNAUTHORIZED and self._credentials.token:  # revoked before it expired
            self._credentials.refresh(self._refresh_request)
            response = self._get(url, file, part)
        if response.status != (_PARTIAL if part else _OK):
            file.seek(0)
            words = " ".join(file.read(_ERROR_BYTES).decode("utf-8", "replace").split())
            raise from_http_status(response.status, f"GET {url}: {words or 'no message'}")  # type: ignore[no-untyped-call]
        if part:
            return
        expected, found = _crc32c(response.header(b"x-goog-hash")), response.checksum.digest()
        if expected not in (None, found):
            raise ConnectionError(f"GET {url}: expected the CRC32C {expected!r}, found {found!r}")
        if response.header(b"content-encoding") == "gzip":
            file.seek(0)
            content = gzip.decompress(file.read())
            file.seek(0)
            file.truncate()
            file.write(content)

    def _get(self, url: str, file: IO[bytes], part: tuple[int, int] | None) -> _Response:
        headers = {"accept-encoding": "gzip"}
        if part:
            headers["range"] = f"bytes={part[0]}-{part[0] + part[1] - 1}"
        self._credentials.before_request(self._refresh_request, "GET", url, headers)
        file.seek(0)
        file.truncate()
        response = _Response(file)
        curl = self._curl()
        curl.setopt(pycurl.URL, url)
        curl.setopt(pycurl.HTTPHEADER, [f"{name}: {value}" for name, value in headers.items()])
        curl.setopt(pycurl.HEADERFUNCTION, response.lines.append)
        curl.setopt(pycurl.WRITEFUNCTION, response.take)
        try:
            curl.perform()
        except pycurl.error as error:
            if response.problem is not None:
                raise response.problem from None
            raise ConnectionError(f"GET {url}: {curl.errstr() or error}") from None
        response.status = curl.getinfo(pycurl.RESPONSE_CODE)
        return response

    def _curl(self) -> pycurl.Curl:
        """The thread's handle, which keeps the thread's connection."""
        curl: pycurl.Curl | None = getattr(self._local, "curl", None)
        if curl is None:
            curl = self._local.curl = pycurl.Curl()
            for option, value in self._options.items():
                curl.setopt(option, value)
        return curl


class _Response:
    """The response to a request; the content goes to ``file`` as it arrives.

    Attributes:
      status: The HTTP status code.
      lines: The header lines.
      checksum: CRC32C of the content.
      problem: Why the content could not be written, or None; libcurl would print it to the terminal.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self.status = 0
        self.lines: list[bytes] = []
        self.checksum = google_crc32c.Checksum()
        self.problem: Exception | None = None
        self._file = file

    def take(self, content: bytes) -> int:
        """Writes a chunk, and returns how many of its bytes were written."""
        try:
            self._file.write(content)
        except Exception as problem:
            self.problem = problem
            return 0
        self.checksum.update(content)
        return len(content)

    def header(self, name: bytes) -> str:
        """The value of a header, whose name is given in lower case; empty without it, joined by commas if repeated."""
        start = len(name) + 1
        values = [line[start:].strip() for line in self.lines if line[:start].lower() == name + b":"]
        return b", ".join(values).decode("iso-8859-1")


def _crc32c(header: str) -> bytes | None:
    """The checksum in a header such as ``crc32c=n03x6A==,md5=Ojk9c3dhfxgoKVVHYwFbHQ==``, None without one."""
    hashes = dict(part.strip().partition("=")[::2] for part in header.split(","))
    return base64.b64decode(hashes["crc32c"]) if "crc32c" in hashes else None


def _curl_options(endpoint: str) -> dict[int, int | str]:
    """Options of libcurl; the proxy and the certificates come from the environment, as ``requests`` reads it."""
    settings = requests.Session().merge_environment_settings(endpoint, {}, False, None, None)
    certificates = settings["verify"] if isinstance(settings["verify"], str) else requests.certs.where()
    return {
        pycurl.PROXY: requests.utils.select_proxy(endpoint, settings["proxies"]) or "",
        pycurl.NOPROXY: "",  # the line above has read it
        pycurl.CAPATH if os.path.isdir(certificates) else pycurl.CAINFO: certificates,
        pycurl.HTTP_VERSION: pycurl.CURL_HTTP_VERSION_1_1,
        pycurl.NOSIGNAL: 1,  # required in a process with threads
        pycurl.BUFFERSIZE: _BUFFER_BYTES,
        pycurl.CONNECTTIMEOUT: _TIMEOUT_SECONDS,
        # Give up after so many seconds at less than one byte per second.
        pycurl.LOW_SPEED_LIMIT: 1,
        pycurl.LOW_SPEED_TIME: _TIMEOUT_SECONDS,
    }

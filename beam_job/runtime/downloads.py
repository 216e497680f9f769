"""Objects of Google Cloud Storage, fetched with as little work as can be.

The client of google-cloud-storage takes some 2 ms of a core for an object, most of them in ``requests`` and on the way
to it; a picture is decoded in one. Here the same request goes through libcurl, which waits, receives and speaks TLS
without the interpreter's lock, and takes less than half of what urllib3 takes, which is beneath ``requests``.
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
def _kept_to_their_own() -> Iterator[None]:
    """Has the libraries that are loaded in the block prefer functions of their own to those that are there already.

    TensorFlow's library has a libcurl and a TLS of its own within, of other versions and for all to see.
    """
    flags = sys.getdlopenflags()
    sys.setdlopenflags(os.RTLD_NOW | getattr(os, "RTLD_DEEPBIND", 0))  # glibc's; others need it not, or have it not
    try:
        yield
    finally:
        sys.setdlopenflags(flags)


with _kept_to_their_own():
    import pycurl

_SECONDS = 60  # the patience of google-cloud-storage
_BUFFER_BYTES = 128 << 10
_OK, _UNAUTHORIZED = 200, 401
_WORDS_OF_AN_ERROR = 300


class Downloader:
    """Fetches objects, from many threads at once; each thread keeps a connection of its own."""

    def __init__(self, credentials: Any, endpoint: str) -> None:
        """A downloader without connections as yet.

        Args:
          credentials: Those of google-auth, to be sent with every request.
          endpoint: The service's address, without a path.
        """
        self._credentials = credentials
        self._endpoint = endpoint.rstrip("/")
        self._way = _way(self._endpoint)
        self._refresh_request: Any = Request()
        self._of_thread = threading.local()

    def fetch(self, bucket: str, name: str, file: IO[bytes]) -> None:
        """Writes an object's content to a file, from its beginning; one request, and its checksum compared.

        An object that is stored compressed (``Content-Encoding: gzip``) is decompressed.

        Args:
          bucket: The bucket's name.
          name: The object's name.
          file: Where the content goes; what was in it is gone.

        Raises:
          google.api_core.exceptions.GoogleAPICallError: the service refused; ``code`` says why.
          ConnectionError: the connection failed, ended too early, or the content does not have the checksum that was
            sent with it.
        """
        # The request of objects.get (https://cloud.google.com/storage/docs/json_api/v1/objects/get).
        url = f"{self._endpoint}/download/storage/v1/b/{quote(bucket, '')}/o/{quote(name, '')}?alt=media"
        answer = self._get(url, file)
        if answer.status == _UNAUTHORIZED and self._credentials.token:  # withdrawn before its time
            self._credentials.refresh(self._refresh_request)
            answer = self._get(url, file)
        if answer.status != _OK:
            file.seek(0)
            words = " ".join(file.read(_WORDS_OF_AN_ERROR).decode("utf-8", "replace").split())
            raise from_http_status(answer.status, f"GET {url}: {words or 'no words'}")  # type: ignore[no-untyped-call]
        expected, found = _crc32c(answer.header(b"x-goog-hash")), answer.checksum.digest()
        if expected not in (None, found):
            raise ConnectionError(f"GET {url}: expected the CRC32C {expected!r}, found {found!r}")
        if answer.header(b"content-encoding") == "gzip":
            file.seek(0)
            content = gzip.decompress(file.read())
            file.seek(0)
            file.truncate()
            file.write(content)

    def _get(self, url: str, file: IO[bytes]) -> _Answer:
        headers = {"accept-encoding": "gzip"}
        self._credentials.before_request(self._refresh_request, "GET", url, headers)
        file.seek(0)
        file.truncate()
        answer = _Answer(file)
        curl = self._curl()
        curl.setopt(pycurl.URL, url)
        curl.setopt(pycurl.HTTPHEADER, [f"{name}: {value}" for name, value in headers.items()])
        curl.setopt(pycurl.HEADERFUNCTION, answer.lines.append)
        curl.setopt(pycurl.WRITEFUNCTION, answer.take)
        try:
            curl.perform()
        except pycurl.error as error:
            if answer.problem is not None:
                raise answer.problem from None
            raise ConnectionError(f"GET {url}: {curl.errstr() or error}") from None
        answer.status = curl.getinfo(pycurl.RESPONSE_CODE)
        return answer

    def _curl(self) -> pycurl.Curl:
        """The thread's handle, with its connection if it has one already."""
        curl: pycurl.Curl | None = getattr(self._of_thread, "curl", None)
        if curl is None:
            curl = self._of_thread.curl = pycurl.Curl()
            for option, value in self._way.items():
                curl.setopt(option, value)
        return curl


class _Answer:
    """What comes of a request; the content goes to ``file`` as it arrives.

    Attributes:
      status: The code of HTTP.
      lines: The lines of the head.
      checksum: CRC32C of the content.
      problem: Why the content could not be written, if it could not: libcurl would tell it on the terminal.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self.status = 0
        self.lines: list[bytes] = []
        self.checksum = google_crc32c.Checksum()
        self.problem: Exception | None = None
        self._file = file

    def take(self, content: bytes) -> int:
        """Writes a piece, and says how many bytes of it were written."""
        try:
            self._file.write(content)
        except Exception as problem:
            self.problem = problem
            return 0
        self.checksum.update(content)
        return len(content)

    def header(self, name: bytes) -> str:
        """The value of a field, its name in small letters; empty without it, with commas where it comes repeatedly."""
        start = len(name) + 1
        values = [line[start:].strip() for line in self.lines if line[:start].lower() == name + b":"]
        return b", ".join(values).decode("iso-8859-1")


def _crc32c(header: str) -> bytes | None:
    """The checksum in a header such as ``crc32c=n03x6A==,md5=Ojk9c3dhfxgoKVVHYwFbHQ==``, None without one."""
    hashes = dict(part.strip().partition("=")[::2] for part in header.split(","))
    return base64.b64decode(hashes["crc32c"]) if "crc32c" in hashes else None


def _way(endpoint: str) -> dict[int, int | str]:
    """Options of libcurl: the proxy and the certificates are those of the environment, as ``requests`` reads it."""
    settings = requests.Session().merge_environment_settings(endpoint, {}, False, None, None)
    certificates = settings["verify"] if isinstance(settings["verify"], str) else requests.certs.where()
    return {
        pycurl.PROXY: requests.utils.select_proxy(endpoint, settings["proxies"]) or "",
        pycurl.NOPROXY: "",  # the line above has looked
        pycurl.CAPATH if os.path.isdir(certificates) else pycurl.CAINFO: certificates,
        pycurl.HTTP_VERSION: pycurl.CURL_HTTP_VERSION_1_1,
        pycurl.NOSIGNAL: 1,  # wanted where there are threads
        pycurl.BUFFERSIZE: _BUFFER_BYTES,
        pycurl.CONNECTTIMEOUT: _SECONDS,
        # Less than a byte in each second of so many.
        pycurl.LOW_SPEED_LIMIT: 1,
        pycurl.LOW_SPEED_TIME: _SECONDS,
    }

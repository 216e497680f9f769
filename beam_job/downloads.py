"""Objects of Google Cloud Storage, fetched with as little work as can be.

The client of google-cloud-storage takes some 2 ms of a core for an object, most of them in ``requests`` and on the way
to it; a picture is decoded in one. Here the same request goes through urllib3, the connections beneath both, with
google-auth's own transport for it, and takes a fifth of that.
"""

from __future__ import annotations

import base64
import gzip
from typing import IO, Any
from urllib.parse import quote

import google_crc32c
import requests
import urllib3
from google.api_core.exceptions import from_http_status
from google.auth.transport.urllib3 import AuthorizedHttp
from requests.adapters import HTTPAdapter

_SECONDS = 60.0  # the patience of google-cloud-storage
_CHUNK_BYTES = 1 << 20
_WORDS_OF_AN_ERROR = 300


class Downloader:
    """Fetches objects, from many threads at once."""

    def __init__(self, credentials: Any, endpoint: str, connections: int) -> None:
        """A downloader with connections of its own.

        Args:
          credentials: Those of google-auth, to be sent with every request.
          endpoint: The service's address, without a path.
          connections: How many of them are kept open.
        """
        self._endpoint = endpoint.rstrip("/")
        self._http: Any = AuthorizedHttp(credentials, _connections(self._endpoint, connections))  # type: ignore[no-untyped-call]

    def fetch(self, bucket: str, name: str, file: IO[bytes]) -> None:
        """Writes an object's content to a file, from its beginning; one request, and its checksum compared.

        An object that is stored compressed (``Content-Encoding: gzip``) is decompressed.

        Args:
          bucket: The bucket's name.
          name: The object's name.
          file: Where the content goes; what was in it is gone.

        Raises:
          google.api_core.exceptions.GoogleAPICallError: the service refused; ``code`` says why.
          ConnectionError: the content does not have the checksum that was sent with it.
          urllib3.exceptions.HTTPError: the connection failed, or ended too early.
        """
        # The request of objects.get (https://cloud.google.com/storage/docs/json_api/v1/objects/get).
        url = f"{self._endpoint}/download/storage/v1/b/{quote(bucket, '')}/o/{quote(name, '')}?alt=media"
        reply = self._http.request(
            "GET",
            url,
            headers={"accept-encoding": "gzip"},
            timeout=_SECONDS,
            retries=False,
            preload_content=False,
            decode_content=False,
        )
        try:
            if reply.status != 200:
                words = " ".join(reply.data.decode("utf-8", "replace").split())
                message = f"GET {url}: {words[:_WORDS_OF_AN_ERROR] or reply.reason}"
                raise from_http_status(reply.status, message)  # type: ignore[no-untyped-call]
            file.seek(0)
            file.truncate()
            checksum = google_crc32c.Checksum()
            for chunk in reply.stream(_CHUNK_BYTES):
                file.write(chunk)
                checksum.update(chunk)
        finally:
            reply.release_conn()
        expected = _crc32c(reply.headers.get("x-goog-hash", ""))
        if expected not in (None, checksum.digest()):
            raise ConnectionError(f"GET {url}: expected the CRC32C {expected!r}, found {checksum.digest()!r}")
        if reply.headers.get("content-encoding") == "gzip":
            file.seek(0)
            content = gzip.decompress(file.read())
            file.seek(0)
            file.truncate()
            file.write(content)


def _crc32c(header: str) -> bytes | None:
    """The checksum in a header such as ``crc32c=n03x6A==,md5=Ojk9c3dhfxgoKVVHYwFbHQ==``, None without one."""
    hashes = dict(part.strip().partition("=")[::2] for part in header.split(","))
    return base64.b64decode(hashes["crc32c"]) if "crc32c" in hashes else None


def _connections(endpoint: str, count: int) -> urllib3.PoolManager:
    """Connections by the proxy and with the certificates that the environment names, as ``requests`` reads it."""
    settings = requests.Session().merge_environment_settings(endpoint, {}, False, None, None)
    certificates = settings["verify"] if isinstance(settings["verify"], str) else requests.certs.where()
    security: dict[str, Any] = {"cert_reqs": "CERT_REQUIRED", "ca_certs": certificates}
    if proxy := requests.utils.select_proxy(endpoint, settings["proxies"]):
        manager: urllib3.PoolManager = HTTPAdapter(pool_maxsize=count).proxy_manager_for(proxy, **security)
        return manager
    return urllib3.PoolManager(maxsize=count, **security)

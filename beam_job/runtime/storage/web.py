"""Files on web servers: https:// and http://, to be read only. A web server does not list its files.

No credentials are sent: none of a ``.netrc``, no cookies, and a URL with a user name is refused. A redirect may lead
to another server, but not from https to http.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
import gzip
import io
import re
import threading
from collections.abc import Iterator, Sequence
from http.cookiejar import DefaultCookiePolicy
from typing import IO, Any, BinaryIO, cast
from urllib.parse import urljoin, urlsplit

from beam_job.runtime.retries import TransientError, python_errors, with_retries
from beam_job.runtime.storage.base import COPY_BYTES, FileInfo, Ranges, spool
from beam_job.runtime.storage.paths import is_allowed, without_query
from beam_job.runtime.storage.streaming import in_ranges, streamed

# A file that is fetched whole has not more bytes. Containers are read by ranges, and may be longer.
LONGEST_FILE = 1 << 30
_MOST_REDIRECTS = 5
_TIMEOUT_SECONDS = 60
_REDIRECTS = (301, 302, 303, 307, 308)
_PARTIAL, _NO_SUCH_RANGE = 206, 416
# Files that are compressed by themselves, which some servers call an encoding.
_COMPRESSED = (".gz", ".tgz")
# A name of at most 63 letters between dots, or an address.
_HOST = re.compile(r"[^\s./:]{1,63}(\.[^\s./:]{1,63})*\.?|[0-9a-fA-F:.]+")
# Answers to HEAD of servers that only know GET.
_NO_HEAD = (403, 405, 501)


class WebError(Exception):
    """A server refused; ``code`` is the HTTP status code."""

    def __init__(self, code: int, words: str) -> None:
        super().__init__(words)
        self.code = code


class WebFileSystem:
    """Files behind URLs."""

    def open_read(self, path: str) -> BinaryIO:
        return self._fetched(path, None)

    def read_range(self, path: str, start: int, length: int) -> bytes:
        with self._fetched(path, (start, length)) as file:
            return file.read(length)

    def open_stream(self, info: FileInfo, request_bytes: int) -> BinaryIO:
        """Read by ranges where the server gives them, and otherwise in one request."""
        if self.has_ranges(info):
            fetch = functools.partial(self._range_of, info.path)
            return streamed(fetch, info.size, request_bytes)
        with python_errors(info.path):
            return cast(BinaryIO, io.BufferedReader(_Body(_ask("GET", info.path), info.path), COPY_BYTES))

    def open_random(self, info: FileInfo, ranges: Ranges, request_bytes: int, tail: bytes) -> BinaryIO:
        """Read by ranges where the server gives them; otherwise the whole file is fetched."""
        if self.has_ranges(info):
            return in_ranges(functools.partial(self._range_of, info.path), info.size, ranges, request_bytes, tail)
        return self.open_read(info.path)

    def new_file(self, path: str) -> contextlib.AbstractContextManager[IO[bytes]]:
        raise PermissionError(f"files on web servers cannot be written: {path}")

    @with_retries
    def info_of(self, path: str) -> FileInfo:
        with python_errors(path):
            return _described(path)[0]

    def version_of(self, path: str) -> str:
        return ""

    def exists(self, path: str) -> bool:
        try:
            self.info_of(path)
        except (FileNotFoundError, PermissionError):  # which some servers answer instead
            return False
        return True

    def size_of(self, path: str) -> int:
        return self.info_of(path).size

    def is_directory(self, path: str) -> bool:
        return False

    def list_files(self, root: str, recursive: bool) -> Iterator[FileInfo]:
        return iter(())

    def match(self, pattern: str) -> Iterator[FileInfo]:
        return iter(())

    def list_folders(self, root: str) -> list[str] | None:
        return None

    def delete(self, path: str) -> None:
        raise PermissionError(f"files on web servers cannot be deleted: {path}")

    def remove_empty_folders(self, root: str) -> None:
        """Nothing to do."""

    @with_retries
    def has_ranges(self, info: FileInfo) -> bool:
        """Whether parts of a file can be asked for; OSError if it is another file than when it was listed."""
        with python_errors(info.path):
            now, has_ranges = _described(info.path)
            if now.version != info.version:
                raise OSError(f"the file has changed since it was listed (was {info.version}, now {now.version})")
            return has_ranges

    def _range_of(self, path: str, start: int, length: int) -> BinaryIO:
        return self._fetched(path, (start, length))

    @with_retries
    def _fetched(self, path: str, part: tuple[int, int] | None) -> BinaryIO:
        file = spool()
        try:
            with python_errors(path):
                _fetch(path, part, file)
        except BaseException:
            file.close()
            raise
        file.seek(0)
        return cast(BinaryIO, file)


def _described(path: str) -> tuple[FileInfo, bool]:
    """A file, and whether parts of it can be asked for; more than one request only of a server that tells little."""
    try:
        with _ask("HEAD", path) as response:
            headers = response.headers
            size, has_ranges = _length(headers), "bytes" in headers.get("accept-ranges", "")
    except WebError as error:
        if error.code not in _NO_HEAD:
            raise
        size, has_ranges = -1, False
    if size < 0:
        with _ask("GET", path, (0, 1)) as response:
            headers = response.headers
            has_ranges = response.status_code == _PARTIAL
            size = _whole_size(response) if has_ranges else _length(headers)
    if size < 0:
        with spool() as file:
            _fetch(path, None, file)
            size = file.tell()
    version = headers.get("etag") or headers.get("last-modified") or ""
    return FileInfo(path, f"{size}-{version}", size), has_ranges and not _is_encoded(headers)


def _length(headers: Any) -> int:
    """The length of the content; -1 where it is not told, or is that of a compressed form."""
    return -1 if _is_encoded(headers) else int(headers.get("content-length", -1))


def _is_encoded(headers: Any) -> bool:
    return headers.get("content-encoding", "identity") not in ("", "identity")


def _whole_size(response: Any) -> int:
    """The length of the file that a range is of, from ``Content-Range: bytes 0-0/1234``; -1 where it is not told."""
    total = response.headers.get("content-range", "").rpartition("/")[2]
    return int(total) if total.isdigit() else -1


def _fetch(path: str, part: tuple[int, int] | None, file: Any) -> None:
    """Writes a file, or a part of it, to an empty file."""
    with _ask("GET", path, part) as response:
        if part is None:
            _write_whole(path, response, file)
            return
        # A server may ignore that a part was asked for.
        left, skipped = part[1], 0 if response.status_code == _PARTIAL else part[0]
        for block in _blocks(response):
            kept = block[skipped:][:left]
            skipped, left = max(0, skipped - len(block)), left - len(kept)
            file.write(kept)
            if not left:
                return


def _write_whole(path: str, response: Any, file: Any) -> None:
    expected = int(response.headers.get("content-length", -1))
    found = 0
    if expected <= LONGEST_FILE:
        for block in _blocks(response):
            found += len(block)
            if found > LONGEST_FILE:
                break
            file.write(block)
    if max(found, expected) > LONGEST_FILE:
        raise OSError(f"expected at most {LONGEST_FILE:,} bytes, found more")
    if expected not in (-1, found):
        raise ConnectionError(f"expected {expected} bytes, found {found}")
    if _is_encoded(response.headers) and not without_query(path).lower().endswith(_COMPRESSED):
        _decompress(file, response.headers["content-encoding"])


def _decompress(file: Any, encoding: str) -> None:
    """Replaces the content of a file, which the server has compressed although it was not asked to."""
    if encoding not in ("gzip", "x-gzip"):
        raise OSError(f"expected a file that is not compressed, or by gzip, found {encoding}")
    file.seek(0)
    content = gzip.GzipFile(fileobj=file, mode="rb").read(LONGEST_FILE + 1)
    if len(content) > LONGEST_FILE:
        raise OSError(f"expected at most {LONGEST_FILE:,} bytes, found more")
    file.seek(0)
    file.truncate()
    file.write(content)


def _blocks(response: Any) -> Iterator[bytes]:
    """The content of a response as it was sent."""
    yield from response.raw.stream(COPY_BYTES, decode_content=False)


def _ask(method: str, path: str, part: tuple[int, int] | None = None) -> Any:
    """The response of a server that has the file, with its redirects followed.

    Raises:
      WebError: there is none.
      OSError: the URL, or a redirect, is one that is not followed.
    """
    headers = {"Accept-Encoding": "identity"}
    if part:
        headers["Range"] = f"bytes={part[0]}-{part[0] + part[1] - 1}"
    url = path
    for _ in range(_MOST_REDIRECTS + 1):
        _check(url, path)
        response = _session().request(
            method, url, headers=headers, stream=True, allow_redirects=False, timeout=_TIMEOUT_SECONDS
        )
        if response.status_code not in _REDIRECTS or "location" not in response.headers:
            break
        response.close()
        url = urljoin(url, response.headers["location"])
    else:
        raise OSError(f"expected at most {_MOST_REDIRECTS} redirects, found more")
    if response.status_code >= 400 and not (part and response.status_code == _NO_SUCH_RANGE):
        response.close()
        raise WebError(response.status_code, f"the server answers {response.status_code} {response.reason}")
    return response


def _check(url: str, path: str) -> None:
    """Checks that a URL may be asked, of a redirect or of the file itself."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or (parts.scheme == "http" and path.startswith("https://")):
        raise OSError(f"expected a redirect to https, found {url}")
    if parts.username is not None or parts.password is not None:
        raise OSError("expected a URL without a user name and a password, found one")
    if not _HOST.fullmatch(parts.hostname or ""):
        raise OSError(f"expected a URL with the name of a server, found {url}")
    roots = _roots.get()
    if not is_allowed(url, roots):
        raise PermissionError(f"expected a redirect to a place below {' or '.join(roots)}, found {url}")


_roots: contextvars.ContextVar[Sequence[str]] = contextvars.ContextVar("roots", default=())


@contextlib.contextmanager
def confined(roots: Sequence[str]) -> Iterator[None]:
    """What is read in this block is below one of the roots, wherever redirects lead; anywhere without roots."""
    token = _roots.set(roots)
    try:
        yield
    finally:
        _roots.reset(token)


_local = threading.local()


def _session() -> Any:
    """The thread's session, which keeps its connections."""
    session = getattr(_local, "session", None)
    if session is None:
        import requests

        session = _local.session = requests.Session()
        session.auth = _without_credentials  # otherwise those of a .netrc are sent
        session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    return session


def _without_credentials(request: Any) -> Any:
    return request


class _Body(io.RawIOBase):
    """The content of a response, read once from its start to its end."""

    def __init__(self, response: Any, path: str) -> None:
        self._response, self._path = response, path
        self._left = int(response.headers.get("content-length", -1))

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        with python_errors(self._path):
            data = self._response.raw.read(len(buffer))
        if not data and self._left > 0:
            raise TransientError(f"{self._path}: the connection ended {self._left} bytes too early")
        buffer[: len(data)] = data
        self._left -= len(data)
        return len(data)

    def close(self) -> None:
        self._response.close()
        super().close()

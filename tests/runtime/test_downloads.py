"""Downloads by the real client, from a server on the loopback interface that answers well, or badly."""

from __future__ import annotations

import base64
import errno
import gzip
import http.server
import io
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ClassVar
from urllib.parse import unquote

import google.auth.credentials
import google_crc32c
import pytest
import trustme
from google.auth.credentials import AnonymousCredentials

from beam_job.runtime.downloads import Downloader
from beam_job.runtime.retries import TransientError, python_errors
from tests.support.loopback import HOST, running

CONTENT = bytes(range(256)) * 9000
HARD_NAME = "folder/ä b#c?d%e+f/1.jpg"

Answer = tuple[int, dict[str, str], bytes]


def hashed(content: bytes, **headers: str) -> Answer:
    checksum = base64.b64encode(google_crc32c.Checksum(content).digest()).decode()
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return 200, {"x-goog-hash": f"crc32c={checksum},md5=AAAA", **names}, content


ANSWERS: dict[str, Answer] = {
    "plain": hashed(CONTENT),
    "empty": hashed(b""),
    "without a checksum": (200, {}, CONTENT),
    HARD_NAME: hashed(b"hard to spell"),
    "compressed": hashed(gzip.compress(CONTENT), content_encoding="gzip"),
    "hashed twice": (200, {"x-goog-hash": "crc32c=AAAAAA==", "X-Goog-Hash": "md5=AAAA"}, b""),
    "damaged": (*hashed(CONTENT)[:2], CONTENT[:-1] + b"!"),
    "ends early": hashed(CONTENT, content_length=str(len(CONTENT) + 100)),
    "busy": (429, {}, b"later,\n please"),
    "forbidden": (403, {}, b""),
}


class _Store(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    paths: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.paths.append(self.path)
        name = unquote(self.path.partition("/o/")[2].partition("?")[0])
        status, headers, content = ANSWERS.get(name, (404, {}, b"no such object"))
        if self.headers["Authorization"] == "Bearer withdrawn":
            status, headers, content = 401, {}, b"who are you?"
        self.send_response(status)
        for header, value in {"content-length": str(len(content)), **headers}.items():
            self.send_header(header, value)
        self.end_headers()
        self.wfile.write(content)
        self.close_connection = name == "ends early"

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with running(http.server.ThreadingHTTPServer((HOST, 0), _Store)) as address:
        yield f"http://{address}"


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The address of a server that speaks TLS, and the certificate of who vouches for it."""
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(HOST).configure_cert(context)
    certificate = tmp_path_factory.mktemp("tls") / "authority.pem"
    authority.cert_pem.write_to_path(certificate)
    server = http.server.ThreadingHTTPServer((HOST, 0), _Store)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    with running(server) as address:
        yield f"https://{address}", certificate


@pytest.fixture(scope="module")
def fetch(address: str) -> Callable[[str], bytes]:
    downloader = Downloader(AnonymousCredentials(), address)

    def fetched(name: str) -> bytes:
        file = io.BytesIO(b"what was there before")
        with python_errors(name):
            downloader.fetch("photographs", name, file)
        return file.getvalue()

    return fetched


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("plain", CONTENT),
        ("empty", b""),
        ("without a checksum", CONTENT),
        (HARD_NAME, b"hard to spell"),
        ("compressed", CONTENT),
        ("hashed twice", b""),
    ],
)
def test_content_comes_as_it_was_stored(fetch: Callable[[str], bytes], name: str, content: bytes) -> None:
    assert fetch(name) == content


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("damaged", TransientError),
        ("ends early", TransientError),
        ("busy", TransientError),
        ("forbidden", PermissionError),
        ("nothing", FileNotFoundError),
    ],
)
def test_what_goes_wrong_has_a_name(fetch: Callable[[str], bytes], name: str, error: type[OSError]) -> None:
    with pytest.raises(error, match=f"^{name}: ") as raised:
        fetch(name)
    assert "\n" not in str(raised.value)
    assert fetch("plain") == CONTENT  # the connections are as good as before


def test_connections_serve_many_threads(fetch: Callable[[str], bytes]) -> None:
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(fetch, [HARD_NAME, "plain"] * 20)) == [b"hard to spell", CONTENT] * 20


def test_the_proxy_of_the_environment_is_taken(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", address)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    file = io.BytesIO()
    Downloader(AnonymousCredentials(), "http://storage.invalid").fetch("photographs", "plain", file)
    assert file.getvalue() == CONTENT
    assert _Store.paths[-1].startswith("http://storage.invalid/")


def test_a_certificate_must_be_vouched_for(secure: tuple[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    address, certificate = secure
    file = io.BytesIO()
    with pytest.raises(ConnectionError, match=r"(?i)certificate"):
        Downloader(AnonymousCredentials(), address).fetch("photographs", "plain", file)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    Downloader(AnonymousCredentials(), address).fetch("photographs", "plain", file)
    assert file.getvalue() == CONTENT


# TensorFlow brings a libcurl and a TLS of its own. That it may come first shows in this process, which has it.
_BEFORE_TENSORFLOW = """
import io, sys
from google.auth.credentials import AnonymousCredentials
from beam_job.runtime.downloads import Downloader
import tensorflow
file = io.BytesIO()
Downloader(AnonymousCredentials(), sys.argv[1]).fetch("photographs", "plain", file)
print(len(file.getvalue()))
"""


def test_tensorflow_does_not_get_in_the_way(secure: tuple[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    address, certificate = secure
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    command = [sys.executable, "-c", _BEFORE_TENSORFLOW, address]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == [str(len(CONTENT))]


class _Expiring(google.auth.credentials.Credentials):  # type: ignore[misc]
    """Credentials whose first token the server does not take any more."""

    def __init__(self) -> None:
        super().__init__()
        self.token = "withdrawn"

    def refresh(self, request: object) -> None:
        self.token = "fresh"


def test_a_token_that_was_withdrawn_is_renewed(address: str) -> None:
    downloader = Downloader(_Expiring(), address)
    file = io.BytesIO()
    downloader.fetch("photographs", "plain", file)
    assert file.getvalue() == CONTENT


class _FullDisk(io.BytesIO):
    def write(self, content: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_disk_that_is_full_says_so(address: str, capfd: pytest.CaptureFixture[str]) -> None:
    downloader = Downloader(AnonymousCredentials(), address)
    with pytest.raises(OSError, match="No space left") as raised:
        downloader.fetch("photographs", "plain", _FullDisk())
    assert raised.value.errno == errno.ENOSPC
    assert capfd.readouterr().err == ""

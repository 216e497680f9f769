"""Files on a web server: by ranges where it gives them, whole where it does not, and nothing that is sent too much."""

from __future__ import annotations

import datetime
import gzip
import ipaddress
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from beam_job.runtime import storage
from beam_job.runtime.retries import TransientError
from beam_job.runtime.storage import web as web_files
from tests.support.loopback import HOST
from tests.support.web import Web, serve_web

CONTENT = bytes(range(256)) * 4096  # a megabyte


@pytest.fixture
def web() -> Iterator[Web]:
    with serve_web({"/a.bin": CONTENT, "/folder/b.bin": b"b"}) as server:
        yield server


def test_a_file_is_read_whole_or_in_part(web: Web) -> None:
    path = f"{web.url}/a.bin"
    assert storage.exists(path)
    assert not storage.exists(f"{web.url}/missing")
    info = storage.info_of(path)
    assert info.size == len(CONTENT) == storage.size_of(path)
    assert storage.read_bytes(path) == CONTENT
    assert storage.read_range(path, 1000, 10) == CONTENT[1000:1010]
    assert storage.read_range(path, len(CONTENT) - 3, 10) == CONTENT[-3:]
    assert storage.read_tail(info) == CONTENT[-len(storage.read_tail(info)) :]
    assert not storage.has_wildcards(f"{path}?width=100")
    assert not storage.is_directory(f"{web.url}/folder")


@pytest.mark.parametrize("head", [True, False])
@pytest.mark.parametrize("ranges", [True, False])
def test_a_stream_and_places(web: Web, ranges: bool, head: bool) -> None:
    web.ranges, web.head = ranges, head
    info = storage.info_of(f"{web.url}/a.bin")
    assert info.size == len(CONTENT)
    web.requests.clear()
    with storage.open_stream(info, 300_000) as file:
        assert file.read() == CONTENT
    content = [part for method, _, part in web.requests if method == "GET" and part != "bytes=0-0"]
    assert len(content) == (4 if ranges else 1)
    with storage.open_random(info, [(100_000, 50)]) as file:
        file.seek(100_000)
        assert file.read(50) == CONTENT[100_000:100_050]
        file.seek(5)
        assert file.read(3) == CONTENT[5:8]


def test_a_part_of_a_file_without_ranges(web: Web) -> None:
    web.ranges = False
    assert storage.read_range(f"{web.url}/a.bin", 1000, 10) == CONTENT[1000:1010]


def test_what_is_wrong(web: Web) -> None:
    with pytest.raises(FileNotFoundError, match="the server answers 404"):
        storage.read_bytes(f"{web.url}/missing")
    with pytest.raises(PermissionError, match="cannot be written"):
        storage.write_bytes(f"{web.url}/new", b"")
    with pytest.raises(OSError, match="without a user name"):
        storage.read_bytes(f"http://user:word@{HOST}:1/a")
    info = storage.info_of(f"{web.url}/a.bin")
    web.files["/a.bin"] = CONTENT[1:]
    with pytest.raises(OSError, match="has changed since it was listed"):
        storage.open_stream(info)


def test_an_answer_that_ends_too_early_is_asked_for_again(web: Web) -> None:
    web.cut = 1
    assert storage.read_bytes(f"{web.url}/a.bin") == CONTENT
    web.ranges, web.cut = False, 1
    with pytest.raises((TransientError, EOFError)), storage.open_stream(storage.info_of(f"{web.url}/a.bin")) as file:
        file.read()


def test_a_file_may_be_too_long(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_files, "LONGEST_FILE", 1000)
    with pytest.raises(OSError, match="at most 1,000 bytes"):
        storage.read_bytes(f"{web.url}/a.bin")
    assert len(storage.read_range(f"{web.url}/a.bin", 0, 5000)) == 5000


@pytest.mark.parametrize("told", [True, False])
def test_a_file_that_is_too_long_is_not_asked_for_again(web: Web, monkeypatch: pytest.MonkeyPatch, told: bool) -> None:
    monkeypatch.setattr(web_files, "LONGEST_FILE", len(CONTENT) // 2)  # a whole number of blocks
    web.length = told
    web.requests.clear()
    with pytest.raises(OSError, match="at most"):
        storage.read_bytes(f"{web.url}/a.bin")
    assert len(web.requests) == 1


def test_a_server_that_tells_no_length(web: Web) -> None:
    web.length = web.ranges = False
    info = storage.info_of(f"{web.url}/a.bin")
    assert info.size == len(CONTENT)
    assert not storage.has_ranges(info)
    with storage.open_stream(info) as file:
        assert file.read() == CONTENT


def test_what_a_server_compresses(web: Web) -> None:
    """A file that is compressed by itself stays so, whatever the server calls that; others are what was stored."""
    packed = gzip.compress(CONTENT)
    web.files |= {"/a.tar.gz": packed, "/a.csv": packed}
    web.encoding = "gzip"
    assert storage.read_bytes(f"{web.url}/a.tar.gz") == packed
    assert storage.read_bytes(f"{web.url}/a.csv") == CONTENT
    info = storage.info_of(f"{web.url}/a.tar.gz")
    assert not storage.has_ranges(info)
    with storage.open_stream(info) as file:
        assert file.read() == packed


@pytest.mark.parametrize("path", ["https:///x.jpg", f"https://{'a' * 64}.com/x", "https://a b/x"])
def test_what_is_no_url_is_not_asked_for(path: str) -> None:
    with pytest.raises(OSError, match="the name of a server"):
        storage.read_bytes(path)


def test_roots_hold_for_redirects_and_for_dots(web: Web) -> None:
    root = f"{web.url}/folder"
    web.files |= {"/folder/out.bin": "/a.bin", "/folder/in.bin": "/folder/b.bin"}
    with storage.confined([root]):
        assert storage.read_bytes(f"{root}/in.bin") == b"b"
        with pytest.raises(PermissionError, match="a redirect to a place below"):
            storage.read_bytes(f"{root}/out.bin")
    assert storage.is_allowed(f"{root}/b.bin", [root])
    for out in ("../a.bin", "%2e%2e/a.bin", "%252e%252e/a.bin", "..%5ca.bin", "x/..\\..\\a.bin"):
        assert not storage.is_allowed(f"{root}/{out}", [root]), out


def test_redirects_are_followed_but_not_for_ever(web: Web) -> None:
    web.files |= {"/1": "/2", "/2": f"{web.url}/a.bin", "/loop": "/loop", "/odd": "ftp://host/x"}
    assert storage.read_bytes(f"{web.url}/1") == CONTENT
    assert storage.info_of(f"{web.url}/1").size == len(CONTENT)
    with pytest.raises(OSError, match="at most 5 redirects"):
        storage.read_bytes(f"{web.url}/loop")
    with pytest.raises(OSError, match="expected a redirect to https"):
        storage.read_bytes(f"{web.url}/odd")


def test_no_credentials_are_sent(web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".netrc").write_text(f"machine {HOST} login me password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    for _ in range(2):
        storage.read_bytes(f"{web.url}/a.bin")  # the answer sets a cookie
    assert web.secrets == []


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate for the loopback address, signed by itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(HOST))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    encoding = serialization.Encoding.PEM
    secret = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path = tmp_path / "certificate.pem"
    path.write_bytes(signed.public_bytes(encoding) + secret)
    return path


def test_https_is_checked_and_does_not_lead_to_http(
    web: Web, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve_web({"/a.bin": CONTENT, "/down": f"{web.url}/a.bin"}, certificate) as safe:
        web_files._local.__dict__.clear()
        with pytest.raises(OSError, match="certificate"):
            storage.read_bytes(f"{safe.url}/a.bin")
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(shutil.copy(certificate, certificate.with_suffix(".ca"))))
        assert storage.read_bytes(f"{safe.url}/a.bin") == CONTENT
        with pytest.raises(OSError, match="expected a redirect to https"):
            storage.read_bytes(f"{safe.url}/down")
        web.files["/up"] = f"{safe.url}/a.bin"
        assert storage.read_bytes(f"{web.url}/up") == CONTENT

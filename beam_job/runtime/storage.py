"""The only door to a filesystem: local paths directly, everything else through Beam's ``FileSystems``.

Errors come out as Python's own: FileNotFoundError, PermissionError, and OSError for the rest, whatever the filesystem
behind the path. A file written here appears whole or not at all. What fails for a passing reason is tried again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import os
import posixpath
import re
import secrets
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import IO, Any, BinaryIO, TypeVar, cast

from beam_job.runtime.retries import persistently, python_errors

_SCHEME = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+://")
_COPY_BYTES = 1 << 20
_SPOOL_BYTES = 16 << 20
_GCS = "gs://"
# Connections that the client keeps open, for what threads ask of it at once; whoever reads has one of its own.
_GCS_CONNECTIONS = 64

R = TypeVar("R")


@dataclasses.dataclass(frozen=True, slots=True)
class FileInfo:
    """A file as a listing shows it.

    Attributes:
      path: Its full path.
      version: Size and time of the last modification, as text that changes when the file does.
    """

    path: str
    version: str


def is_local(path: str) -> bool:
    """Whether ``path`` is on this machine's own filesystem rather than behind a scheme such as ``gs://``."""
    return not _SCHEME.match(path)


def join(base: str, *parts: str) -> str:
    """``base`` and ``parts`` with one slash between them, on any filesystem."""
    if is_local(base):
        return os.path.join(base, *parts)
    return "/".join([base.rstrip("/"), *parts])


def parent(path: str) -> str:
    """The directory that holds ``path``."""
    return os.path.dirname(path) if is_local(path) else posixpath.dirname(path)


def absolute(path: str) -> str:
    """``path`` such that it means the same from any working directory."""
    return os.path.abspath(os.path.expanduser(path)) if is_local(path) else path.rstrip("/")


def relative(path: str, root: str) -> str:
    """``path`` seen from ``root``, with forward slashes; ``path`` itself when it lies elsewhere."""
    prefix = root.rstrip("/") + "/"
    return path[len(prefix) :] if path.startswith(prefix) else path


def is_below(path: str, root: str) -> bool:
    """Whether ``path`` lies in the directory ``root``; locally, links and ``..`` are followed first."""
    if is_local(path) != is_local(root):
        return False
    if not is_local(path):
        return path.startswith(root.rstrip("/") + "/") and ".." not in path.split("/")
    real, real_root = os.path.realpath(path), os.path.realpath(root)
    return real.startswith(real_root.rstrip(os.sep) + os.sep)


def read_bytes(path: str) -> bytes:
    """The whole content of a file; one request where an object store is concerned."""
    with open_read(path) as file:
        return file.read()


def open_read(path: str) -> BinaryIO:
    """A file to read as bytes, as they stand: nothing is decompressed by its name.

    From another filesystem it is fetched whole, into memory or, when it is large, to this machine's temporary
    directory; what is read then cannot fail half-way.
    """
    if is_local(path):
        return open(path, "rb")
    spool = _spool()
    try:
        _fetch(path, spool)
    except BaseException:
        spool.close()
        raise
    spool.seek(0)
    return cast(BinaryIO, spool)


def write_bytes(path: str, data: bytes) -> None:
    """Writes a file that appears whole or not at all."""
    with new_file(path) as file:
        file.write(data)


@contextlib.contextmanager
def new_file(path: str) -> Iterator[IO[bytes]]:
    """A file to write, which appears at ``path`` when the block ends without an error, and not at all otherwise.

    Locally it is written beside its place under a temporary name, synced and renamed. For other filesystems it is
    spooled to memory or this machine's temporary directory first; to a bucket it is sent in one piece, elsewhere under
    a temporary name and renamed there.
    """
    if is_local(path):
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        temporary = _temporary_name(path)
        try:
            with open(temporary, "xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
        return
    with _spool() as spool:
        yield cast(IO[bytes], spool)
        _send(spool, path)


@contextlib.contextmanager
def changed_file(path: str) -> Iterator[IO[bytes]]:
    """Like :func:`new_file`, but nothing is written when the file that is there holds the same bytes already."""
    with _spool() as spool:
        yield cast(IO[bytes], spool)
        if not _holds(path, spool):
            spool.seek(0)
            with new_file(path) as file:
                shutil.copyfileobj(spool, file, _COPY_BYTES)


def _holds(path: str, wanted: Any) -> bool:
    """Whether the file at ``path`` has the bytes of the open file ``wanted``."""
    try:
        found = open_read(path)
    except OSError:
        return False
    with found:
        wanted.seek(0)
        while block := wanted.read(_COPY_BYTES):
            if found.read(len(block)) != block:
                return False
        return not found.read(1)


def version_of(path: str) -> str:
    """What changes when a local file does; empty elsewhere, where to ask would cost a request for each file."""
    return _local_info(path).version if is_local(path) else ""


def exists(path: str) -> bool:
    """Whether there is a file (or, locally, a directory) at ``path``."""
    return os.path.exists(path) if is_local(path) else _exists(path)


def is_directory(path: str) -> bool:
    """Whether ``path`` is a directory, or, in an object store, a prefix with anything below it."""
    return os.path.isdir(path) if is_local(path) else bool(_match(path.rstrip("/") + "/**", 1))


def list_files(root: str, recursive: bool = True) -> Iterator[FileInfo]:
    """The files below a directory, in no particular order; nothing when there is no such directory.

    Args:
      root: A directory. Its name is taken literally, whatever characters it holds.
      recursive: Whether to descend; locally, links to directories are followed, but never in a circle.
    """
    if is_local(root):
        yield from _list_local(root, recursive, frozenset())
    else:
        yield from match(root.rstrip("/") + ("/**" if recursive else "/*"))


def list_folders(root: str) -> list[str] | None:
    """The names of the directories right below ``root``; None where only a full listing could tell."""
    if not is_local(root):
        return None
    return [entry.name for entry in os.scandir(root) if entry.is_dir()]


def match(pattern: str) -> Iterator[FileInfo]:
    """The files that a glob matches: ``*`` and ``?`` within a directory's level, ``**`` across levels, ``[...]``."""
    for found in _match(pattern):
        yield FileInfo(found.path, f"{found.size_in_bytes}-{found.last_updated_in_seconds}")


def delete(paths: Iterable[str]) -> None:
    """Deletes files; one that is gone already is no error."""
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            if is_local(path):
                os.unlink(path)
            else:
                _delete(path)


def remove_empty_folders(root: str) -> None:
    """Removes the directories below ``root`` that hold no file, and ``root`` itself; a no-op in an object store."""
    if is_local(root) and os.path.isdir(root):
        for folder, _, _ in os.walk(root, topdown=False):
            with contextlib.suppress(OSError):
                os.rmdir(folder)


def copy_to_local(source: str, target: str) -> None:
    """Copies a directory from any filesystem to a local directory that does not exist yet."""
    found = False
    for info in list_files(source):
        place = os.path.normpath(os.path.join(target, relative(info.path, source)))
        if not place.startswith(os.path.abspath(target) + os.sep):
            raise OSError(f"{info.path} would be copied outside {target}")
        found = True
        os.makedirs(os.path.dirname(place), exist_ok=True)
        with open_read(info.path) as reader, open(place, "xb") as writer:
            shutil.copyfileobj(reader, writer, _COPY_BYTES)
    if not found:
        raise FileNotFoundError(f"there is nothing at {source}")


def copy_from_local(source: str, target: str, last: str) -> None:
    """Copies a local directory to any filesystem, each file appearing whole, and one of them after all others.

    Args:
      source: The local directory.
      target: Where its files go; those that are there and have the same names are replaced.
      last: The path, within the directory, of the file whose presence says that the rest is there.
    """
    paths = sorted(relative(info.path, source) for info in list_files(source))
    for path in sorted(paths, key=lambda path: path == last):
        with open_read(join(source, path)) as reader, new_file(join(target, path)) as writer:
            shutil.copyfileobj(reader, writer, _COPY_BYTES)


def directory_digest(root: str) -> str:
    """SHA-256, in hexadecimal, over the names and contents of all files below a local directory."""
    digest = hashlib.sha256()
    for path in sorted(info.path for info in list_files(root)):
        with open(path, "rb") as file:
            content = hashlib.file_digest(file, "sha256")
        digest.update(f"{relative(path, root)}\0{content.hexdigest()}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _list_local(root: str, recursive: bool, above: frozenset[tuple[int, int]]) -> Iterator[FileInfo]:
    """The files below ``root``; ``above`` holds the directories on the way to it, so that links make no circle."""
    try:
        status = os.stat(root)
        entries = list(os.scandir(root))
    except FileNotFoundError:
        return
    here = (status.st_dev, status.st_ino)
    if here in above:
        return
    for entry in entries:
        if not entry.is_dir():
            yield _local_info(entry.path)
        elif recursive:
            yield from _list_local(entry.path, recursive, above | {here})


def _bucket_and_name(path: str) -> tuple[str, str]:
    bucket, _, name = path.removeprefix(_GCS).partition("/")
    return bucket, name


def _once(function: Callable[[], R]) -> Callable[[], R]:
    """Decorates what is made once for a process, however many threads ask for it first; the others wait."""
    made, lock = functools.cache(function), threading.Lock()

    @functools.wraps(function)
    def get() -> R:
        with lock:
            return made()

    return get


@_once
def _gcs_client() -> Any:
    """The process's client of Google Cloud Storage, with Beam's credentials and a connection for every writer."""
    from apache_beam.io.gcp.gcsio import GcsIO
    from requests.adapters import HTTPAdapter

    client = GcsIO().client
    for scheme in ("https://", "http://"):
        client._http.mount(scheme, HTTPAdapter(pool_connections=4, pool_maxsize=_GCS_CONNECTIONS))
    return client


@_once
def _gcs_downloader() -> Any:
    from beam_job.runtime.downloads import Downloader

    client = _gcs_client()
    return Downloader(client._http.credentials, client.api_endpoint)


def _local_info(path: str) -> FileInfo:
    try:
        status = os.stat(path)
    except (OSError, ValueError):  # a dangling link, a file that just went, no possible name: reading it will tell
        return FileInfo(path, "")
    return FileInfo(path, f"{status.st_size}-{status.st_mtime_ns}")


def _temporary_name(path: str) -> str:
    return f"{path}.tmp-{secrets.token_hex(4)}"


def _spool() -> Any:
    """A file in memory that moves to the disk when it grows."""
    return tempfile.SpooledTemporaryFile(max_size=_SPOOL_BYTES)


@persistently
def _fetch(path: str, spool: Any) -> None:
    with python_errors(path):
        if path.startswith(_GCS):
            _gcs_downloader().fetch(*_bucket_and_name(path), spool)
            return
        spool.seek(0)
        spool.truncate()
        filesystems, uncompressed = _beam()
        with filesystems.open(path, compression_type=uncompressed) as file:
            shutil.copyfileobj(file, spool, _COPY_BYTES)


@persistently
def _send(spool: Any, path: str) -> None:
    spool.seek(0)
    with python_errors(path):
        if path.startswith(_GCS):
            # An object appears when it is complete and not before, so no temporary name is needed.
            bucket, name = _bucket_and_name(path)
            _gcs_client().bucket(bucket).blob(name).upload_from_file(spool, retry=None)
            return
        filesystems, uncompressed = _beam()
        temporary = _temporary_name(path)
        with filesystems.create(temporary, compression_type=uncompressed) as file:
            shutil.copyfileobj(spool, file, _COPY_BYTES)
        filesystems.rename([temporary], [path])


@persistently
def _exists(path: str) -> bool:
    with python_errors(path):
        return bool(_beam()[0].exists(path))


@persistently
def _match(pattern: str, limit: int | None = None) -> list[Any]:
    with python_errors(pattern):
        (result,) = _beam()[0].match([pattern], limits=None if limit is None else [limit])
        return list(result.metadata_list)


@persistently
def _delete(path: str) -> None:
    with python_errors(path):
        _beam()[0].delete([path])


def _beam() -> tuple[Any, Any]:
    from apache_beam.io.filesystem import CompressionTypes
    from apache_beam.io.filesystems import FileSystems

    return FileSystems, CompressionTypes.UNCOMPRESSED

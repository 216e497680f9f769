"""The only door to a filesystem: local paths directly, everything else through Beam's ``FileSystems``.

Errors come out as Python's own: FileNotFoundError, PermissionError, and OSError for the rest, whatever the filesystem
behind the path. A file written here appears whole or not at all.
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
from collections.abc import Iterable, Iterator
from typing import IO, Any, BinaryIO, cast

_SCHEME = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+://")
_COPY_BYTES = 1 << 20
_GCS = "gs://"
_GCS_CONNECTIONS = 64


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


def read_bytes(path: str) -> bytes:
    """The whole content of a file; one request where an object store is concerned."""
    if path.startswith(_GCS):
        bucket, _, name = path.removeprefix(_GCS).partition("/")
        with _python_errors(path):
            content: bytes = _gcs_client().bucket(bucket).blob(name).download_as_bytes()
            return content
    with open_read(path) as file, _python_errors(path):
        return file.read()


def open_read(path: str) -> BinaryIO:
    """A file to read as bytes, as they stand: nothing is decompressed by its name."""
    if is_local(path):
        return open(path, "rb")
    with _python_errors(path):
        filesystems, uncompressed = _beam()
        return cast(BinaryIO, filesystems.open(path, compression_type=uncompressed))


def write_bytes(path: str, data: bytes) -> None:
    """Writes a file that appears whole or not at all."""
    with new_file(path) as file:
        file.write(data)


@contextlib.contextmanager
def new_file(path: str) -> Iterator[IO[bytes]]:
    """A file to write, which appears at ``path`` when the block ends without an error, and not at all otherwise.

    Locally it is written beside its place under a temporary name, synced and renamed. For other filesystems it is
    spooled to this machine's temporary directory, sent under a temporary name and renamed there.
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
    with tempfile.SpooledTemporaryFile(max_size=_COPY_BYTES) as spool:
        yield spool
        spool.seek(0)
        with _python_errors(path):
            _send(spool, path)


@contextlib.contextmanager
def changed_file(path: str) -> Iterator[IO[bytes]]:
    """Like :func:`new_file`, but nothing is written when the file that is there holds the same bytes already."""
    with tempfile.SpooledTemporaryFile(max_size=_COPY_BYTES) as spool:
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
    if is_local(path):
        return os.path.exists(path)
    with _python_errors(path):
        return bool(_beam()[0].exists(path))


def is_directory(path: str) -> bool:
    """Whether ``path`` is a directory, or, in an object store, a prefix with anything below it."""
    if is_local(path):
        return os.path.isdir(path)
    with _python_errors(path):
        return bool(_beam()[0].match([path.rstrip("/") + "/**"], limits=[1])[0].metadata_list)


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
    with _python_errors(pattern):
        (result,) = _beam()[0].match([pattern])
    for found in result.metadata_list:
        yield FileInfo(found.path, f"{found.size_in_bytes}-{found.last_updated_in_seconds}")


def delete(paths: Iterable[str]) -> None:
    """Deletes files; one that is gone already is no error."""
    for path in paths:
        with contextlib.suppress(FileNotFoundError), _python_errors(path):
            if is_local(path):
                os.unlink(path)
            else:
                _beam()[0].delete([path])


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


@functools.cache
def _gcs_client() -> Any:
    """The process's client of Google Cloud Storage, with Beam's credentials and a connection for every reader."""
    from apache_beam.io.gcp.gcsio import GcsIO
    from requests.adapters import HTTPAdapter

    client = GcsIO().client
    for scheme in ("https://", "http://"):
        client._http.mount(scheme, HTTPAdapter(pool_connections=4, pool_maxsize=_GCS_CONNECTIONS))
    return client


def _local_info(path: str) -> FileInfo:
    try:
        status = os.stat(path)
    except OSError:  # a dangling link, or a file that just went: reading it will tell
        return FileInfo(path, "")
    return FileInfo(path, f"{status.st_size}-{status.st_mtime_ns}")


def _temporary_name(path: str) -> str:
    return f"{path}.tmp-{secrets.token_hex(4)}"


def _send(spool: IO[bytes], path: str) -> None:
    filesystems, uncompressed = _beam()
    temporary = _temporary_name(path)
    with filesystems.create(temporary, compression_type=uncompressed) as file:
        shutil.copyfileobj(spool, file, _COPY_BYTES)
    filesystems.rename([temporary], [path])


def _beam() -> tuple[Any, Any]:
    from apache_beam.io.filesystem import CompressionTypes
    from apache_beam.io.filesystems import FileSystems

    return FileSystems, CompressionTypes.UNCOMPRESSED


@contextlib.contextmanager
def _python_errors(path: str) -> Iterator[None]:
    """Turns what Beam and the cloud clients raise into Python's own errors."""
    try:
        yield
    except OSError as error:
        cause = _cause(error)
        if cause is error:
            raise
        _raise_as_python(path, cause)
    except Exception as error:  # cloud clients have trees of exceptions of their own
        _raise_as_python(path, error)


def _cause(error: BaseException) -> BaseException:
    """What lies beneath a BeamIOError, which keeps the real errors in a mapping."""
    details = getattr(error, "exception_details", None)
    inner = [value for value in details.values() if isinstance(value, BaseException)] if details else []
    return inner[0] if inner else error


def _raise_as_python(path: str, error: BaseException) -> None:
    code = getattr(error, "code", None) or getattr(error, "status_code", None)
    message = f"{path}: {error}"
    if isinstance(error, FileNotFoundError) or code == 404:
        raise FileNotFoundError(message) from error
    if isinstance(error, PermissionError) or code in (401, 403):
        raise PermissionError(message) from error
    raise OSError(message) from error

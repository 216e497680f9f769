"""Reading, writing and listing files by their paths, on whichever filesystem they are."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterable, Iterator
from typing import IO, Any, BinaryIO, cast

from beam_job.runtime.storage.base import COPY_BYTES, FileInfo, FileSystem, Ranges, spool
from beam_job.runtime.storage.gcs import SCHEME, GcsFileSystem
from beam_job.runtime.storage.local import LocalFileSystem
from beam_job.runtime.storage.paths import is_local, is_web
from beam_job.runtime.storage.remote import RemoteFileSystem
from beam_job.runtime.storage.web import WebFileSystem

# A store is asked for so many bytes of a container at a time.
STREAMED_BYTES = 64 << 20
_TAIL_BYTES = 64 << 10
# And for so many, if only its first examples are wanted.
LOOKED_BYTES = 4 << 20
_LOCAL, _GCS, _WEB, _REMOTE = LocalFileSystem(), GcsFileSystem(), WebFileSystem(), RemoteFileSystem()


def _filesystem(path: str) -> FileSystem:
    if is_local(path):
        return _LOCAL
    if is_web(path):
        return _WEB
    return _GCS if path.startswith(SCHEME) else _REMOTE


def read_bytes(path: str) -> bytes:
    """The whole content of a file; one request to an object store."""
    with open_read(path) as file:
        return file.read()


def read_range(path: str, start: int, length: int) -> bytes:
    """``length`` bytes of a file from ``start`` on, at least one; fewer where it ends before. One request."""
    return _filesystem(path).read_range(path, start, length)


def open_read(path: str) -> BinaryIO:
    """A file to read as bytes; nothing is decompressed because of its name.

    From another filesystem the file is fetched whole, into memory or, when it is large, to this machine's temporary
    directory, so that reading cannot fail halfway.
    """
    return _filesystem(path).open_read(path)


def open_stream(info: FileInfo, request_bytes: int = STREAMED_BYTES) -> BinaryIO:
    """A file to read from its start to its end, in bounded memory; from a store in requests of so many bytes."""
    return _filesystem(info.path).open_stream(info, request_bytes)


def read_tail(info: FileInfo) -> bytes:
    """The last bytes of a file, where formats have what is in it; one request."""
    start = max(0, info.size - _TAIL_BYTES)
    return _filesystem(info.path).read_range(info.path, start, info.size - start) if info.size > 0 else b""


def open_random(
    info: FileInfo, ranges: Ranges = (), request_bytes: int = STREAMED_BYTES, tail: bytes = b""
) -> BinaryIO:
    """A file to read from any place.

    Args:
      info: Which file.
      ranges: What will be read of it, for a store, which is asked for neighbours together.
      request_bytes: The most that a store is asked for at a time.
      tail: The last bytes of the file, if they are known, which a store is then not asked for.
    """
    return _filesystem(info.path).open_random(info, ranges, request_bytes, tail)


def has_ranges(info: FileInfo) -> bool:
    """Whether parts of a file can be read without the rest; some web servers give whole files only."""
    return _filesystem(info.path).has_ranges(info)


def write_bytes(path: str, data: bytes) -> None:
    """Writes a file that appears whole or not at all."""
    with new_file(path) as file:
        file.write(data)


def new_file(path: str) -> contextlib.AbstractContextManager[IO[bytes]]:
    """A file to write, which appears at ``path`` when the block ends without an error, and only then."""
    return _filesystem(path).new_file(path)


@contextlib.contextmanager
def changed_file(path: str) -> Iterator[IO[bytes]]:
    """Like :func:`new_file`, but writes nothing when the existing file holds the same bytes already."""
    with spool() as file:
        yield cast(IO[bytes], file)
        if not _holds(path, file):
            file.seek(0)
            with new_file(path) as target:
                shutil.copyfileobj(file, target, COPY_BYTES)


def _holds(path: str, wanted: Any) -> bool:
    """Whether the file at ``path`` has the bytes of the open file ``wanted``."""
    try:
        found = open_read(path)
    except OSError:
        return False
    with found:
        wanted.seek(0)
        while block := wanted.read(COPY_BYTES):
            if found.read(len(block)) != block:
                return False
        return not found.read(1)


def info_of(path: str) -> FileInfo:
    """A file as a listing gives it; FileNotFoundError when there is none."""
    return _filesystem(path).info_of(path)


def version_of(path: str) -> str:
    """Changes when a local file does; empty elsewhere, where it would cost a request per file."""
    return _filesystem(path).version_of(path)


def exists(path: str) -> bool:
    """Whether there is a file (or, locally, a directory) at ``path``."""
    return _filesystem(path).exists(path)


def size_of(path: str) -> int:
    """The size of a file in bytes."""
    return _filesystem(path).size_of(path)


def is_directory(path: str) -> bool:
    """Whether ``path`` is a directory, or, in an object store, a prefix of some object."""
    return _filesystem(path).is_directory(path)


def list_files(root: str, recursive: bool = True) -> Iterator[FileInfo]:
    """The files below a directory, in no particular order; none when it does not exist.

    Args:
      root: A directory. Its name is taken literally, whatever characters it holds.
      recursive: Whether to descend; locally, links to directories are followed, but never in a cycle.
    """
    return _filesystem(root).list_files(root, recursive)


def match(pattern: str) -> Iterator[FileInfo]:
    """The files that match a glob: ``*`` and ``?`` within a name, ``**`` across folders, ``[...]``; no hidden ones."""
    return _filesystem(pattern).match(pattern)


def list_folders(root: str) -> list[str] | None:
    """The names of the directories directly below ``root``; None where only a full listing could tell."""
    return _filesystem(root).list_folders(root)


def delete(paths: Iterable[str]) -> None:
    """Deletes files; one that does not exist is no error."""
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            _filesystem(path).delete(path)


def remove_empty_folders(root: str) -> None:
    """Removes ``root`` and the directories below it that hold no file; nothing to do in an object store."""
    _filesystem(root).remove_empty_folders(root)

"""Any filesystem that Beam knows, through Beam's ``FileSystems``."""

from __future__ import annotations

import contextlib
import functools
import secrets
import shutil
from collections.abc import Iterator
from typing import IO, Any, BinaryIO, cast

from beam_job.runtime.retries import python_errors, with_retries
from beam_job.runtime.storage import globs
from beam_job.runtime.storage.base import COPY_BYTES, FileInfo, Ranges, spool
from beam_job.runtime.storage.paths import temporary
from beam_job.runtime.storage.streaming import in_ranges, streamed


class RemoteFileSystem:
    """Files behind a scheme. What is read is fetched whole first, so that reading cannot fail halfway."""

    def open_read(self, path: str) -> BinaryIO:
        """The file, in memory or, when it is large, in this machine's temporary directory."""
        file = spool()
        try:
            self._fetch(path, file)
        except BaseException:
            file.close()
            raise
        file.seek(0)
        return cast(BinaryIO, file)

    @with_retries
    def read_range(self, path: str, start: int, length: int) -> bytes:
        filesystems, uncompressed = _beam()
        with python_errors(path), filesystems.open(path, compression_type=uncompressed) as source:
            source.seek(start)
            return bytes(source.read(length))

    def open_stream(self, info: FileInfo, request_bytes: int) -> BinaryIO:
        return streamed(functools.partial(self._fetch_range, info.path), info.size, request_bytes)

    def open_random(self, info: FileInfo, ranges: Ranges, request_bytes: int, tail: bytes) -> BinaryIO:
        return in_ranges(functools.partial(self._fetch_range, info.path), info.size, ranges, request_bytes, tail)

    def has_ranges(self, info: FileInfo) -> bool:
        return True

    @contextlib.contextmanager
    def new_file(self, path: str) -> Iterator[IO[bytes]]:
        """A file that is spooled to memory or this machine's temporary directory, and then sent."""
        with spool() as file:
            yield cast(IO[bytes], file)
            self._send(file, path)

    def info_of(self, path: str) -> FileInfo:
        for info in self.match(globs.escape(path)):
            if info.path == path:
                return info
        raise FileNotFoundError(f"there is no file at {path}")

    def version_of(self, path: str) -> str:
        return ""

    @with_retries
    def exists(self, path: str) -> bool:
        with python_errors(path):
            return bool(_beam()[0].exists(path))

    @with_retries
    def size_of(self, path: str) -> int:
        with python_errors(path):
            return int(_beam()[0].get_filesystem(path).size(path))

    def is_directory(self, path: str) -> bool:
        return bool(self._match(path.rstrip("/") + "/**", 1))

    def list_files(self, root: str, recursive: bool) -> Iterator[FileInfo]:
        return self.match(root.rstrip("/") + ("/**" if recursive else "/*"))

    def match(self, pattern: str) -> Iterator[FileInfo]:
        for found in self._match(pattern):
            yield FileInfo(found.path, f"{found.size_in_bytes}-{found.last_updated_in_seconds}", found.size_in_bytes)

    def list_folders(self, root: str) -> list[str] | None:
        return None

    @with_retries
    def delete(self, path: str) -> None:
        with python_errors(path):
            _beam()[0].delete([path])

    def remove_empty_folders(self, root: str) -> None:
        """Nothing to do: a directory is a prefix."""

    @with_retries
    def _match(self, pattern: str, limit: int | None = None) -> list[Any]:
        with python_errors(pattern):
            (result,) = _beam()[0].match([pattern], limits=None if limit is None else [limit])
            return list(result.metadata_list)

    @with_retries
    def _fetch(self, path: str, file: Any) -> None:
        with python_errors(path):
            self.fetch(path, file)

    @with_retries
    def _send(self, file: Any, path: str) -> None:
        file.seek(0)
        with python_errors(path):
            self.send(file, path)

    @with_retries
    def _fetch_range(self, path: str, start: int, length: int) -> BinaryIO:
        file = spool()
        try:
            with python_errors(path):
                self.fetch_range(path, start, length, file)
        except BaseException:
            file.close()
            raise
        file.seek(0)
        return cast(BinaryIO, file)

    def fetch_range(self, path: str, start: int, length: int, file: Any) -> None:
        """Writes ``length`` bytes of the file at ``path``, from ``start`` on, to an empty file; fewer at its end."""
        filesystems, uncompressed = _beam()
        with filesystems.open(path, compression_type=uncompressed) as source:
            source.seek(start)
            file.write(source.read(length))

    def fetch(self, path: str, file: Any) -> None:
        """Replaces the content of ``file`` by that of the file at ``path``."""
        file.seek(0)
        file.truncate()
        filesystems, uncompressed = _beam()
        with filesystems.open(path, compression_type=uncompressed) as source:
            shutil.copyfileobj(source, file, COPY_BYTES)

    def send(self, file: Any, path: str) -> None:
        """Writes what is left of ``file`` under a temporary name and renames it to ``path``."""
        filesystems, uncompressed = _beam()
        writing = temporary(path, secrets.token_hex(4))
        with filesystems.create(writing, compression_type=uncompressed) as target:
            shutil.copyfileobj(file, target, COPY_BYTES)
        filesystems.rename([writing], [path])


def _beam() -> tuple[Any, Any]:
    from apache_beam.io.filesystem import CompressionTypes
    from apache_beam.io.filesystems import FileSystems

    return FileSystems, CompressionTypes.UNCOMPRESSED

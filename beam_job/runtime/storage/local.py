"""This machine's own filesystem."""

from __future__ import annotations

import contextlib
import glob
import os
import secrets
from collections.abc import Iterator
from typing import IO, BinaryIO

from beam_job.runtime.storage import globs
from beam_job.runtime.storage.base import FileInfo, Ranges
from beam_job.runtime.storage.paths import temporary

_STREAM_BUFFER = 256 << 10


class LocalFileSystem:
    """Files on this machine."""

    def open_read(self, path: str) -> BinaryIO:
        return open(path, "rb")

    def read_range(self, path: str, start: int, length: int) -> bytes:
        with open(path, "rb") as file:
            file.seek(start)
            return file.read(length)

    def open_stream(self, info: FileInfo, request_bytes: int) -> BinaryIO:
        return open(info.path, "rb", buffering=_STREAM_BUFFER)

    def open_random(self, info: FileInfo, ranges: Ranges, request_bytes: int, tail: bytes) -> BinaryIO:
        return open(info.path, "rb")

    def has_ranges(self, info: FileInfo) -> bool:
        return True

    @contextlib.contextmanager
    def new_file(self, path: str) -> Iterator[IO[bytes]]:
        """A file that is written beside its place under a temporary name, synced and renamed."""
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        writing = temporary(path, secrets.token_hex(4))
        try:
            with open(writing, "xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(writing, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(writing)
            raise

    def info_of(self, path: str) -> FileInfo:
        os.stat(path)
        return _info(path)

    def version_of(self, path: str) -> str:
        return _info(path).version

    def exists(self, path: str) -> bool:
        return os.path.exists(path)

    def size_of(self, path: str) -> int:
        return os.path.getsize(path)

    def is_directory(self, path: str) -> bool:
        return os.path.isdir(path)

    def list_files(self, root: str, recursive: bool) -> Iterator[FileInfo]:
        return _list(root, recursive, frozenset())

    def match(self, pattern: str) -> Iterator[FileInfo]:
        if "**" not in pattern:
            return (_info(path) for path in glob.iglob(pattern) if not os.path.isdir(path))
        matches = globs.translate(pattern).fullmatch
        return (info for info in self.list_files(globs.fixed_parent(pattern) or "/", True) if matches(info.path))

    def list_folders(self, root: str) -> list[str] | None:
        return [entry.name for entry in os.scandir(root) if entry.is_dir()]

    def delete(self, path: str) -> None:
        os.unlink(path)

    def remove_empty_folders(self, root: str) -> None:
        if os.path.isdir(root):
            for folder, _, _ in os.walk(root, topdown=False):
                with contextlib.suppress(OSError):
                    os.rmdir(folder)


def _list(root: str, recursive: bool, above: frozenset[tuple[int, int]]) -> Iterator[FileInfo]:
    """The files below ``root``; ``above`` holds the directories on the way to it, so that links make no cycle."""
    try:
        status = os.stat(root)
        entries = list(os.scandir(root))
    except (FileNotFoundError, NotADirectoryError):
        return
    here = (status.st_dev, status.st_ino)
    if here in above:
        return
    for entry in entries:
        if not entry.is_dir():
            yield _info(entry.path)
        elif recursive:
            yield from _list(entry.path, recursive, above | {here})


def _info(path: str) -> FileInfo:
    try:
        status = os.stat(path)
    except (OSError, ValueError):  # a dangling link, a file just deleted, an impossible name: reading it will tell
        return FileInfo(path, "", -1)
    return FileInfo(path, f"{status.st_size}-{status.st_mtime_ns}", status.st_size)

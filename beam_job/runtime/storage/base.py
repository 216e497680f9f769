"""What a filesystem must do."""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
from collections.abc import Iterator, Sequence
from typing import IO, Any, BinaryIO, Protocol

# First byte and number of bytes of parts of a file.
Ranges = Sequence[tuple[int, int]]
COPY_BYTES = 1 << 20
_SPOOL_BYTES = 16 << 20


@dataclasses.dataclass(frozen=True, slots=True)
class FileInfo:
    """A file in a listing.

    Attributes:
      path: Its full path.
      version: Size and time of the last modification, as text that changes when the file does.
      size: Its length in bytes; -1 if it cannot be told.
    """

    path: str
    version: str
    size: int


class FileSystem(Protocol):
    """A filesystem. Errors are Python's own; see the package."""

    def open_read(self, path: str) -> BinaryIO:
        """A file to read as bytes; nothing is decompressed because of its name."""

    def read_range(self, path: str, start: int, length: int) -> bytes:
        """``length`` bytes of a file from ``start`` on; fewer where it ends before."""

    def open_stream(self, info: FileInfo, request_bytes: int) -> BinaryIO:
        """A file to read from its start on, in requests of so many bytes; it cannot go back."""

    def open_random(self, info: FileInfo, ranges: Ranges, request_bytes: int, tail: bytes) -> BinaryIO:
        """A file to read from any place, whose last bytes are known; no byte is fetched twice."""

    def has_ranges(self, info: FileInfo) -> bool:
        """Whether parts of a file can be read without the rest."""

    def new_file(self, path: str) -> contextlib.AbstractContextManager[IO[bytes]]:
        """A file to write, which appears at ``path`` when the block ends without an error, and only then."""

    def info_of(self, path: str) -> FileInfo:
        """A file as a listing would give it; FileNotFoundError when there is none."""

    def version_of(self, path: str) -> str:
        """Changes when the file does; empty where it would cost a request per file."""

    def exists(self, path: str) -> bool:
        """Whether there is a file (or, locally, a directory) at ``path``."""

    def size_of(self, path: str) -> int:
        """The size of a file in bytes; FileNotFoundError when there is none."""

    def is_directory(self, path: str) -> bool:
        """Whether ``path`` is a directory, or, in an object store, a prefix of some object."""

    def list_files(self, root: str, recursive: bool) -> Iterator[FileInfo]:
        """The files below a directory, in no particular order; none when it does not exist."""

    def match(self, pattern: str) -> Iterator[FileInfo]:
        """The files that match a glob, as ``globs`` defines it, in no particular order."""

    def list_folders(self, root: str) -> list[str] | None:
        """The names of the directories directly below ``root``; None where only a full listing could tell."""

    def delete(self, path: str) -> None:
        """Deletes a file; FileNotFoundError when there is none."""

    def remove_empty_folders(self, root: str) -> None:
        """Removes ``root`` and the directories below it that hold no file; nothing to do in an object store."""


def spool() -> Any:
    """A file in memory that moves to disk when it grows."""
    return tempfile.SpooledTemporaryFile(max_size=_SPOOL_BYTES)

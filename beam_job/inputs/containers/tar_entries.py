"""The entries of a tar file, read from its start to its end: damaged parts are told, and the rest is found again."""

from __future__ import annotations

import bz2
import dataclasses
import gzip
import io
import lzma
import tarfile
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

from beam_job.inputs.containers.base import DAMAGED_STREAM, LONGEST_MEMBER, UNREADABLE
from beam_job.inputs.containers.members import leads_out

_BLOCK = tarfile.BLOCKSIZE
_CHUNK_BYTES = 1 << 20
# A header that is longer is none.
_LONGEST_HEADER = 1 << 20
# Compressed data may grow by so much, or to so many bytes.
_LARGEST_RATIO, _FREE_BYTES = 200, 1 << 30
_OPENERS: dict[bytes, Callable[[Any], Any]] = {
    b"\x1f\x8b": lambda file: gzip.GzipFile(fileobj=file),
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\x00": lzma.LZMAFile,
}


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """A member of a tar file.

    Attributes:
      name: Its name, as it is written there.
      size: Its length in bytes.
      problem: Why it cannot be read, or None.
      read: Gives so many of its first bytes, before the next entry is drawn. Raises ValueError where the file ends
        before.
    """

    name: str
    size: int
    problem: str | None
    read: Callable[[int], bytes]


@dataclasses.dataclass(frozen=True, slots=True)
class Lost:
    """A part of a tar file that cannot be read, with the words that say why."""

    problem: str


class _Archive(tarfile.TarFile):
    """What tarfile needs to know while it reads a header; it does not read by itself."""

    def next(self) -> tarfile.TarInfo | None:
        return None


def tar_entries(file: BinaryIO, size: int = -1) -> Iterator[Entry | Lost]:
    """The entries of a tar file, compressed or not; directories are left out.

    Args:
      file: Open at its start.
      size: The file's length, if it is known.
    """
    forward = _Forward(*_decompressed(file, size))
    archive = _Archive(fileobj=forward, mode="r", errors="surrogateescape")  # type: ignore[arg-type]
    count = 0
    while True:
        try:
            forward.seek(archive.offset)
            info = tarfile.TarInfo.fromtarfile(archive)
            if info.size < 0 or archive.offset <= info.offset:
                raise tarfile.ReadError(f"a member of {info.size} bytes")
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            problem = None
        except tarfile.EmptyHeaderError:  # type: ignore[attr-defined]
            problem = f"it ends after {count} members without the mark of its end" if count else "it is empty"
        except UNREADABLE:
            raise
        except (tarfile.TarError, *DAMAGED_STREAM) as error:
            problem = f"it is damaged after {count} members: {error}"
        else:
            if not info.isdir():
                count += 1
                yield _entry(info, forward)
            continue
        try:
            found, skipped = forward.find_header()
        except UNREADABLE:
            raise
        except (tarfile.TarError, *DAMAGED_STREAM) as error:
            problem, found, skipped = problem or f"it is damaged after {count} members: {error}", False, 0
        if skipped and not problem:
            problem = f"{skipped} bytes after the mark of its end, and after {count} members, are no members"
        if problem:
            yield Lost(problem)
        if not found:
            return
        archive.offset = forward.tell()


def _decompressed(file: BinaryIO, size: int) -> tuple[Any, int | None]:
    """The file, or what it holds if it is compressed, and how many bytes that may be."""
    start = file.peek(8) if isinstance(file, io.BufferedReader) else b""
    for mark, opener in _OPENERS.items():
        if start.startswith(mark):
            return opener(file), max(_FREE_BYTES, size * _LARGEST_RATIO)
    return file, None


def _entry(info: tarfile.TarInfo, forward: _Forward) -> Entry:
    def read(count: int) -> bytes:
        wanted = min(count, info.size)
        forward.seek(info.offset_data)
        data = forward.read(wanted, LONGEST_MEMBER)
        if len(data) < wanted:
            raise ValueError(f"expected {wanted} bytes, found {len(data)}: the tar file is cut off")
        return data

    return Entry(info.name, info.size, _problem(info), read)


def _problem(info: tarfile.TarInfo) -> str | None:
    if info.issym() or info.islnk():
        return f"expected a file, found a link to {info.linkname!r}; make the archive with tar --dereference"
    if info.issparse():
        return "expected a file, found a sparse one"
    if not info.isreg():
        return "expected a file, found a device or a pipe"
    if leads_out(info.name):
        return "expected a name within the archive, found one that leads out of it"
    if info.size > LONGEST_MEMBER:
        return f"expected at most {LONGEST_MEMBER} bytes, found {info.size}"
    return None


class _Forward:
    """A file that is read forward, and a little back: what tarfile needs of a file."""

    def __init__(self, file: Any, limit: int | None) -> None:
        """A file at its start.

        Args:
          file: Where the bytes come from.
          limit: How many bytes it may hold, or None for any number.
        """
        self._file, self._limit = file, limit
        self._seeks = limit is None and file.seekable()
        self._position = 0
        self._last = b""  # the bytes before the position
        self._again = b""  # the bytes after it that were read already

    def tell(self) -> int:
        return self._position

    def read(self, size: int, longest: int = _LONGEST_HEADER) -> bytes:
        if size > longest:
            raise tarfile.ReadError(f"expected a header of at most {longest} bytes, found {size}")
        data = self._again[:size]
        self._again = self._again[len(data) :]
        if len(data) < size:
            data += self._file.read(size - len(data))
        self._position += len(data)
        self._last = data[-_CHUNK_BYTES:]
        if self._limit is not None and self._position > self._limit:
            raise ValueError(f"its compressed content has more than {self._limit} bytes")
        return data

    def seek(self, position: int) -> int:
        if position < self._position:
            back = self._position - position
            if back > len(self._last):
                raise ValueError("members overlap")
            self._again = self._last[-back:] + self._again
            self._last, self._position = self._last[:-back], position
        elif self._seeks and position > self._position + len(self._again):
            self._file.seek(position)
            self._position, self._last, self._again = position, b"", b""
        while self._position < position:
            if not self.read(min(position - self._position, _CHUNK_BYTES)):
                break
        return self._position

    def find_header(self) -> tuple[bool, int]:
        """Goes to the next header of a member.

        Returns:
          Whether there is one, and the number of bytes, not zeros, that were skipped.
        """
        skipped = 0
        while chunk := self.read(_CHUNK_BYTES):
            if not chunk.strip(b"\0"):
                continue
            start = self._position - len(chunk)
            for place in range(0, len(chunk), _BLOCK):
                block = chunk[place : place + _BLOCK]
                if _is_header(block):
                    self.seek(start + place)
                    return True, skipped
                skipped += len(block) if block.strip(b"\0") else 0
        return False, skipped


def _is_header(block: bytes) -> bool:
    try:
        return tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape").size >= 0
    except (tarfile.HeaderError, ValueError, OverflowError):
        return False

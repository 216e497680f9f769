"""Files of a store, of which a range is fetched at a time: read from the start to the end, or from place to place."""

from __future__ import annotations

import io
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, BinaryIO, cast

from beam_job.runtime.storage.base import Ranges

_BUFFER_BYTES = 256 << 10
# Ranges that are so close to each other are fetched together, and what is in none is fetched by so many bytes.
_GAP_BYTES, _STRAY_BYTES = 256 << 10, 64 << 10

Fetch = Callable[[int, int], BinaryIO]


def streamed(fetch: Fetch, size: int, request_bytes: int) -> BinaryIO:
    """A file that can be read forward.

    Args:
      fetch: Gives the bytes from a place on, so many of them, as an open file; called from one thread at a time.
      size: The length of the file.
      request_bytes: The length of a range.
    """
    return io.BufferedReader(_Ranges(fetch, size, request_bytes), _BUFFER_BYTES)


class _Ranges(io.RawIOBase):
    """Holds one range, which is in memory or, when it is large, on disk; the next one is fetched while it is read.

    The next range is asked for when half of this one is read, so that a reader who stops early does not wait for it.
    """

    def __init__(self, fetch: Fetch, size: int, request_bytes: int) -> None:
        self._fetch, self._size, self._length = fetch, size, request_bytes
        self._start = self._read = 0  # where the range begins, and how much of it has been read
        self._pool = ThreadPoolExecutor(1, "beam-job-stream")
        self._range: BinaryIO | None = None
        self._next: Future[BinaryIO] | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self._start + self._read >= self._size:
            return 0
        if self._range is None or self._read >= self._length:
            self._advance()
        assert self._range is not None
        data = self._range.read(len(buffer))
        if not data:
            raise EOFError(f"the file ends after {self._start + self._read} of {self._size} bytes")
        buffer[: len(data)] = data
        self._read += len(data)
        following = self._start + self._length
        if self._next is None and self._read >= self._length // 2 and following < self._size:
            self._next = self._pool.submit(self._fetch, following, min(self._length, self._size - following))
        return len(data)

    def _advance(self) -> None:
        if self._range is not None:
            self._range.close()
            self._start += self._length
        length = min(self._length, self._size - self._start)
        pending, self._next = self._next, None
        self._range = pending.result() if pending else self._fetch(self._start, length)
        self._read = 0

    def close(self) -> None:
        if not self.closed:
            if self._next is not None and not self._next.cancel():
                self._next.add_done_callback(lambda done: done.exception() or done.result().close())
            if self._range is not None:
                self._range.close()
            self._pool.shutdown(wait=False)
        super().close()


def in_ranges(fetch: Fetch, size: int, ranges: Ranges, request_bytes: int, tail: bytes = b"") -> BinaryIO:
    """A file that can be read from any place, of which every byte is fetched once at most, when it is first read.

    Args:
      fetch: As in :func:`streamed`.
      size: The length of the file.
      ranges: First byte and number of bytes of what will be read.
      request_bytes: The most that is fetched at a time.
      tail: The last bytes of the file, which are not fetched.
    """
    end = size - len(tail)
    before = [(start, min(length, end - start)) for start, length in ranges if start < end]
    return cast(BinaryIO, io.BufferedReader(_Places(fetch, size, _joined(before, request_bytes), tail)))


def _joined(ranges: Ranges, most: int) -> list[tuple[int, int]]:
    """Ranges in their order, those that are close to each other joined, and each cut into ``most`` bytes.

    >>> _joined([(100, 5), (0, 10)], 64)
    [(0, 64), (64, 41)]
    """
    joined: list[list[int]] = []
    for start, length in sorted(ranges):
        if joined and start <= joined[-1][1] + _GAP_BYTES:
            joined[-1][1] = max(joined[-1][1], start + length)
        else:
            joined.append([start, start + length])
    return [
        (place, min(most, end - place)) for start, end in joined for place in range(start, end, most) if end > place
    ]


class _Places(io.RawIOBase):
    """Holds every range that was fetched, in memory or, when it is large, on disk."""

    def __init__(self, fetch: Fetch, size: int, ranges: list[tuple[int, int]], tail: bytes) -> None:
        self._fetch, self._size = fetch, size
        known = (size - len(tail), len(tail))
        self._ranges = [*ranges, known] if tail else ranges
        self._held: dict[tuple[int, int], BinaryIO] = {known: io.BytesIO(tail)} if tail else {}
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        return self._position

    def readinto(self, buffer: Any) -> int:
        if self._position >= self._size or not len(buffer):
            return 0
        start, length = self._range_at(self._position)
        file = self._held.get((start, length))
        if file is None:
            file = self._held[start, length] = self._fetch(start, length)
        file.seek(self._position - start)
        data = file.read(min(len(buffer), start + length - self._position))
        if not data:
            raise EOFError(f"the file ends before the byte {self._position} of {self._size}")
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    def _range_at(self, place: int) -> tuple[int, int]:
        """The range that holds a place; where none does, the bytes behind it."""
        found = next((part for part in self._ranges if part[0] <= place < part[0] + part[1]), None)
        if found is not None:
            return found
        following = min((start for start, _ in self._ranges if start > place), default=self._size)
        part = (place, min(_STRAY_BYTES, following - place))
        self._ranges.append(part)
        return part

    def close(self) -> None:
        for file in self._held.values():
            file.close()
        self._held.clear()
        super().close()

"""Records with their lengths and checksums before them, as TFRecord files have them, without TensorFlow.

A record is its length as a little-endian uint64, the masked CRC-32C of those 8 bytes, the data, and the masked CRC-32C
of the data (tensorflow/core/lib/io/record_writer.h; the mask in tensorflow/core/lib/hash/crc32c.h).
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Iterator
from typing import BinaryIO

import google_crc32c

_MASK_DELTA = 0xA282EAD8
_LENGTH = struct.Struct("<Q")
_CRC = struct.Struct("<I")
_HEADER_BYTES = _LENGTH.size + _CRC.size
# A longer record is taken for a damaged length.
_LARGEST_RECORD = 1 << 30
_WINDOW_BYTES, _ZEROS = 1 << 20, bytes(4)


def masked_crc32c(data: bytes) -> int:
    """The checksum as TFRecord stores it: rotated right by 15 bits, plus a constant, modulo 2**32."""
    crc = int(google_crc32c.value(data))
    return ((crc >> 15 | crc << 17) + _MASK_DELTA) & 0xFFFFFFFF


def frame(data: bytes) -> bytes:
    """One record as it stands in the file."""
    length = _LENGTH.pack(len(data))
    return b"".join((length, _CRC.pack(masked_crc32c(length)), data, _CRC.pack(masked_crc32c(data))))


def read_records(file: BinaryIO) -> Iterator[bytes]:
    """The records of a file, each checked against its checksums.

    Raises:
      ValueError: a record is truncated or damaged; the sentence says which, counted from 0.
    """
    number = 0
    while header := file.read(_HEADER_BYTES):
        if len(header) < _HEADER_BYTES:
            raise ValueError(f"record {number} is truncated")
        if _CRC.unpack_from(header, _LENGTH.size)[0] != masked_crc32c(header[: _LENGTH.size]):
            raise ValueError(f"record {number} has a damaged length")
        (length,) = _LENGTH.unpack_from(header)
        data, checksum = file.read(length), file.read(_CRC.size)
        if len(data) < length or len(checksum) < _CRC.size:
            raise ValueError(f"record {number} is truncated")
        if _CRC.unpack(checksum)[0] != masked_crc32c(data):
            raise ValueError(f"record {number} is damaged")
        yield data
        number += 1


@dataclasses.dataclass(frozen=True, slots=True)
class DamagedRecord:
    """A place of a file where a record should be, with the words that say why it is none."""

    problem: str


def salvaged_records(
    file: BinaryIO, part: tuple[int, int] | None = None
) -> Iterator[tuple[int, bytes | DamagedRecord]]:
    """The records of a file that can be read, and what is between them where some cannot, each with its first byte.

    A record whose data are damaged is skipped. Where a length is damaged, the next record is found by the checksum of
    its length. What the file raises is raised here.

    Args:
      file: Open at its start, or at that of the part; only read forward.
      part: The first byte of a part of the file, and the first one behind it: the records that begin there. The end of
        a record that began before the part is passed over.
    """
    start, end = part or (0, None)
    ahead, number = _Ahead(file, start), 0
    while start and ahead.peek(1) and not ahead.begins_record():
        ahead.skip_to_header()
    while (end is None or ahead.position < end) and (header := ahead.peek(_HEADER_BYTES)):
        place, length = ahead.position, _length_of(header)
        if length is None:
            skipped = ahead.skip_to_header()
            yield place, DamagedRecord(f"the length of record {number} is damaged, and {skipped} bytes were skipped")
        else:
            ahead.take(_HEADER_BYTES)
            data, checksum = ahead.take(length), ahead.take(_CRC.size)
            if len(checksum) < _CRC.size:
                yield place, DamagedRecord(f"the file ends within record {number}")
                return
            damaged = _CRC.unpack(checksum)[0] != masked_crc32c(data)
            yield place, DamagedRecord(f"the checksum of record {number} is wrong") if damaged else data
        number += 1
    if end is not None and ahead.peek(1) and not ahead.begins_record():
        # The next part passes over this too, where it is not known that a record is lost.
        yield ahead.position, DamagedRecord(f"record {number} is damaged, or its length is")


def _length_of(header: bytes) -> int | None:
    """The length in a header, or None if it is damaged."""
    if len(header) < _HEADER_BYTES:
        return None
    (length,) = _LENGTH.unpack_from(header)
    if length > _LARGEST_RECORD or _CRC.unpack_from(header, _LENGTH.size)[0] != masked_crc32c(header[: _LENGTH.size]):
        return None
    return int(length)


class _Ahead:
    """A file of which some bytes can be looked at before they are taken.

    Attributes:
      position: How many bytes of the file are behind.
    """

    def __init__(self, file: BinaryIO, position: int) -> None:
        self._file, self.position = file, position
        self._next = b""

    def peek(self, count: int) -> bytes:
        """The next bytes, fewer at the end of the file."""
        if len(self._next) < count:
            self._next += self._file.read(count - len(self._next))
        return self._next[:count]

    def take(self, count: int) -> bytes:
        """The next bytes, which are then behind."""
        data, self._next = self._next[:count], self._next[count:]
        if len(data) < count:
            data += self._file.read(count - len(data))
        self.position += len(data)
        return data

    def begins_record(self) -> bool:
        """Whether a record begins here: a header behind which the data, or else the next header, are right.

        Bytes within a record may look like a header, one place in four thousand million.
        """
        length = _length_of(self.peek(_HEADER_BYTES))
        if length is None:
            return False
        whole = self.peek(2 * _HEADER_BYTES + length + _CRC.size)
        data, rest = whole[_HEADER_BYTES : _HEADER_BYTES + length], whole[_HEADER_BYTES + length :]
        following = rest[_CRC.size :]
        is_right = rest[: _CRC.size] == _CRC.pack(masked_crc32c(data))
        return is_right or not following or _length_of(following) is not None

    def skip_to_header(self) -> int:
        """Skips at least a byte, up to the next header of a record or the end; the number of bytes skipped."""
        skipped, start = 0, 1
        while window := self.peek(_WINDOW_BYTES):
            for place in range(start, len(window) - _HEADER_BYTES + 1):
                # Lengths below 2**32 end with four zeros, which are cheaper to look for than a checksum.
                zeros = window[place + 4 : place + 8] == _ZEROS
                if zeros and _length_of(window[place : place + _HEADER_BYTES]) is not None:
                    self.take(place)
                    return skipped + place
            passed = len(window) if len(window) < _WINDOW_BYTES else len(window) - _HEADER_BYTES + 1
            self.take(passed)
            skipped, start = skipped + passed, 0
        return skipped

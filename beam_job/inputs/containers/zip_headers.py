"""The members of a zip file whose directory is lost, found by the headers before them.

The layout of a header is that of APPNOTE.TXT 4.3.7, and of the extra field with long sizes 4.5.3.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from beam_job.inputs.containers.base import LONGEST_MEMBER

MARK = b"PK\x03\x04"
_HEADER = struct.Struct("<4s5H3I2H")
_LONG_SIZES, _EXTRA, _IS_LONG = struct.Struct("<QQ"), struct.Struct("<HH"), 0xFFFFFFFF
_SIZES_FOLLOW, _UTF_8 = 0x8, 0x800
_CHUNK_BYTES = 1 << 20


def salvaged_entries(file: BinaryIO, size: int) -> Iterator[tuple[zipfile.ZipInfo, int]]:
    """The members whose headers and data are whole, each with its length in the file, header included.

    Args:
      file: To be read from any place.
      size: Its length.
    """
    place = _next_mark(file, 0)
    while place is not None:
        found = _entry_at(file, place, size)
        if found is not None:
            yield found
        place = _next_mark(file, place + (found[1] if found is not None else len(MARK)))


def _next_mark(file: BinaryIO, place: int) -> int | None:
    """Where the next header begins, at ``place`` or behind it."""
    file.seek(place)
    window = b""
    while chunk := file.read(_CHUNK_BYTES):
        window += chunk
        found = window.find(MARK)
        if found >= 0:
            return place + found
        kept = len(MARK) - 1
        place, window = place + len(window) - kept, window[-kept:]
    return None


def _entry_at(file: BinaryIO, place: int, size: int) -> tuple[zipfile.ZipInfo, int] | None:
    """The member whose header is at ``place``, or None where it is cut off or damaged."""
    file.seek(place)
    header = file.read(_HEADER.size)
    if len(header) < _HEADER.size:
        return None
    _, _, flags, method, _, _, crc, packed, unpacked, name_length, extra_length = _HEADER.unpack(header)
    name, extra = file.read(name_length), file.read(extra_length)
    start = place + _HEADER.size + name_length + extra_length
    if start > size or not name:
        return None
    entry = zipfile.ZipInfo(name.decode("utf-8" if flags & _UTF_8 else "cp437", "replace"))
    entry.flag_bits, entry.compress_type, entry.header_offset = flags, method, place
    if _IS_LONG in (packed, unpacked):
        unpacked, packed = _long_sizes(extra) or (unpacked, packed)
    if flags & _SIZES_FOLLOW and not packed:
        if method != zipfile.ZIP_DEFLATED:
            return None
        measured = _measured(file, start)
        if measured is None:
            return None
        packed, unpacked, crc = measured
    entry.compress_size, entry.file_size, entry.CRC = packed, unpacked, crc
    return (entry, start - place + packed) if start + packed <= size else None


def _long_sizes(extra: bytes) -> tuple[int, int] | None:
    """The sizes in an extra field, unpacked first."""
    place = 0
    while place + _EXTRA.size <= len(extra):
        kind, length = _EXTRA.unpack_from(extra, place)
        place += _EXTRA.size
        if kind == 1 and length >= _LONG_SIZES.size and place + _LONG_SIZES.size <= len(extra):
            unpacked, packed = _LONG_SIZES.unpack_from(extra, place)
            return unpacked, packed
        place += length
    return None


def _measured(file: BinaryIO, start: int) -> tuple[int, int, int] | None:
    """Packed size, unpacked size and checksum of deflated data whose header does not tell them."""
    file.seek(start)
    inflate, packed, unpacked, crc = zlib.decompressobj(-zlib.MAX_WBITS), 0, 0, 0
    while not inflate.eof and unpacked <= LONGEST_MEMBER:
        data = inflate.unconsumed_tail or file.read(_CHUNK_BYTES)
        if not data:
            return None
        packed += len(data) if not inflate.unconsumed_tail else 0
        try:
            out = inflate.decompress(data, _CHUNK_BYTES)
        except zlib.error:
            return None
        unpacked, crc = unpacked + len(out), zlib.crc32(out, crc)
    return (packed - len(inflate.unused_data), unpacked, crc) if inflate.eof else None

"""The chunks of a PNG that decide its pixels (ISO/IEC 15948, clause 5), and their checksums, which Pillow ignores."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from beam_job.core.errors import CorruptExampleError

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# Of the chunks that a decoder may leave out, these say something of the pixels: transparency, and orientation.
_OF_THE_PIXELS = (b"tRNS", b"eXIf")
_DEPTH = 24
_HEAD = struct.Struct(">I4s")
_CHECKSUM = struct.Struct(">I")


class _Chunk(NamedTuple):
    """A chunk: its type, its bytes as they are in the file, and whether its checksum is right or cut off."""

    kind: bytes
    encoded: memoryview
    checksum_holds: bool

    @property
    def is_critical(self) -> bool:
        return not self.kind[0] & 0x20  # a capital letter


def bit_depth(data: bytes) -> int:
    """Bits per channel of a PNG."""
    return data[_DEPTH]


def check_pixels(data: bytes) -> None:
    """Checks the checksums of the chunks that no decoder may leave out.

    Raises:
      CorruptExampleError: one of them is wrong.
    """
    for chunk in _chunks(data):
        if chunk.is_critical and not chunk.checksum_holds:
            name = chunk.kind.decode("latin-1")
            raise CorruptExampleError(f"expected a complete PNG, found a chunk {name!r} with a wrong checksum")


def pixels_alone(data: bytes) -> bytes:
    """The same PNG without the chunks that say nothing of the pixels, and without damaged ones of the others."""
    kept = (
        chunk.encoded
        for chunk in _chunks(data)
        if chunk.is_critical or (chunk.kind in _OF_THE_PIXELS and chunk.checksum_holds)
    )
    return b"".join((PNG_SIGNATURE, *kept))


def _chunks(data: bytes) -> Iterator[_Chunk]:
    view, place = memoryview(data), len(PNG_SIGNATURE)
    while place + _HEAD.size <= len(data):
        length, kind = _HEAD.unpack_from(data, place)
        chunk = view[place : place + _HEAD.size + length + _CHECKSUM.size]
        is_cut_off = len(chunk) < _HEAD.size + length + _CHECKSUM.size
        yield _Chunk(kind, chunk, is_cut_off or _checksum_holds(chunk))
        place += len(chunk)
        if kind == b"IEND":
            return


def _checksum_holds(chunk: memoryview) -> bool:
    (announced,) = _CHECKSUM.unpack(chunk[-_CHECKSUM.size :])
    return bool(announced == zlib.crc32(chunk[4 : -_CHECKSUM.size]))

"""TFRecord framing without TensorFlow.

A record is its length as a little-endian uint64, the masked CRC-32C of those 8 bytes, the data, and the masked CRC-32C
of the data (tensorflow/core/lib/io/record_writer.h; the mask in tensorflow/core/lib/hash/crc32c.h).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO

import google_crc32c

_MASK_DELTA = 0xA282EAD8
_LENGTH = struct.Struct("<Q")
_CRC = struct.Struct("<I")
_HEADER_BYTES = _LENGTH.size + _CRC.size


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

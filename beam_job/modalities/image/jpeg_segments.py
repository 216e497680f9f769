"""The segments of a JPEG before its first scan, as libjpeg reads them (ITU T.81, annex B; jdmarker.c)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

_TEMPORARY, _RESTARTS, _START, _END = 0x01, range(0xD0, 0xD8), 0xD8, 0xD9
MARKERS_ALONE = frozenset((_TEMPORARY, *_RESTARTS, _START, _END))
START_OF_SCAN = 0xDA
APP0, APP1, APP14 = 0xE0, 0xE1, 0xEE
_HUFFMAN_TABLES, _RESERVED, _ARITHMETIC_CONDITIONS = 0xC4, 0xC8, 0xCC
_FRAMES = frozenset(range(0xC0, 0xD0)) - {_HUFFMAN_TABLES, _RESERVED, _ARITHMETIC_CONDITIONS}
_NUMBER_OF_LINES, _COMMENT = 0xDC, 0xFE
_APPLICATION_DATA = range(0xE0, 0xF0)
# What libjpeg passes over; any other marker is one that it decodes, or does not know and refuses.
_PASSED_OVER = frozenset((_TEMPORARY, *_RESTARTS, _NUMBER_OF_LINES, *_APPLICATION_DATA, _COMMENT))
# The start of a frame: bits per sample, height, width, number of components. Progressive frames have two markers, for
# Huffman and for arithmetic coding.
_FRAME = struct.Struct(">BHHB")
_PROGRESSIVE = (0xC2, 0xCA)
# What libjpeg asks of the segments that tell the colour space: their mark, and the length of their content.
_JFIF_MARK, _JFIF_LENGTH = b"JFIF\0", 14
_ADOBE_MARK, _ADOBE_LENGTH = b"Adobe", 12
_JFIF_VERSION, _KNOWN_VERSION = slice(5, 7), b"\1\1"
_ADOBE_TRANSFORM = 11
_NO_TRANSFORM, _TO_YCBCR, _TO_YCCK = 0, 1, 2


class Segment(NamedTuple):
    """A marker and what belongs to it.

    Attributes:
      marker: The second byte of the marker.
      start: Where the first byte of the marker is.
      content: What follows the length; empty for a marker that stands alone.
    """

    marker: int
    start: int
    content: bytes

    @property
    def is_jfif(self) -> bool:
        return self.marker == APP0 and self.content.startswith(_JFIF_MARK) and len(self.content) >= _JFIF_LENGTH

    @property
    def is_adobe(self) -> bool:
        return self.marker == APP14 and self.content.startswith(_ADOBE_MARK) and len(self.content) >= _ADOBE_LENGTH


def segments(data: bytes) -> Iterator[Segment]:
    """The segments of a JPEG from behind its first marker to the start of its first scan, which is the last.

    Like libjpeg, it passes over bytes that are no marker. A segment that is longer than the data has what there is.
    """
    place = 2
    while (place := data.find(b"\xff", place)) >= 0:
        end = place + 1
        while data[end : end + 1] == b"\xff":
            end += 1
        marker = data[end] if end < len(data) else 0
        start, place = end - 1, end + 1
        if marker == 0:  # a byte of 255, not a marker
            continue
        content = b""
        if marker not in MARKERS_ALONE:
            length = max(2, int.from_bytes(data[place : place + 2], "big"))
            content = data[place + 2 : place + length]
            place += length
        yield Segment(marker, start, content)
        if marker == START_OF_SCAN:
            return


class Frame(NamedTuple):
    """What the start of a frame announces: sides in pixels, the number of components, and whether scans refine it."""

    height: int
    width: int
    components: int
    progressive: bool


def read_frame(data: bytes) -> Frame | None:
    """The frame of a JPEG; None without one."""
    for segment in segments(data):
        if segment.marker in _FRAMES and len(segment.content) >= _FRAME.size:
            _, height, width, components = _FRAME.unpack_from(segment.content)
            return Frame(height, width, components, segment.marker in _PROGRESSIVE)
    return None


def has_adobe_marker(data: bytes) -> bool:
    """Whether Adobe's marker is there, which tells that the inks of a CMYK image are stored inverted."""
    return any(segment.is_adobe for segment in segments(data))


def without_oddities(data: bytes) -> bytes:
    """The same image with nothing before its first scan that libjpeg warns of: its decoder gives the same pixels.

    Left out are bytes between the segments, and segments that decoding does not need. An unknown version of JFIF and an
    unknown colour transform of Adobe become what libjpeg takes instead.
    """
    frame = read_frame(data)
    known_transform = _TO_YCCK if frame and frame.components == 4 else _TO_YCBCR
    kept = [b"\xff\xd8"]
    for segment in segments(data):
        if segment.marker == START_OF_SCAN:
            return b"".join((*kept, data[segment.start :]))
        content = bytearray(segment.content)
        if segment.is_jfif:
            content[_JFIF_VERSION] = _KNOWN_VERSION
        elif segment.is_adobe:
            content[_ADOBE_TRANSFORM] = known_transform if content[_ADOBE_TRANSFORM] else _NO_TRANSFORM
        elif segment.marker in _PASSED_OVER:
            continue
        kept.append(_encoded(segment.marker, content))
    return data


def _encoded(marker: int, content: bytes | bytearray) -> bytes:
    if marker in MARKERS_ALONE:
        return bytes((0xFF, marker))
    return bytes((0xFF, marker)) + (len(content) + 2).to_bytes(2, "big") + content

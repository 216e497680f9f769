"""The formats of sounds, by the first bytes of a file, and whether a file ends before its content does.

libsndfile takes what is there of a WAV, AIFF or OGG file that was cut off. Here the file's own account of its length is
read, so that half a recording is not taken for a whole one.
"""

from __future__ import annotations

import re
import struct

WAV, FLAC, OGG, MP3, AIFF = "WAV", "FLAC", "OGG", "MP3", "AIFF"
SUFFIXES = frozenset((".wav", ".wave", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".aifc"))
# The first twelve bits of a frame of MPEG audio, layer III (ISO/IEC 11172-3, 2.4.2.3), or a tag of ID3 before it.
_MP3 = re.compile(rb"ID3|\xff[\xe2\xe3\xf2\xf3\xfa\xfb]")
_MAGICS = (
    (re.compile(rb"RIFF....WAVE", re.DOTALL), WAV),
    (re.compile(rb"fLaC"), FLAC),
    (re.compile(rb"OggS"), OGG),
    (re.compile(rb"FORM....AIF[FC]", re.DOTALL), AIFF),
    (_MP3, MP3),
)
_RIFF_HEADER, _CHUNK_HEADER = 12, struct.Struct("<4sI")
# Programs that write to a pipe put a length near one of the largest numbers for one that they do not know yet.
_UNKNOWN_LENGTH = 0x7FFFF000
_PAGE = struct.Struct("<4sBBqIIIB")  # RFC 3533, 6: "OggS", version, flags, position, serial, number, checksum, segments


def sound_format(content: bytes) -> str | None:
    """The format of a file that begins with these bytes, at least 12 of them; None if it is none of ours."""
    return next((name for magic, name in _MAGICS if magic.match(content)), None)


def missing_bytes(content: bytes, name: str) -> int:
    """How many bytes a file lacks by its own account; 0 for none, and for a format that does not tell.

    Args:
      content: The whole file.
      name: Its format.
    """
    if name == WAV:
        return _missing_of_wav(content)
    if name == AIFF:
        return max(0, int.from_bytes(content[4:8], "big") + 8 - len(content))
    return _missing_of_ogg(content) if name == OGG else 0


def _missing_of_wav(content: bytes) -> int:
    place = _RIFF_HEADER
    while place + _CHUNK_HEADER.size <= len(content):
        name, length = _CHUNK_HEADER.unpack_from(content, place)
        place += _CHUNK_HEADER.size
        if name == b"data":
            missing: int = place + length - len(content)
            return 0 if length >= _UNKNOWN_LENGTH else max(0, missing)
        place += length + length % 2
    return max(1, place - len(content))


def _missing_of_ogg(content: bytes) -> int:
    """What the last page lacks."""
    place = content.rfind(b"OggS")
    if place + _PAGE.size > len(content):
        return place + _PAGE.size - len(content)
    segments: int = _PAGE.unpack_from(content, place)[-1]
    lengths = content[place + _PAGE.size : place + _PAGE.size + segments]
    return max(0, place + _PAGE.size + segments + sum(lengths) - len(content))

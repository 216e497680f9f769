"""JPEG XL, by the imagecodecs package (libjxl)."""

from __future__ import annotations

import importlib
import importlib.util
import struct
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from beam_job.core.errors import CorruptExampleError, UnknownFormatError
from beam_job.modalities.image.policy import DecodePolicy, RgbxArray

JPEG_XL_SUFFIXES = (".jxl",)
_CODESTREAM, _CONTAINER = b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n"
JPEG_XL_MARKS = (_CODESTREAM, _CONTAINER)
_PACKAGE, JPEG_XL_INSTALL = "imagecodecs", 'pip install "beam_job[jxl]"'
# The size in the header (ISO/IEC 18181-1, annex D.2): how many bits a side takes, and the sides' ratios by number.
_SIDE_BITS = (9, 13, 18, 30)
_RATIOS = (Fraction(1), Fraction(6, 5), Fraction(4, 3), Fraction(3, 2), Fraction(16, 9), Fraction(5, 4), Fraction(2))
_LONGEST_SIZE = 12
_BOX = struct.Struct(">I4s")
# The boxes that a codestream is in, and how many bytes of theirs stand before it.
_CODESTREAM_BOXES = {b"jxlc": 0, b"jxlp": 4}
_WHITE = 255.0


def jpeg_xl_is_installed() -> bool:
    """Whether the package that decodes JPEG XL is there."""
    return importlib.util.find_spec(_PACKAGE) is not None


def decode_jpeg_xl(data: bytes, policy: DecodePolicy) -> RgbxArray:
    """Decodes a JPEG XL image, which starts with one of ``JPEG_XL_MARKS``; the first of several frames.

    Returns:
      float32 [H, W, 4] in [0, 255], upright, on white: red, green, blue, and a channel without meaning.

    Raises:
      UnknownFormatError: the package is missing, or the pixels are floating-point numbers.
      CorruptExampleError: the image is damaged.
      ExampleTooLargeError: its header announces more pixels than the policy allows.
    """
    if not jpeg_xl_is_installed():
        raise UnknownFormatError(
            f"expected an image, found a JPEG XL image; install its decoder with: {JPEG_XL_INSTALL}"
        )
    height, width = _size(data)
    policy.check_size(width, height)
    try:
        pixels = importlib.import_module(_PACKAGE).jpegxl_decode(data)
    except (RuntimeError, ValueError) as error:
        raise CorruptExampleError(f"expected a complete JPEG XL image, found: {error}") from None
    if pixels.dtype.kind != "u":
        raise UnknownFormatError("expected integer pixels, found a JPEG XL image of floating-point ones")
    return _on_white(pixels)


def _on_white(pixels: npt.NDArray[Any]) -> RgbxArray:
    """[H, W], [H, W, C] or [frames, H, W, C] of gray, gray with alpha, colour, or colour with alpha."""
    if pixels.ndim == 4:
        pixels = pixels[0]
    elif pixels.ndim == 2:
        pixels = pixels[:, :, np.newaxis]
    shares = pixels.astype(np.float32) / np.float32(np.iinfo(pixels.dtype).max)
    color, alpha = (shares[:, :, :-1], shares[:, :, -1:]) if shares.shape[2] in (2, 4) else (shares, np.float32(1))
    mixed = (color * alpha + (1 - alpha)) * np.float32(_WHITE)
    return mixed[:, :, [0, 0, 0, 0] if mixed.shape[2] == 1 else [0, 1, 2, 2]]


def _size(data: bytes) -> tuple[int, int]:
    """Height and width that the header announces."""
    bits = _Bits(_codestream(data)[len(_CODESTREAM) :])
    is_small = bits.take(1)

    def side() -> int:
        return (bits.take(5) + 1) * 8 if is_small else bits.take(_SIDE_BITS[bits.take(2)]) + 1

    height = side()
    ratio = bits.take(3)
    return height, int(height * _RATIOS[ratio - 1]) if ratio else side()


def _codestream(data: bytes) -> bytes:
    """The beginning of the codestream, which may be in a box of a container (ISO/IEC 18181-2)."""
    if not data.startswith(_CONTAINER):
        return data[:_LONGEST_SIZE]
    place = 0
    while place + _BOX.size <= len(data):
        length, kind = _BOX.unpack_from(data, place)
        if kind in _CODESTREAM_BOXES:
            start = place + _BOX.size + _CODESTREAM_BOXES[kind]
            return data[start : start + _LONGEST_SIZE]
        place += max(length, _BOX.size)
    raise CorruptExampleError("expected a complete JPEG XL image, found a container without an image")


class _Bits:
    """Numbers from the bits of bytes, lowest bit first; zeros behind the end."""

    def __init__(self, data: bytes) -> None:
        self._rest = int.from_bytes(data, "little")

    def take(self, count: int) -> int:
        value = self._rest & ((1 << count) - 1)
        self._rest >>= count
        return value

"""Encoded test images, in the formats and with the peculiarities that decoding covers."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

Pixels = npt.NDArray[np.uint8]


def photograph(height: int = 60, width: int = 80, seed: int = 0) -> Pixels:
    """Smooth colours with some noise, uint8 [height, width, 3]."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    waves = [np.sin(x / (7 + 3 * channel) + y / (11 - channel)) for channel in range(3)]
    values = 127 + 90 * np.stack(waves, axis=-1) + random.normal(0, 8, (height, width, 3))
    return np.clip(values, 0, 255).astype(np.uint8)


def encode(pixels: npt.NDArray[Any], kind: str, mode: str | None = None, **settings: Any) -> bytes:
    """The image in one of Pillow's formats."""
    image = Image.fromarray(pixels)
    buffer = io.BytesIO()
    (image.convert(mode) if mode else image).save(buffer, kind, **settings)
    return buffer.getvalue()


def jpeg(pixels: npt.NDArray[Any], **settings: Any) -> bytes:
    return encode(pixels, "JPEG", **settings)


def png_header(width: int, height: int) -> bytes:
    """A PNG whose header declares a size, without the pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(name, content) for name, content in chunks)


def write_tree(root: Path, count: int, bad: Collection[int]) -> None:
    """Writes images in three classes, ``class-0/000.jpg`` and so on. Those in ``bad`` are not images."""
    for number in range(count):
        path = root / f"class-{number % 3}" / f"{number:03d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"not an image" if number in bad else jpeg(photograph(40, 50, number)))


def png(pixels: npt.NDArray[Any], depth: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG of gray [H, W] or colour [H, W, 3 or 4] values.

    Args:
      pixels: Unsigned integers.
      depth: Bits per channel.
      chunks: Type and content of chunks to write before the pixels.
    """
    height, width = pixels.shape[:2]
    kind = {2: 0, 3: 2, 4: 6}[2 if pixels.ndim == 2 else pixels.shape[2]]
    samples = pixels.reshape(height, -1)
    if depth == 16:
        rows = samples.astype(">u2").view(np.uint8)
    else:
        bits = np.unpackbits(samples.astype(np.uint8)[:, :, np.newaxis], axis=2)[:, :, -depth:]
        rows = np.packbits(bits.reshape(height, -1), axis=1)
    unfiltered = b"".join(b"\0" + row.tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    body = (png_chunk(name, content) for name, content in (*chunks, (b"IDAT", zlib.compress(unfiltered))))
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + b"".join(body) + png_chunk(b"IEND", b"")


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def tiff(pixels: npt.NDArray[Any], white_is_zero: bool = False, bits: int | None = None) -> bytes:
    """An uncompressed little-endian TIFF of [H, W] or [H, W, bands], written as its values lie in memory.

    Args:
      pixels: Integers or floats.
      white_is_zero: What the file says of the values.
      bits: Bits per value, where they are not those of the array; for 12, the values are packed.
    """
    height, width = pixels.shape[:2]
    bands = 1 if pixels.ndim == 2 else pixels.shape[2]
    bits = bits or pixels.dtype.itemsize * 8
    content = pixels.tobytes()
    if bits == 12:
        unpacked = np.unpackbits(pixels.astype(">u2").view(np.uint8)).reshape(-1, 16)[:, 4:]
        content = np.packbits(unpacked.reshape(-1)).tobytes()
    kinds = {"u": 1, "i": 2, "f": 3}
    strip, many = 8 + 2 + 12 * 10 + 4, 0
    bits_of_bands = struct.pack(f"<{bands}H", *[bits] * bands)
    entries = [
        (256, 4, 1, width),
        (257, 4, 1, height),
        (258, 3, bands, bits if bands == 1 else strip),
        (259, 3, 1, 1),
        (262, 3, 1, 0 if white_is_zero else 1),
        (273, 4, 1, strip + (many := 0 if bands == 1 else len(bits_of_bands))),
        (277, 3, 1, bands),
        (278, 4, 1, height),
        (279, 4, 1, len(content)),
        (339, 3, 1, kinds[pixels.dtype.kind]),
    ]
    directory = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0\x08\0\0\0" + directory + b"\0\0\0\0" + bits_of_bands * bool(many) + content

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

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def write_tree(root: Path, count: int, bad: Collection[int]) -> None:
    """Writes images in three classes, ``class-0/000.jpg`` and so on. Those in ``bad`` are not images."""
    for number in range(count):
        path = root / f"class-{number % 3}" / f"{number:03d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"not an image" if number in bad else jpeg(photograph(40, 50, number)))

"""Images in every format and mode that the installed Pillow writes, and the pixels that Pillow gives for them."""

from __future__ import annotations

import io
import struct
import warnings

import numpy as np
from PIL import Image

from tests.support.images import photograph

SIDE = 16
MODES = ("1", "L", "P", "LA", "RGB", "RGBA", "CMYK", "I;16", "I", "F")
READ_BY_JPEG = {"JPEG", "MPO"}

Image.init()


def as_written(kind: str, mode: str) -> bytes | None:
    """A photograph in a format and mode; None where Pillow does not write it."""
    image = Image.fromarray(photograph(SIDE, SIDE)).convert("RGBA")
    image.putalpha(Image.fromarray(np.tile(np.linspace(0, 255, SIDE).astype(np.uint8), (SIDE, 1))))
    file = io.BytesIO()
    try:
        with warnings.catch_warnings(action="ignore"):
            written = image.convert("L").convert(mode) if mode in ("I;16", "I", "F") else image.convert(mode)
            written.save(file, kind)
    except (OSError, KeyError, ValueError, AttributeError, struct.error):
        return None
    return file.getvalue()


def pillows_pixels(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        rgba = image.convert("RGBA")
    return np.asarray(Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB"))


def gray_of_16_bits(data: bytes) -> np.ndarray | None:
    """In 0 to 255, of an image whose gray Pillow cuts off there when it converts it to RGB; None for other images."""
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image) / 257 if image.mode.startswith("I") else None


WRITTEN = [(kind, mode) for kind in sorted(set(Image.SAVE) - READ_BY_JPEG) for mode in MODES if as_written(kind, mode)]

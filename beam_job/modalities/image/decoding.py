"""From bytes to RGB pixels of the model's size.

JPEG goes through libjpeg-turbo (simplejpeg) with the settings of ``tf.io.decode_jpeg``, so that the pixels are equal
to TensorFlow's; the other formats go through Pillow. What TensorFlow does not do is done here: EXIF orientation is
applied, transparency is composited on white, 16-bit gray keeps its precision.
"""

from __future__ import annotations

import dataclasses
import io
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import Image, ImageOps, UnidentifiedImageError

from beam_job.core.errors import CorruptExampleError, EmptyFileError, ExampleTooLargeError, UnknownFormatError
from beam_job.core.records import Float32Array
from beam_job.core.values import ImageSize
from beam_job.modalities.image.orientation import (
    COLUMNS_REVERSED,
    EXIF_MARK,
    ORIENTATION_TAG,
    ROWS_REVERSED,
    TRANSPOSED,
    UPRIGHT,
)
from beam_job.modalities.image.resizing import RESIZES
from beam_job.runtime.allocation import Scratch

PILLOW_FORMATS = ("PNG", "WEBP", "BMP", "GIF", "TIFF")
_JPEG_MAGIC = b"\xff\xd8\xff"
# JPEG markers: application data, which EXIF is in, and the start of the scan (ITU T.81, annex B.1.1.3).
_APP1, _START_OF_SCAN = 0xE1, 0xDA
FAST = "fast"
# The fractions at which libjpeg can decode; ``fast`` uses those from a half down.
FRACTIONS = (1, 2, 4, 8)
_WHITE = (255, 255, 255, 255)
# Warnings of libjpeg after which the image is complete, and which TensorFlow ignores.
_HARMLESS_JPEG_WARNINGS = ("extraneous bytes before marker",)

# An image that is too large or damaged becomes an error row: no warning is needed beside it.
warnings.filterwarnings("ignore", module=r"PIL\.")

RgbxArray = npt.NDArray[Any]
_SCRATCH = Scratch()


@dataclasses.dataclass(frozen=True)
class DecodePolicy:
    """How bytes become pixels; part of a dataset's identity.

    Attributes:
      name: ``exact``: the pixels of tf.io.decode_jpeg, bit for bit. ``fast``: large JPEGs at a fraction of their size.
      max_pixels: The largest height times width that is decoded.
    """

    name: str = "exact"
    max_pixels: int = Image.MAX_IMAGE_PIXELS or 89_478_485

    def to_json(self) -> dict[str, Any]:
        """The field ``decode`` of run.json."""
        fraction = ", scaled in the DCT from twice the model's size" if self.name == FAST else ""
        return {
            "name": self.name,
            "jpeg": f"libjpeg-turbo, fast integer DCT, fancy upsampling (as tf.io.decode_jpeg){fraction}",
            "orientation": "EXIF applied",
            "transparency": "composited on white",
            "max_pixels": self.max_pixels,
        }


def decode_image(data: bytes, size: ImageSize, policy: DecodePolicy, resize: str = "bilinear") -> Float32Array:
    """Decodes an image and resizes it to the model's size.

    Args:
      data: The file's bytes.
      size: Height and width of the result.
      policy: What to decode and how.
      resize: A key of ``resizing.RESIZES``.

    Returns:
      float32 [height, width, 3], RGB in [0, 255], not rounded after the resize.

    Raises:
      EmptyFileError, UnknownFormatError, CorruptExampleError, ExampleTooLargeError: the bytes cannot be decoded.
    """
    if not data:
        raise EmptyFileError("expected an image, found an empty file")
    is_jpeg = data.startswith(_JPEG_MAGIC)
    pixels = _decode_jpeg(data, size, policy) if is_jpeg else _decode_with_pillow(data, policy)
    return RESIZES[resize](np.ascontiguousarray(pixels), size.height, size.width)


def _check_size(width: int, height: int, policy: DecodePolicy) -> None:
    if width * height > policy.max_pixels:
        raise ExampleTooLargeError(
            f"expected at most {policy.max_pixels} pixels, found {width}x{height}; raise --max_image_pixels to allow it"
        )


def _decode_jpeg(data: bytes, size: ImageSize, policy: DecodePolicy) -> RgbxArray:
    orientation = _exif_orientation(data)
    # The smallest size that libjpeg may scale down to, along the sides as they are stored.
    minimum = {}
    if policy.name == FAST:
        sides = (size.width, size.height) if orientation in TRANSPOSED else (size.height, size.width)
        minimum = {"min_height": sides[0], "min_width": sides[1], "min_factor": FRACTIONS[1]}
    try:
        height, width, colorspace, _ = simplejpeg.decode_jpeg_header(data)
        _check_size(width, height, policy)
        wanted = "CMYK" if colorspace in ("CMYK", "YCCK") else "RGBX"
        pixels = _decompress(data, wanted, height * width * 4, minimum)
    except ValueError as error:
        raise CorruptExampleError(f"expected a complete JPEG, found: {error}") from None
    return _oriented(_rgb_from_cmyk(pixels) if wanted == "CMYK" else pixels, orientation)


def _decompress(data: bytes, colorspace: str, size: int, minimum: Mapping[str, int]) -> RgbxArray:
    """The pixels, in the thread's scratch block; ``size`` is what they take at full size, in bytes."""
    arguments = {"fastdct": True, "buffer": _SCRATCH.block(size), **minimum}
    try:
        pixels: RgbxArray = simplejpeg.decode_jpeg(data, colorspace, **arguments)
    except ValueError as error:
        if not any(words in str(error) for words in _HARMLESS_JPEG_WARNINGS):
            raise
        pixels = simplejpeg.decode_jpeg(data, colorspace, strict=False, **arguments)
    return pixels


def _rgb_from_cmyk(pixels: RgbxArray) -> RgbxArray:
    """RGBX from inverted CMYK, which is what Adobe writes: ``C * K / 255`` (tensorflow/core/lib/jpeg/jpeg_mem.cc)."""
    black = pixels[:, :, 3:].astype(np.uint16)
    return (pixels * black // 255).astype(np.uint8)


def _exif_orientation(data: bytes) -> int:
    """The orientation in the EXIF data of a JPEG, 1 to 8; 1, upright, without one."""
    if not _has_exif(data):
        return UPRIGHT
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
            return int(image.getexif().get(ORIENTATION_TAG, UPRIGHT))
    except Exception:  # damaged metadata says nothing about the pixels, and Pillow's parser raises anything
        return UPRIGHT


def _has_exif(data: bytes) -> bool:
    """Whether a JPEG has EXIF data, from a walk along its segments: a search would go through the pixels as well."""
    place = 2
    while data[place : place + 1] == b"\xff" and place + 1 < len(data):
        marker = data[place + 1]
        if marker == _APP1 and data.startswith(EXIF_MARK, place + 4):
            return True
        if marker == _START_OF_SCAN:
            break
        padding = marker == 0xFF
        place += 1 if padding else 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    return False


def _oriented(pixels: RgbxArray, orientation: int) -> RgbxArray:
    """``pixels`` turned upright."""
    if orientation in TRANSPOSED:
        pixels = pixels.transpose(1, 0, 2)
    rows, columns = orientation in ROWS_REVERSED, orientation in COLUMNS_REVERSED
    return pixels[:: -1 if rows else 1, :: -1 if columns else 1]


def _decode_with_pillow(data: bytes, policy: DecodePolicy) -> RgbxArray:
    try:
        with Image.open(io.BytesIO(data), formats=PILLOW_FORMATS) as image:
            _check_size(*image.size, policy)
            return _rgbx(ImageOps.exif_transpose(image))
    except UnidentifiedImageError:
        raise UnknownFormatError(
            f"expected JPEG, {', '.join(PILLOW_FORMATS[:-1])} or {PILLOW_FORMATS[-1]}, found none of them"
        ) from None
    except Image.DecompressionBombError as error:
        raise ExampleTooLargeError(f"expected at most {policy.max_pixels} pixels: {error}") from None
    except (ExampleTooLargeError, UnknownFormatError):
        raise
    except MemoryError:
        raise
    except Exception as error:  # Pillow's plugins raise OSError, SyntaxError, struct.error, ... for damaged files
        raise CorruptExampleError(f"expected a complete image, found: {error}") from None


def _rgbx(image: Image.Image) -> RgbxArray:
    """A decoded image of any mode as [H, W, 4]; uint8, or float32 when it has 16 bits per channel."""
    if image.mode.startswith("I"):
        gray = np.asarray(image).astype(np.float32) / np.float32(257)  # 65535 = 257 * 255
        if gray.min() < 0 or gray.max() > 255:
            raise UnknownFormatError("expected gray values of at most 16 bits, found larger ones")
        return np.repeat(gray[:, :, np.newaxis], 4, axis=2)
    if image.mode == "F":
        raise UnknownFormatError("expected integer pixels, found floating-point ones, whose range is not known")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        return np.asarray(Image.alpha_composite(Image.new("RGBA", rgba.size, _WHITE), rgba))
    return np.asarray(image.convert("RGB").convert("RGBX"))

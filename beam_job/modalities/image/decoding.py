"""From bytes to RGB pixels of the model's size.

JPEG is decoded to the pixels of TensorFlow, JPEG XL by imagecodecs, and every other format by Pillow. What TensorFlow
does not do is done here: EXIF orientation is applied, transparency is composited on white, 16-bit gray keeps its
precision.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from beam_job.core.errors import BadReferenceError, EmptyFileError
from beam_job.core.records import Box, Float32Array
from beam_job.core.values import ImageSize
from beam_job.modalities.image.jpeg import JPEG_MAGIC, JPEG_SUFFIXES, decode_jpeg
from beam_job.modalities.image.jpeg_xl import (
    JPEG_XL_INSTALL,
    JPEG_XL_MARKS,
    JPEG_XL_SUFFIXES,
    decode_jpeg_xl,
    jpeg_xl_is_installed,
)
from beam_job.modalities.image.pillow_formats import (
    HEIF_INSTALL,
    HEIF_SUFFIXES,
    decode_with_pillow,
    heic_is_installed,
    pillow_suffixes,
)
from beam_job.modalities.image.policy import EXACT, DecodePolicy, RgbxArray
from beam_job.modalities.image.resizing import RESIZES
from beam_job.modalities.image.signatures import SURE_SIGNATURES, is_avif, is_heic


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
    return resized(decode_pixels(data, size, policy), size, resize)


def resized(pixels: RgbxArray, size: ImageSize, resize: str) -> Float32Array:
    """Pixels as :func:`decode_pixels` gives them, in the model's size; as :func:`decode_image`."""
    return RESIZES[resize](np.ascontiguousarray(pixels), size.height, size.width)


def crop_image(data: bytes, box: Box, policy: DecodePolicy) -> RgbxArray:
    """Decodes an image in its full size and cuts a part out of it; errors as :func:`decode_pixels`.

    Args:
      data: The file's bytes.
      box: The part of the upright image; every pixel that it touches is in it, and what lies outside is left out.
      policy: What to decode and how; never at a fraction of the size.

    Raises:
      BadReferenceError: the box is empty, or outside of the image.
    """
    pixels = decode_pixels(data, ImageSize(1, 1), dataclasses.replace(policy, name=EXACT))
    x, y, width, height = box
    left, top = max(0, math.floor(x)), max(0, math.floor(y))
    part = pixels[top : max(top, math.ceil(y + height)), left : max(left, math.ceil(x + width))]
    if not part.size or width <= 0 or height <= 0:
        size = f"{pixels.shape[1]}x{pixels.shape[0]}"
        raise BadReferenceError(
            f"expected a box within the image of {size} pixels, found {width:g}x{height:g} at {x:g},{y:g}"
        )
    return part


def decode_pixels(data: bytes, smallest: ImageSize, policy: DecodePolicy) -> RgbxArray:
    """Decodes an image without resizing it.

    Args:
      data: The file's bytes.
      smallest: The size below which ``fast`` does not go.
      policy: What to decode and how.

    Returns:
      [H, W, 4], upright, on white, in [0, 255]: red, green, blue, and a channel without meaning; uint8, or float32
      where the image has more than 8 bits per channel. The memory may be that of the thread's next image.

    Raises:
      EmptyFileError, UnknownFormatError, CorruptExampleError, ExampleTooLargeError: the bytes cannot be decoded.
    """
    if not data:
        raise EmptyFileError("expected an image, found an empty file")
    if data.startswith(JPEG_MAGIC):
        return decode_jpeg(data, smallest, policy)
    return decode_jpeg_xl(data, policy) if data.startswith(JPEG_XL_MARKS) else decode_with_pillow(data, policy)


def image_suffixes() -> frozenset[str]:
    """The suffixes, in lower case, of the formats whose decoders are installed."""
    jpeg_xl = JPEG_XL_SUFFIXES if jpeg_xl_is_installed() else ()
    return frozenset((*JPEG_SUFFIXES, *jpeg_xl, *pillow_suffixes()))


def missing_extras() -> dict[str, str]:
    """Suffixes of images that cannot be decoded here, and the command that installs the decoder."""
    heic = {} if heic_is_installed() else dict.fromkeys(HEIF_SUFFIXES, HEIF_INSTALL)
    jpeg_xl = {} if jpeg_xl_is_installed() else dict.fromkeys(JPEG_XL_SUFFIXES, JPEG_XL_INSTALL)
    return heic | jpeg_xl


def is_image(start: bytes) -> bool:
    """Whether a file that begins with these bytes is an image, without doubt; a TIFF may be a camera's raw file."""
    if start.startswith((JPEG_MAGIC, *SURE_SIGNATURES)) or (start.startswith(b"RIFF") and start[8:12] == b"WEBP"):
        return True
    return is_avif(start) or (is_heic(start) and heic_is_installed())

"""From bytes to RGB pixels of the model's size.

JPEG goes through libjpeg-turbo (simplejpeg) with the settings of ``tf.io.decode_jpeg``, so the pixels are TensorFlow's
to the last bit; the other formats go through Pillow. What TensorFlow does not do is done here: EXIF orientation is
applied, transparency is composited on white, 16-bit gray keeps its precision.
"""

from __future__ import annotations

import dataclasses
import io
import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import Image, ImageOps, UnidentifiedImageError

from beam_job.errors import CorruptImageError, EmptyFileError, ImageTooLargeError, UnknownFormatError
from beam_job.options import ImageSize
from beam_job.records import Float32Array
from beam_job.resizing import RESIZES

PILLOW_FORMATS = ("PNG", "WEBP", "BMP", "GIF", "TIFF")
_JPEG_MAGIC = b"\xff\xd8\xff"
_EXIF_ORIENTATION = 0x0112  # tag of the orientation, Exif 2.3 section 4.6.4
_EXIF_SEARCH_BYTES = 1 << 16
_WHITE = (255, 255, 255, 255)
# Warnings of libjpeg after which the picture is whole, and which TensorFlow passes over in silence.
_HARMLESS_JPEG_WARNINGS = ("extraneous bytes before marker",)

# The limit is checked here, from the header, and an image over it becomes an error row: no second voice is needed.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)

RgbxArray = npt.NDArray[Any]


@dataclasses.dataclass(frozen=True)
class DecodePolicy:
    """How bytes become pixels; part of a dataset's identity.

    Attributes:
      name: ``exact``: the pixels of tf.io.decode_jpeg, bit for bit.
      max_pixels: Largest height times width that is decoded.
    """

    name: str = "exact"
    max_pixels: int = Image.MAX_IMAGE_PIXELS or 89_478_485

    def to_json(self) -> dict[str, Any]:
        """The policy in words that stand in run.json."""
        return {
            "name": self.name,
            "jpeg": "libjpeg-turbo, fast integer DCT, fancy upsampling (as tf.io.decode_jpeg)",
            "orientation": "EXIF applied",
            "transparency": "composited on white",
            "max_pixels": self.max_pixels,
        }


def decode_image(data: bytes, size: ImageSize, policy: DecodePolicy, resize: str = "bilinear") -> Float32Array:
    """Decodes a picture and resizes it to the model's size.

    Args:
      data: The file's bytes.
      size: Height and width of the result.
      policy: What to decode and how.
      resize: A key of ``resizing.RESIZES``.

    Returns:
      float32 [height, width, 3], RGB in [0, 255], never rounded after the resize.

    Raises:
      EmptyFileError, UnknownFormatError, CorruptImageError, ImageTooLargeError: the bytes are no picture to use.
    """
    if not data:
        raise EmptyFileError("expected a picture, found an empty file")
    pixels = _decode_jpeg(data, policy) if data.startswith(_JPEG_MAGIC) else _decode_with_pillow(data, policy)
    return RESIZES[resize](np.ascontiguousarray(pixels), size.height, size.width)


def _check_size(width: int, height: int, policy: DecodePolicy) -> None:
    if width * height > policy.max_pixels:
        raise ImageTooLargeError(
            f"expected at most {policy.max_pixels} pixels, found {width}x{height}; raise --max_image_pixels to take it"
        )


def _decode_jpeg(data: bytes, policy: DecodePolicy) -> RgbxArray:
    try:
        height, width, colorspace, _ = simplejpeg.decode_jpeg_header(data)
        _check_size(width, height, policy)
        wanted = "CMYK" if colorspace in ("CMYK", "YCCK") else "RGBX"
        pixels = _decompress(data, wanted)
    except ValueError as error:
        raise CorruptImageError(f"expected a whole JPEG, found: {error}") from None
    return _oriented(_rgb_from_cmyk(pixels) if wanted == "CMYK" else pixels, data)


def _decompress(data: bytes, colorspace: str) -> RgbxArray:
    try:
        pixels: RgbxArray = simplejpeg.decode_jpeg(data, colorspace, fastdct=True)
    except ValueError as error:
        if not any(words in str(error) for words in _HARMLESS_JPEG_WARNINGS):
            raise
        pixels = simplejpeg.decode_jpeg(data, colorspace, fastdct=True, strict=False)
    return pixels


def _rgb_from_cmyk(pixels: RgbxArray) -> RgbxArray:
    """RGBX from inverted CMYK, which is what Adobe writes: ``C * K / 255`` (tensorflow/core/lib/jpeg/jpeg_mem.cc)."""
    black = pixels[:, :, 3:].astype(np.uint16)
    return (pixels * black // 255).astype(np.uint8)


def _oriented(pixels: RgbxArray, data: bytes) -> RgbxArray:
    """``pixels`` turned the way the EXIF data of a JPEG says."""
    if b"Exif\0\0" not in data[:_EXIF_SEARCH_BYTES]:
        return pixels
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
            orientation = image.getexif().get(_EXIF_ORIENTATION, 1)
    except Exception:  # damaged metadata says nothing of the picture, and Pillow's parser raises what it likes
        return pixels
    # The eight orientations as (transposed, flipped vertically, flipped horizontally), in that order of operations.
    transpose, vertical, horizontal = {
        2: (False, False, True),
        3: (False, True, True),
        4: (False, True, False),
        5: (True, False, False),
        6: (True, False, True),
        7: (True, True, True),
        8: (True, True, False),
    }.get(orientation, (False, False, False))
    if transpose:
        pixels = pixels.transpose(1, 0, 2)
    return pixels[:: -1 if vertical else 1, :: -1 if horizontal else 1]


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
        raise ImageTooLargeError(f"expected at most {policy.max_pixels} pixels: {error}") from None
    except (ImageTooLargeError, UnknownFormatError):
        raise
    except MemoryError:
        raise
    except Exception as error:  # Pillow's plugins raise OSError, SyntaxError, struct.error, ... for damaged files
        raise CorruptImageError(f"expected a whole picture, found: {error}") from None


def _rgbx(image: Image.Image) -> RgbxArray:
    """A decoded picture of any mode as [H, W, 4]; uint8, or float32 when it holds 16 bits a channel."""
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

"""JPEG with the pixels of ``tf.io.decode_jpeg``, without TensorFlow, and with the orientation that EXIF tells.

libjpeg-turbo (simplejpeg) decodes with TensorFlow's settings: the fast integer DCT and fancy upsampling. Both libraries
warn of damage that they can decode in spite of; TensorFlow ignores all warnings, and refuses a file only when it ends
before the image does.
"""

from __future__ import annotations

import numpy as np
import simplejpeg
from PIL import Image

from beam_job.core.errors import CorruptExampleError
from beam_job.core.values import ImageSize
from beam_job.modalities.image.jpeg_segments import APP1, has_adobe_marker, read_frame, segments, without_oddities
from beam_job.modalities.image.orientation import EXIF_MARK, ORIENTATION_TAG, TRANSPOSED, UPRIGHT, turned_upright
from beam_job.modalities.image.policy import FAST, DecodePolicy, RgbxArray
from beam_job.runtime.allocation import Scratch
from beam_job.runtime.tensorflow import import_tensorflow

JPEG_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".pjpeg")
JPEG_MAGIC = b"\xff\xd8\xff"
# The fractions at which libjpeg can decode; ``fast`` uses those from a half down.
FRACTIONS = (1, 2, 4, 8)
_CMYK = ("CMYK", "YCCK")
# The number of components, and Pillow's mode for them.
_PILLOW_MODES = {1: "L", 3: "RGB", 4: "CMYK"}
# Behind the end of a file, this is an error for every decoder that reads on there, however much it skips.
_SECOND_START = b"\xff\xd8" * (1 << 15)
# What simplejpeg says of a subsampling that it does not know, and of any error in a header.
_UNKNOWN_SUBSAMPLING = "subsampling"

_SCRATCH = Scratch()


def decode_jpeg(data: bytes, size: ImageSize, policy: DecodePolicy) -> RgbxArray:
    """Decodes a JPEG.

    Args:
      data: The file's bytes, which start with ``JPEG_MAGIC``.
      size: The model's size, below which ``fast`` does not go.
      policy: What to decode and how.

    Returns:
      uint8 [H, W, 4], upright: red, green, blue, and a channel without meaning.

    Raises:
      CorruptExampleError: the image is not complete, or cannot be decoded.
      ExampleTooLargeError: its header announces more pixels than the policy allows.
    """
    orientation = _exif_orientation(data)
    smallest = ImageSize(size.width, size.height) if orientation in TRANSPOSED else size
    return turned_upright(_stored_pixels(data, smallest, policy), orientation)


def _stored_pixels(data: bytes, smallest: ImageSize, policy: DecodePolicy) -> RgbxArray:
    """The pixels as they are stored. What the strict decoder refuses is tried with all that TensorFlow forgives."""
    try:
        return _decode_with_libjpeg(data, smallest, policy)
    except KeyError:
        return _decode_with_tensorflow(data, smallest, policy)
    except ValueError as error:
        objection = "damage in its header" if _UNKNOWN_SUBSAMPLING in str(error) else str(error)
    try:
        plain = without_oddities(data)
        _check_complete(plain, policy)
        return _decode_with_libjpeg(plain, smallest, policy, strict=False)
    except KeyError:
        return _decode_with_tensorflow(data, smallest, policy)
    except ValueError as error:
        if _UNKNOWN_SUBSAMPLING in str(error):  # the header is sound: _check_complete has read it
            return _decode_with_tensorflow(data, smallest, policy)
        raise CorruptExampleError(f"expected a complete JPEG, found: {objection}") from None


def _decode_with_libjpeg(data: bytes, smallest: ImageSize, policy: DecodePolicy, strict: bool = True) -> RgbxArray:
    """The pixels, in the thread's scratch block.

    Args:
      data: The file's bytes.
      smallest: The size below which the policy does not scale down.
      policy: How to decode.
      strict: Whether a warning is an error. Without it an error behind a warning counts as a warning as well, and the
        pixels that were not decoded are arbitrary.

    Raises:
      ValueError: the image cannot be decoded.
      KeyError: the library has no name for the image's subsampling.
    """
    height, width, colorspace, _ = simplejpeg.decode_jpeg_header(data, strict=strict)
    policy.check_size(width, height)
    is_cmyk = colorspace in _CMYK
    fraction = _fraction(height, width, smallest, policy)
    scaled = {} if fraction == 1 else {"min_height": -(-height // fraction), "min_width": -(-width // fraction)}
    pixels: RgbxArray = simplejpeg.decode_jpeg(
        data,
        "CMYK" if is_cmyk else "RGBX",
        fastdct=True,
        buffer=_SCRATCH.block(height * width * 4),
        strict=strict,
        **scaled,
    )
    return _rgb_from_cmyk(pixels, inverted=has_adobe_marker(data)) if is_cmyk else pixels


def _check_complete(data: bytes, policy: DecodePolicy) -> None:
    """Decodes a JPEG with Pillow, which which forgives what TensorFlow forgives, but has other pixels.

    Raises:
      ValueError: the data ends before the image does, or the decoder gives up.
    """
    frame = read_frame(data)
    if frame is None or frame.components not in _PILLOW_MODES:
        raise ValueError("no frame with one, three or four components")
    policy.check_size(frame.width, frame.height)
    mode = _PILLOW_MODES[frame.components]
    Image.frombytes(mode, (frame.width, frame.height), data + _SECOND_START, "jpeg", mode, "")


def _decode_with_tensorflow(data: bytes, smallest: ImageSize, policy: DecodePolicy) -> RgbxArray:
    """The pixels of an image whose subsampling simplejpeg refuses: rare enough to import TensorFlow for it."""
    tf = import_tensorflow()
    try:
        height, width, _ = tf.io.extract_jpeg_shape(data).numpy()
        policy.check_size(width, height)
        fraction = _fraction(height, width, smallest, policy)
        rgb = tf.io.decode_jpeg(data, channels=3, ratio=fraction).numpy()
    except tf.errors.InvalidArgumentError as error:
        raise CorruptExampleError(f"expected a complete JPEG, found: {error.message}") from None
    return np.pad(rgb, ((0, 0), (0, 0), (0, 1)))


def _fraction(height: int, width: int, smallest: ImageSize, policy: DecodePolicy) -> int:
    """The largest of ``FRACTIONS`` by which the policy divides an image, not going below the smallest size."""
    if policy.name != FAST:
        return 1
    fits = [f for f in FRACTIONS if -(-height // f) >= smallest.height and -(-width // f) >= smallest.width]
    return max(fits, default=1)


def _rgb_from_cmyk(pixels: RgbxArray, inverted: bool) -> RgbxArray:
    """RGBX from the four inks as libjpeg gives them, with the arithmetic of tensorflow/core/lib/jpeg/jpeg_mem.cc.

    Args:
      pixels: uint8 [H, W, 4].
      inverted: Whether 0 is the full ink, as Adobe's programs write it.
    """
    light = (pixels if inverted else 255 - pixels).astype(np.uint16)
    return (light * light[:, :, 3:] // 255).astype(np.uint8)


def _exif_orientation(data: bytes) -> int:
    """The orientation in the EXIF data of a JPEG, 1 to 8; 1, upright, without one."""
    exif = next((s.content for s in segments(data) if s.marker == APP1 and s.content.startswith(EXIF_MARK)), None)
    if exif is None:
        return UPRIGHT
    try:
        tags = Image.Exif()
        tags.load(exif)
        return int(tags.get(ORIENTATION_TAG, UPRIGHT))
    except Exception:  # damaged metadata says nothing about the pixels, and Pillow's parser raises anything
        return UPRIGHT

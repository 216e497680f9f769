"""The image formats that Pillow decodes: all but JPEG.

What Pillow leaves to its callers is done here: transparency is composited on white, EXIF orientation is applied, 16-bit
gray keeps its precision, and a floating-point image gets the range that the policy gives.
"""

from __future__ import annotations

import importlib
import importlib.util
import io
import re
import struct
import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, TiffImagePlugin, UnidentifiedImageError

from beam_job.core.errors import CorruptExampleError, ExampleTooLargeError, UnknownFormatError
from beam_job.core.records import Float32Array
from beam_job.modalities.image.png import PNG_SIGNATURE, bit_depth, check_pixels, pixels_alone
from beam_job.modalities.image.policy import DecodePolicy, RgbxArray
from beam_job.modalities.image.signatures import describe, is_heic

# Pillow's name of each format, and the suffixes of its files. Left out are formats whose decoder starts another program
# (EPS, WMF), formats without a signature of their own, and what is hardly used. TGA is recognised apart.
FORMATS = {
    "PNG": (".png", ".apng"),
    "WEBP": (".webp",),
    "GIF": (".gif",),
    "BMP": (".bmp", ".dib"),
    "TIFF": (".tif", ".tiff"),
    "AVIF": (".avif", ".avifs"),
    "JPEG2000": (".jp2", ".j2k", ".jpc", ".jpf", ".jpx", ".j2c"),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm", ".pfm"),
    "ICO": (".ico",),
    "ICNS": (".icns",),
    "DDS": (".dds",),
    "PSD": (".psd",),
    "QOI": (".qoi",),
    "SGI": (".sgi", ".rgb", ".bw"),
    "SUN": (".ras",),
    "PCX": (".pcx",),
    "BLP": (".blp",),
    "XBM": (".xbm",),
    "XPM": (".xpm",),
}
_TARGA, TARGA_SUFFIXES = "TGA", (".tga",)
_HEIF, HEIF_SUFFIXES = "HEIF", (".heic", ".heif", ".hif")
_HEIF_PACKAGE, HEIF_INSTALL = "pi_heif", 'pip install "beam_job[heic]"'
# Where the fields of a TGA's header are (Truevision TGA File Format Specification, version 2.0).
_TARGA_HEADER, _TARGA_FOOTER = struct.Struct("<BBBHHBHHHHBB"), b"TRUEVISION-XFILE.\0"
_TARGA_UNCOMPRESSED = (1, 2, 3)

_WHITE = (255, 255, 255, 255)
_PHOTOMETRIC, _BITS_PER_SAMPLE, _SAMPLES_PER_PIXEL, _WHITE_IS_ZERO = 262, 258, 277, 0
# The unpackers of Pillow that take the upper, and the lower, byte of each 16-bit channel of a PNG.
_UPPER_BYTES, _LOWER_BYTES = "RGB;16B", "RGB;16L"

# An image that is too large or damaged becomes an error row: no warning is needed beside it.
warnings.filterwarnings("ignore", module=r"PIL\.")


def heic_is_installed() -> bool:
    """Whether the package that decodes HEIC is there."""
    return importlib.util.find_spec(_HEIF_PACKAGE) is not None


def pillow_suffixes() -> list[str]:
    """The suffixes, in lower case, of the formats that can be decoded here."""
    heif = HEIF_SUFFIXES if heic_is_installed() else ()
    return [*(suffix for suffixes in FORMATS.values() for suffix in suffixes), *TARGA_SUFFIXES, *heif]


def decode_with_pillow(data: bytes, policy: DecodePolicy) -> RgbxArray:
    """Decodes an image in one of the formats; the first of several frames.

    Returns:
      [H, W, 4], upright, on white: red, green, blue, and a channel without meaning; uint8, or float32 in [0, 255] where
      the image has more than 8 bits per channel.

    Raises:
      UnknownFormatError: the bytes are no image, or one of a kind that is not decoded.
      CorruptExampleError: the image is damaged.
      ExampleTooLargeError: its header announces more pixels than the policy allows.
    """
    _raise_pillows_limit(policy.max_pixels)
    if not data.startswith(PNG_SIGNATURE):
        return _decode(data, policy)
    check_pixels(data)
    try:
        return _decode(data, policy)
    except (CorruptExampleError, UnknownFormatError):  # perhaps of a chunk that says nothing of the pixels
        return _decode(pixels_alone(data), policy)


def _decode(data: bytes, policy: DecodePolicy) -> RgbxArray:
    try:
        with Image.open(io.BytesIO(data), formats=_formats(data)) as image:
            policy.check_size(*image.size)
            return _rgbx(image, data, policy)
    except UnidentifiedImageError:
        raise _unidentified(data) from None
    except Image.DecompressionBombError as error:
        found = re.search(r"\d+", str(error))
        raise ExampleTooLargeError(
            f"expected at most {policy.max_pixels} pixels, found {found[0] if found else 'more'}; raise "
            f"--max_image_pixels to allow it"
        ) from None
    except (ExampleTooLargeError, UnknownFormatError, MemoryError):
        raise
    except Exception as error:  # Pillow's plugins raise OSError, SyntaxError, struct.error, ... for damaged files
        raise CorruptExampleError(f"expected a complete image, found: {error}") from None


def _raise_pillows_limit(max_pixels: int) -> None:
    """Lets Pillow decode what the policy allows; Pillow itself refuses twice its own limit, which is the process's."""
    if Image.MAX_IMAGE_PIXELS is not None and max_pixels > Image.MAX_IMAGE_PIXELS:
        Image.MAX_IMAGE_PIXELS = max_pixels


def _formats(data: bytes) -> tuple[str, ...]:
    """The formats to try. Two are told by our own look at the bytes."""
    if is_heic(data) and heic_is_installed():
        importlib.import_module(_HEIF_PACKAGE).register_heif_opener()
        return (_HEIF,)
    return (_TARGA,) if _is_targa(data) else tuple(FORMATS)


def _is_targa(data: bytes) -> bool:
    """Whether the bytes are a TGA: they end with its footer, or are as long as the header says. It has no signature."""
    if data.endswith(_TARGA_FOOTER):
        return True
    if len(data) < _TARGA_HEADER.size:
        return False
    comment, _, kind, _, colors, color_bits, _, _, width, height, bits, _ = _TARGA_HEADER.unpack_from(data)
    length = _TARGA_HEADER.size + comment + colors * color_bits // 8 + width * height * bits // 8
    return kind in _TARGA_UNCOMPRESSED and width * height > 0 and len(data) == length


def _unidentified(data: bytes) -> UnknownFormatError | CorruptExampleError:
    """Why Pillow takes none of its formats: what the one that knows the signature says, or what else the bytes are."""
    if is_heic(data) and not heic_is_installed():
        return UnknownFormatError(f"expected an image, found a HEIC image; install its decoder with: {HEIF_INSTALL}")
    for name in filter(Image.OPEN.__contains__, (*FORMATS, _HEIF)):
        reader, accepts = Image.OPEN[name]
        if accepts is None or accepts(data[:16]) is not True:
            continue
        try:
            reader(io.BytesIO(data), "")
        except Exception as error:  # as above
            reason = f"{_tiff_bands(data)}{error or type(error).__name__}"
            return CorruptExampleError(f"expected a complete image, found {name} that cannot be decoded ({reason})")
    return UnknownFormatError(f"expected an image, found {describe(data)}")


def _tiff_bands(data: bytes) -> str:
    """The bands of a TIFF, for a message; empty when the bytes are none."""
    try:
        tags = TiffImagePlugin.ImageFileDirectory_v2(data[:8])
        file = io.BytesIO(data)
        file.seek(tags.next)
        tags.load(file)
        bands, bits = tags.get(_SAMPLES_PER_PIXEL, 1), tags.get(_BITS_PER_SAMPLE, (1,))
    except Exception:  # as above
        return ""
    return f"{bands} bands of {bits[0]} bits: "


def _rgbx(image: Image.Image, data: bytes, policy: DecodePolicy) -> RgbxArray:
    """A decoded image of any mode."""
    tags = image.tag_v2 if isinstance(image, TiffImagePlugin.TiffImageFile) else {}
    inverted = tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO
    if image.mode.startswith("I"):
        bits = tags.get(_BITS_PER_SAMPLE, (16,))[0]
        transparent = image.info.get("transparency")
        gray = np.asarray(ImageOps.exif_transpose(image))
        return _from_gray(gray, (1 << min(bits, 16)) - 1, inverted, transparent)
    if image.mode == "F":
        return _from_floats(np.asarray(ImageOps.exif_transpose(image)), policy, inverted)
    if image.format == "PNG" and image.mode == "RGB" and "transparency" in image.info and bit_depth(data) == 16:
        image = _with_16_bit_transparency(image, data)
    image = ImageOps.exif_transpose(image)
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        return np.asarray(Image.alpha_composite(Image.new("RGBA", rgba.size, _WHITE), rgba))
    return np.asarray(image.convert("RGB").convert("RGBX"))


def _from_gray(pixels: npt.NDArray[Any], white: int, inverted: bool, transparent: Any) -> RgbxArray:
    """Gray of more than 8 bits; ``transparent`` is the one value that becomes white, or None."""
    smallest, largest = pixels.min(), pixels.max()
    if smallest < 0 or largest > white:
        raise UnknownFormatError(f"expected gray values from 0 to {white}, found {smallest} to {largest}")
    gray = pixels.astype(np.float32) / np.float32(white / 255)
    if inverted:
        gray = np.float32(255) - gray
    if transparent is not None:
        gray[pixels == transparent] = 255
    return np.repeat(gray[:, :, np.newaxis], 4, axis=2)


def _from_floats(pixels: Float32Array, policy: DecodePolicy, inverted: bool) -> RgbxArray:
    """Gray of floating-point numbers, in the range that the policy gives."""
    if policy.float_range is None:
        raise UnknownFormatError(
            "expected integer pixels, found floating-point ones, whose range the file does not tell; give it with "
            "--float_range, such as --float_range=0,1"
        )
    low, high = policy.float_range.low, policy.float_range.high
    if not (pixels.min() >= low and pixels.max() <= high):  # not a number is in no range
        raise UnknownFormatError(
            f"expected pixels in --float_range={policy.float_range}, found {pixels.min():g} to {pixels.max():g}"
        )
    gray = (pixels - np.float32(low)) * np.float32(255 / (high - low))
    return np.repeat((np.float32(255) - gray if inverted else gray)[:, :, np.newaxis], 4, axis=2)


def _with_16_bit_transparency(image: Image.Image, data: bytes) -> Image.Image:
    """A PNG of 16 bits per channel with a transparent colour, which Pillow compares with the upper bytes alone."""
    image.load()
    colour = np.array(image.info["transparency"])
    found = np.asarray(_unpacked(data, _UPPER_BYTES)).astype(np.uint16) << 8 | np.asarray(_unpacked(data, _LOWER_BYTES))
    opaque = (found != colour).any(axis=2)
    converted = Image.new("RGBA", image.size)
    converted.paste(_unpacked(data, _UPPER_BYTES))
    converted.putalpha(Image.fromarray(opaque.astype(np.uint8) * np.uint8(255)))
    converted.info["exif"] = image.info.get("exif", b"")
    return converted


def _unpacked(data: bytes, unpacker: str) -> Image.Image:
    """A PNG, decoded by another of Pillow's unpackers than its own choice."""
    with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
        image.info.pop("transparency")
        image.tile = [tile._replace(args=unpacker) for tile in image.tile]
        image.load()
        return image

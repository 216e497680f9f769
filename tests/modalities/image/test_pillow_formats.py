"""Formats that Pillow decodes, and what is said of bytes that are none of them."""

from __future__ import annotations

import gzip
import struct
import zlib
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from beam_job.core.errors import CorruptExampleError, DecodeError, ExampleTooLargeError, UnknownFormatError
from beam_job.core.values import ImageSize, ValueRange
from beam_job.modalities.image.decoding import decode_image
from beam_job.modalities.image.pillow_formats import FORMATS, decode_with_pillow
from beam_job.modalities.image.policy import DecodePolicy
from beam_job.modalities.image.signatures import describe
from tests.support.formats import READ_BY_JPEG, SIDE, WRITTEN, as_written, gray_of_16_bits, pillows_pixels
from tests.support.images import encode, jpeg, photograph, png, tiff

POLICY = DecodePolicy()
# Not read, though Pillow writes them: they start another program, have no signature, or nobody has data in them.
NOT_READ = {"EPS", "PDF", "WMF", "BUFR", "GRIB", "HDF5", "PALM", "MSP", "IM", "SPIDER", "DIB"}

Image.init()


def decode(data: bytes, policy: DecodePolicy = POLICY) -> np.ndarray:
    return decode_with_pillow(data, policy)[:, :, :3]


def on_white(rgb: np.ndarray, opaque: np.ndarray) -> np.ndarray:
    return np.where(opaque[:, :, np.newaxis], rgb, 255)


@pytest.mark.parametrize(("kind", "mode"), WRITTEN)
def test_what_pillow_writes_has_pillows_pixels_or_is_refused_by_name(kind: str, mode: str) -> None:
    data = as_written(kind, mode)
    assert data is not None
    if kind in NOT_READ:
        with pytest.raises(UnknownFormatError, match="expected an image, found "):
            decode(data)
    elif mode == "F" and kind in ("TIFF", "PPM"):
        with pytest.raises(UnknownFormatError, match="--float_range"):
            decode(data)
    elif (gray := gray_of_16_bits(data)) is not None:
        np.testing.assert_allclose(decode(data)[:, :, 0], gray, atol=1e-4)
    else:
        np.testing.assert_array_equal(decode(data), pillows_pixels(data))


def test_every_format_is_one_that_pillow_has() -> None:
    assert set(FORMATS) <= set(Image.OPEN)
    assert set(Image.SAVE) <= {*FORMATS, *NOT_READ, *READ_BY_JPEG, "TGA"}


GRAY_16 = np.linspace(0, 65_535, SIDE * SIDE).reshape(SIDE, SIDE).astype(np.uint16)
COLOR_16 = np.random.default_rng(1).integers(0, 65_535, (SIDE, SIDE, 3)).astype(np.uint16)
UPPER = np.arange(SIDE)[:, np.newaxis] < SIDE // 2


@settings(deadline=None)
@given(st.integers(0, 65_535), st.integers(0, 65_535))
def test_gray_of_16_bits_with_a_transparent_value(value: int, transparent: int) -> None:
    pixels = np.where(UPPER, np.uint16(value), GRAY_16)
    found = decode(png(pixels, 16, (b"tRNS", struct.pack(">H", transparent))))[:, :, 0]
    np.testing.assert_allclose(found, np.where(pixels == transparent, 255, pixels / 257), atol=1e-4)


@settings(deadline=None)
@given(st.tuples(*[st.integers(0, 65_535)] * 3), st.booleans())
def test_colours_of_16_bits_with_a_transparent_one(transparent: tuple[int, int, int], near: bool) -> None:
    """``near``: pixels whose upper bytes are those of the transparent colour, and which are opaque."""
    shade = tuple(value ^ near for value in transparent)
    pixels = np.where(UPPER[:, :, np.newaxis], np.array(shade, np.uint16), COLOR_16)
    data = png(pixels, 16, (b"tRNS", struct.pack(">HHH", *transparent)))
    opaque = (pixels != transparent).any(axis=2)
    np.testing.assert_array_equal(decode(data), on_white(pixels >> 8, opaque))
    rgba = tf.io.decode_png(data, channels=4).numpy()
    np.testing.assert_array_equal(rgba[:, :, 3] == 255, opaque)


def test_orientation_holds_for_colours_of_16_bits_with_a_transparent_one() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    chunks = ((b"tRNS", struct.pack(">HHH", 1, 2, 3)), (b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0")))
    found = decode(png(COLOR_16, 16, *chunks))
    np.testing.assert_array_equal(found, np.rot90(COLOR_16 >> 8, -1))


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_gray_of_few_bits_with_a_transparent_value(depth: int) -> None:
    pixels = np.broadcast_to(np.where(UPPER, 0, 2**depth - 1), (SIDE, SIDE))
    assert (decode(png(pixels, depth, (b"tRNS", struct.pack(">H", 0)))) == 255).all()
    assert (decode(png(pixels, depth))[0] == 0).all()


@pytest.mark.parametrize(
    ("kind", "bits", "white_is_zero"),
    [
        (np.uint8, None, False),
        (np.uint8, None, True),
        (np.uint16, None, False),
        (np.uint16, None, True),
        (np.uint16, 12, False),
        (np.float32, None, False),
        (np.float32, None, True),
    ],
)
def test_the_gray_of_a_tiff(kind: Any, bits: int | None, white_is_zero: bool) -> None:
    share = np.linspace(0, 1, SIDE * SIDE).reshape(SIDE, SIDE)
    white = 1 if kind is np.float32 else 2 ** (bits or np.dtype(kind).itemsize * 8) - 1
    pixels = (share * white).astype(kind)
    found = decode(tiff(pixels, white_is_zero, bits), DecodePolicy(float_range=ValueRange(0, 1)))[:, :, 0]
    expected = pixels.astype(float) / white * 255
    np.testing.assert_allclose(found, 255 - expected if white_is_zero else expected, atol=1e-3)


@pytest.mark.parametrize("odd", [-0.01, 1.01, np.nan, np.inf])
def test_floats_outside_their_range_are_refused(odd: float) -> None:
    pixels = np.full((SIDE, SIDE), 0.5, np.float32)
    policy = DecodePolicy(float_range=ValueRange(0, 1))
    assert decode(tiff(pixels), policy)[0, 0, 0] == 127.5
    pixels[3, 3] = odd
    with pytest.raises(UnknownFormatError, match="expected pixels in --float_range=0,1, found "):
        decode(tiff(pixels), policy)
    with pytest.raises(UnknownFormatError, match="give it with --float_range"):
        decode(tiff(pixels))


PHOTO = photograph(SIDE, SIDE)
TURNED = Image.Exif()
TURNED[0x0112] = 6
ODD_CHUNKS = {
    "3 MB of text": [(b"zTXt", b"workflow\0\0" + zlib.compress(b"x" * 3_000_000))],
    "72 MB of text": [(b"zTXt", b"part%d\0\0" % n + zlib.compress(b"y" * 900_000)) for n in range(80)],
    "a profile that is not compressed": [(b"iCCP", b"icc\0\0not compressed")],
    "a text of no form": [(b"iTXt", b"\0\1\2")],
    "a time of no form": [(b"tIME", b"\0")],
    "animation of no form": [(b"acTL", b"\0")],
}


@pytest.mark.parametrize("name", ODD_CHUNKS)
@pytest.mark.parametrize("turned", [False, True])
def test_chunks_beside_the_pixels_say_nothing_of_them(name: str, turned: bool) -> None:
    exif = [(b"eXIf", TURNED.tobytes().removeprefix(b"Exif\0\0"))] if turned else []
    found = decode(png(PHOTO, 8, *ODD_CHUNKS[name], *exif))
    np.testing.assert_array_equal(found, np.rot90(PHOTO, -1) if turned else PHOTO)


@pytest.mark.parametrize("kind", [b"tEXt", b"gAMA", b"eXIf"])
def test_a_wrong_checksum_beside_the_pixels_says_nothing_of_them(kind: bytes) -> None:
    data = png(PHOTO, 8, (kind, b"Title\0hello"))
    end = data.index(b"hello") + 5
    np.testing.assert_array_equal(decode(data[:end] + b"\0\0\0\0" + data[end + 4 :]), PHOTO)


def test_a_wrong_checksum_of_the_pixels_is_damage() -> None:
    data = png(PHOTO, 8)
    for kind in (b"IHDR", b"IDAT"):
        with pytest.raises(CorruptExampleError, match=f"a chunk '{kind.decode()}' with a wrong checksum"):
            decode(data[: data.index(kind) + 5] + b"\7" + data[data.index(kind) + 6 :])


def test_a_flipped_bit_in_the_pixels_of_a_png_is_damage_as_it_is_to_tensorflow() -> None:
    data = encode(photograph(30, 40), "PNG")
    random = np.random.default_rng(0)
    for place in random.integers(data.index(b"IDAT") + 4, len(data) - 12, 300):
        flipped = data[:place] + bytes((data[place] ^ 1 << random.integers(8),)) + data[place + 1 :]
        with pytest.raises(CorruptExampleError):
            decode(flipped)
        with pytest.raises(tf.errors.InvalidArgumentError):
            tf.io.decode_png(flipped)


def test_the_pixel_limit_is_the_policys_also_above_pillows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)
    data = encode(PHOTO, "PNG")
    assert decode(data, DecodePolicy(max_pixels=SIDE * SIDE)).shape == (SIDE, SIDE, 3)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)
    with pytest.raises(ExampleTooLargeError, match="--max_image_pixels"):
        decode(data, DecodePolicy(max_pixels=60))


@pytest.mark.parametrize("limit", [50, None])
def test_orientation_of_a_jpeg_is_read_whatever_pillows_limit(
    limit: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = jpeg(photograph(40, 60), exif=TURNED)
    turned = decode_image(data, ImageSize(60, 40), POLICY)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    np.testing.assert_array_equal(decode_image(data, ImageSize(60, 40), POLICY), turned)


def test_tga_is_recognised_by_its_footer_or_its_length() -> None:
    data = encode(PHOTO, "TGA")
    np.testing.assert_array_equal(decode(data), PHOTO)
    without_footer = data[: 18 + SIDE * SIDE * 3]
    np.testing.assert_array_equal(decode(without_footer), PHOTO)
    with pytest.raises(UnknownFormatError):
        decode(without_footer[:-1])


@settings(deadline=None)
@given(st.binary(min_size=1, max_size=400))
def test_arbitrary_bytes_are_no_image(data: bytes) -> None:
    with pytest.raises(DecodeError):
        decode(data)
    assert "\n" not in describe(data)


NO_IMAGES = {
    b"<!DOCTYPE html><html><body>404</body></html>": "HTML",
    b"\xef\xbb\xbf <html>": "HTML",
    b"<svg xmlns='http://www.w3.org/2000/svg'/>": "SVG",
    b"<?xml version='1.0'?>\n<!-- drawn --><svg/>": "SVG",
    b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom": "video",
    b"\x1aE\xdf\xa3" + b"\0" * 40: "video",
    b"version https://git-lfs.github.com/spec/v1\noid sha256:aa": "Git LFS",
    gzip.compress(b"x", mtime=0): "gzip",
    b"PK\3\4": "zip",
    b"%PDF-1.4\n": "PDF",
    b"%!PS-Adobe-3.0 EPSF-3.0\n": "EPS",
    b"\xd7\xcd\xc6\x9a" + b"\0" * 40: "WMF",
    b"404 Not Found": "text that begins with '404 Not Found'",
    b'{"error": "forbidden"}': "text that begins with",
    b"\0" * 4096: "4096 bytes of zero",
    b"\x05\x06\x07\x81": "begin with 05 06 07 81",
    tiff(np.zeros((SIDE, SIDE, 8), np.uint8)): "8 bands of 8 bits",
}


@pytest.mark.parametrize(("data", "name"), NO_IMAGES.items(), ids=NO_IMAGES.values())
def test_what_is_no_image_is_named(data: bytes, name: str) -> None:
    with pytest.raises(DecodeError) as caught:
        decode(data)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)

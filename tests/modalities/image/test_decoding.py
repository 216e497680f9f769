import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from beam_job.core.errors import (
    CorruptExampleError,
    DecodeError,
    EmptyFileError,
    ExampleTooLargeError,
    UnknownFormatError,
)
from beam_job.core.values import ImageSize
from beam_job.modalities.image.decoding import decode_image
from beam_job.modalities.image.policy import DecodePolicy
from beam_job.modalities.image.resizing import RESIZES
from tests.support.images import encode, jpeg, photograph, png_header

POLICY = DecodePolicy()
SIZE = ImageSize(224, 224)


def decode(data: bytes, height: int = 60, width: int = 80, policy: DecodePolicy = POLICY) -> np.ndarray:
    return decode_image(data, ImageSize(height, width), policy)


def tensorflow_pixels(data: bytes) -> np.ndarray:
    """The pixels as in the TensorFlow tutorial: tf.io.decode_jpeg and tf.image.resize."""
    return tf.image.resize(tf.io.decode_jpeg(data, channels=3), (SIZE.height, SIZE.width)).numpy()


def test_photographs_match_tensorflow_bit_for_bit(samples: Path) -> None:
    for path in sorted(samples.glob("*/*-000[0-9].jpg")):
        data = path.read_bytes()
        np.testing.assert_array_equal(decode_image(data, SIZE, POLICY), tensorflow_pixels(data), err_msg=str(path))


@pytest.mark.parametrize(
    "settings",
    [
        {"subsampling": 0},
        {"subsampling": 1},
        {"subsampling": 2},
        {"progressive": True},
        {"quality": 5},
        {"quality": 100},
        {"restart_marker_blocks": 3},
    ],
    ids=str,
)
@pytest.mark.parametrize("shape", [(60, 80), (61, 83), (7, 500), (1, 1)], ids=str)
def test_every_kind_of_jpeg_matches_tensorflow(settings: dict[str, Any], shape: tuple[int, int]) -> None:
    data = jpeg(photograph(*shape), **settings)
    np.testing.assert_array_equal(decode_image(data, SIZE, POLICY), tensorflow_pixels(data))


def test_gray_and_cmyk_jpegs_match_tensorflow() -> None:
    gray = encode(photograph(), "JPEG", "L")
    np.testing.assert_array_equal(decode_image(gray, SIZE, POLICY), tensorflow_pixels(gray))
    cmyk = encode(photograph(), "JPEG", "CMYK")
    np.testing.assert_array_equal(decode_image(cmyk, SIZE, POLICY), tensorflow_pixels(cmyk))


def test_a_cmyk_jpeg_keeps_its_colours() -> None:
    data = encode(np.full((32, 32, 3), (200, 40, 90), np.uint8), "JPEG", "CMYK", quality=98)
    assert np.abs(decode(data, 32, 32) - np.array((200, 40, 90))).max() < 4


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "BMP", "GIF", "TIFF"])
def test_lossless_formats_keep_their_pixels(kind: str) -> None:
    pixels = np.asarray(Image.fromarray(photograph()).quantize(64).convert("RGB"))
    settings = {"lossless": True} if kind == "WEBP" else {}
    np.testing.assert_array_equal(decode(encode(pixels, kind, **settings)), pixels.astype(np.float32))


@pytest.mark.parametrize("mode", ["1", "L", "P"])
def test_gray_and_palette(mode: str) -> None:
    data = encode(photograph(), "PNG", mode)
    with Image.open(io.BytesIO(data)) as image:
        expected = np.asarray(image.convert("RGB"))
    np.testing.assert_array_equal(decode(data), expected)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bit_gray_keeps_its_precision(kind: str) -> None:
    pixels = np.linspace(0, 65535, 60 * 80).reshape(60, 80).astype(np.uint16)
    found = decode(encode(pixels, kind))
    np.testing.assert_allclose(found[:, :, 1], pixels / 257, rtol=1e-6)
    assert found.max() == 255
    assert np.unique(found).size == 4800


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_transparency_is_composited_on_white(kind: str) -> None:
    rgba = np.zeros((60, 80, 4), np.uint8)
    rgba[:, :, 3] = np.linspace(0, 255, 80).astype(np.uint8)
    settings = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    found = decode(encode(rgba, kind, **settings))
    np.testing.assert_allclose(found[:, :, 0], 255 - rgba[:, :, 3], atol=1)


def test_a_transparent_palette_is_composited_on_white() -> None:
    image = Image.new("P", (80, 60), 1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    image.paste(0, (0, 0, 40, 60))
    buffer = io.BytesIO()
    image.save(buffer, "GIF", transparency=0)
    found = decode(buffer.getvalue())
    assert (found[:, :40] == 255).all()
    assert (found[:, 40:] == (10, 20, 30)).all()


def test_the_first_frame_of_an_animation() -> None:
    frames = [Image.new("RGB", (80, 60), colour) for colour in ("red", "blue")]
    for kind in ("GIF", "WEBP"):
        buffer = io.BytesIO()
        frames[0].save(buffer, kind, save_all=True, append_images=frames[1:], lossless=True)
        assert (decode(buffer.getvalue()) == (255, 0, 0)).all()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_orientation_is_applied(orientation: int, kind: str) -> None:
    image = Image.fromarray(photograph())
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    image.save(buffer, kind, exif=exif)
    buffer.seek(0)
    from PIL import ImageOps

    with Image.open(buffer) as stored:
        upright = np.asarray(ImageOps.exif_transpose(stored).convert("RGB")).astype(np.float32)
    found = decode(buffer.getvalue(), *upright.shape[:2])
    # Pillow and simplejpeg decode JPEG with different transforms, a few levels apart.
    assert np.abs(found - upright).mean() < (1.5 if kind == "JPEG" else 0.01)


def test_exif_is_found_behind_other_segments() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = jpeg(photograph(), exif=exif)
    # Large colour profiles that contain the start-of-scan marker, followed by padding.
    profile = b"\xff\xe2" + (60_002).to_bytes(2, "big") + b"\xff\xda" * 30_000
    rotated = decode(data[:2] + profile * 2 + b"\xff\xff" + data[2:])
    np.testing.assert_array_equal(rotated, decode(data))
    assert not np.array_equal(rotated, decode(jpeg(photograph())))


def test_damaged_exif_is_ignored() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = bytearray(jpeg(photograph(), exif=exif))
    start = data.index(b"Exif\0\0") + 6
    data[start : start + 8] = b"\xff" * 8
    assert decode(bytes(data)).shape == (60, 80, 3)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "TIFF"])
def test_a_truncated_image_is_corrupt(kind: str) -> None:
    data = encode(photograph(), kind)
    with pytest.raises(CorruptExampleError, match="expected a complete"):
        decode(data[: len(data) // 2])


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", EmptyFileError),
        (b"not an image", UnknownFormatError),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", UnknownFormatError),
        (b"%PDF-1.4", UnknownFormatError),
        (b"\xff\xd8\xff", CorruptExampleError),
        (b"\xff\xd8\xff\xe0" + b"\0" * 40, CorruptExampleError),
        (b"\x89PNG\r\n\x1a\n", DecodeError),
    ],
    ids=repr,
)
def test_bytes_that_are_not_an_image_are_refused(data: bytes, error: type[DecodeError]) -> None:
    with pytest.raises(error) as caught:
        decode(data)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("side", [20_000, 2**31 - 1])
def test_a_decompression_bomb_is_refused_by_its_header(side: int) -> None:
    with pytest.raises(ExampleTooLargeError):
        decode(png_header(side, side))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF"])
def test_the_pixel_limit_applies_to_every_format(kind: str) -> None:
    data = encode(photograph(), kind)
    decode(data, policy=DecodePolicy(max_pixels=60 * 80))
    with pytest.raises(ExampleTooLargeError, match=r"at most 4799 pixels, found 80x60; raise --max_image_pixels"):
        decode(data, policy=DecodePolicy(max_pixels=60 * 80 - 1))


def test_extraneous_bytes_before_a_marker_are_skipped_as_in_tensorflow() -> None:
    data = jpeg(photograph())
    odd = data[:-2] + b"\0\0\0" + data[-2:]  # before the end-of-image marker
    np.testing.assert_array_equal(decode_image(odd, SIZE, POLICY), tensorflow_pixels(odd))


FAST = DecodePolicy("fast")


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize(("height", "width"), [(449, 900), (448, 448), (900, 2000), (3000, 450)])
def test_fast_decodes_at_a_reduced_scale_but_never_below_the_target_size(
    height: int, width: int, orientation: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = jpeg(photograph(height, width), exif=exif)
    shapes: list[tuple[int, ...]] = []
    original = RESIZES["bilinear"]
    monkeypatch.setitem(
        RESIZES, "bilinear", lambda pixels, *to: (shapes.append(pixels.shape), original(pixels, *to))[1]
    )
    size = ImageSize(224, 200)
    fast, exact = decode_image(data, size, FAST), decode_image(data, size, POLICY)
    (decoded_height, decoded_width, _), (full_height, _, _) = shapes
    assert 224 <= decoded_height < full_height
    assert decoded_width >= 200
    assert np.abs(fast - exact).mean() < 20


def test_fast_does_not_change_small_images_and_other_formats() -> None:
    for data in (jpeg(photograph(400, 440)), encode(photograph(900, 900), "PNG")):
        np.testing.assert_array_equal(decode_image(data, SIZE, FAST), decode_image(data, SIZE, POLICY))


def test_fast_checks_the_size_of_the_full_image() -> None:
    with pytest.raises(ExampleTooLargeError):
        decode_image(jpeg(photograph(900, 900)), SIZE, DecodePolicy("fast", 899 * 900))

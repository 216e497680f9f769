"""Formats whose decoders are extras: HEIC (pi-heif) and JPEG XL (imagecodecs)."""

from __future__ import annotations

from pathlib import Path

import imagecodecs
import numpy as np
import pytest

from beam_job.core.errors import CorruptExampleError, ExampleTooLargeError, UnknownFormatError
from beam_job.core.values import ImageSize
from beam_job.modalities.image import jpeg_xl, pillow_formats
from beam_job.modalities.image.decoding import decode_image, image_suffixes
from beam_job.modalities.image.policy import DecodePolicy
from tests.support.images import photograph

POLICY = DecodePolicy()
# Written by pillow-heif 1.8.1 (libheif, x265) at quality 90 without subsampling, from ``SLOPES``; in the second file
# with the orientation 6.
DATA = Path(__file__).parents[2] / "data"
HEIGHT, WIDTH = 48, 64
_Y, _X = np.mgrid[0:HEIGHT, 0:WIDTH]
SLOPES = np.stack([_X * 4, _Y * 5, 255 - _X * 2 - _Y], axis=-1).clip(0, 255)


def decode(data: bytes, height: int, width: int, policy: DecodePolicy = POLICY) -> np.ndarray:
    return decode_image(data, ImageSize(height, width), policy)


@pytest.mark.parametrize("name", ["upright", "turned"])
def test_heic_has_its_pixels_and_its_orientation(name: str) -> None:
    expected = np.rot90(SLOPES, -1) if name == "turned" else SLOPES
    data = (DATA / f"{name}.heic").read_bytes()
    assert np.abs(decode(data, *expected.shape[:2]) - expected).mean() < 2


def test_heic_that_is_cut_off_or_too_large() -> None:
    data = (DATA / "upright.heic").read_bytes()
    with pytest.raises(CorruptExampleError):
        decode(data[:-100], HEIGHT, WIDTH)
    with pytest.raises(ExampleTooLargeError, match="found 64x48; raise --max_image_pixels"):
        decode(data, HEIGHT, WIDTH, DecodePolicy(max_pixels=HEIGHT * WIDTH - 1))


KINDS = {
    "gray": np.uint8(photograph()[:, :, 0]),
    "gray of 16 bits": np.linspace(0, 65_535, 4_800).reshape(60, 80).astype(np.uint16),
    "color": photograph(),
    "color of 16 bits": photograph().astype(np.uint16) * np.uint16(257),
    "color with alpha": np.dstack([photograph(), photograph(seed=1)[:, :, :1]]),
    "frames": np.stack([photograph(), photograph(seed=1)]),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("container", [False, True])
def test_jpeg_xl_has_its_pixels(kind: str, container: bool) -> None:
    pixels = KINDS[kind]
    data = imagecodecs.jpegxl_encode(pixels, lossless=True, usecontainer=container)
    first = pixels[0] if pixels.ndim == 4 else pixels
    color = np.repeat(first[:, :, np.newaxis], 3, axis=2) if first.ndim == 2 else first[:, :, :3]
    expected = color.astype(float) / np.iinfo(pixels.dtype).max * 255
    if kind == "color with alpha":
        alpha = pixels[:, :, 3:] / 255
        expected = expected * alpha + 255 * (1 - alpha)
    np.testing.assert_allclose(decode(data, 60, 80), expected, atol=1e-3)


@pytest.mark.parametrize("shape", [(1, 1), (8, 8), (48, 64), (513, 9000), (9, 160), (1080, 1920), (300, 450)], ids=str)
@pytest.mark.parametrize("container", [False, True])
def test_the_size_of_a_jpeg_xl_is_read_before_it_is_decoded(shape: tuple[int, int], container: bool) -> None:
    data = imagecodecs.jpegxl_encode(np.zeros((*shape, 3), np.uint8), usecontainer=container)
    with pytest.raises(ExampleTooLargeError, match=f"found {shape[1]}x{shape[0]}; raise"):
        decode(data, *shape, DecodePolicy(max_pixels=shape[0] * shape[1] - 1))


def test_jpeg_xl_that_is_damaged_or_of_floats() -> None:
    data = imagecodecs.jpegxl_encode(photograph())
    for damaged in (data[:-10], data[:2], data[:40] + bytes(40) + data[80:], jpeg_xl.JPEG_XL_MARKS[1]):
        with pytest.raises(CorruptExampleError, match="expected a complete JPEG XL image"):
            decode(damaged, 60, 80)
    with pytest.raises(UnknownFormatError, match="floating-point"):
        decode(imagecodecs.jpegxl_encode(photograph().astype(np.float32) / 255), 60, 80)


def test_a_missing_extra_is_named_and_its_suffixes_are_no_examples(monkeypatch: pytest.MonkeyPatch) -> None:
    assert {".heic", ".jxl", ".jpg", ".png", ".avif"} <= image_suffixes()
    monkeypatch.setattr(pillow_formats, "_HEIF_PACKAGE", "package_that_is_missing")
    monkeypatch.setattr(jpeg_xl, "_PACKAGE", "package_that_is_missing")
    assert not {".heic", ".jxl"} & image_suffixes()
    with pytest.raises(
        UnknownFormatError, match=r'a HEIC image; install its decoder with: pip install "beam_job\[heic'
    ):
        decode((DATA / "upright.heic").read_bytes(), HEIGHT, WIDTH)
    with pytest.raises(
        UnknownFormatError, match=r'JPEG XL image; install its decoder with: pip install "beam_job\[jxl'
    ):
        decode(imagecodecs.jpegxl_encode(photograph()), 60, 80)

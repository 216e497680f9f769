"""JPEGs against tf.io.decode_jpeg, wherever the two libraries might differ."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageChops

from beam_job.core.errors import CorruptExampleError, ExampleTooLargeError
from beam_job.core.values import ImageSize
from beam_job.modalities.image.jpeg import decode_jpeg
from beam_job.modalities.image.jpeg_segments import Segment, read_frame, segments, without_oddities
from beam_job.modalities.image.policy import DecodePolicy
from tests.support.fuzz_jpeg import EXPECTED
from tests.support.images import encode, jpeg, photograph

MUTATIONS = int(os.environ.get("BEAM_JOB_MUTATIONS", "300"))
SIZE = ImageSize(16, 16)
APP0, ADOBE = 0xE0, 0xEE
ADOBE_TRANSFORM = 15  # from the marker


POLICY = DecodePolicy()


def decode(data: bytes, policy: DecodePolicy = POLICY) -> np.ndarray:
    return decode_jpeg(data, SIZE, policy)[:, :, :3]


def assert_as_tensorflow(data: bytes) -> None:
    np.testing.assert_array_equal(decode(data), tf.io.decode_jpeg(data, channels=3).numpy())


def segment(data: bytes, marker: int) -> Segment:
    return next(found for found in segments(data) if found.marker == marker)


def without(data: bytes, marker: int) -> bytes:
    found = segment(data, marker)
    return data[: found.start] + data[found.start + 4 + len(found.content) :]


def with_byte(data: bytes, place: int, value: int) -> bytes:
    return data[:place] + bytes((value,)) + data[place + 1 :]


def in_scan(data: bytes, replacement: bytes) -> bytes:
    """The JPEG with bytes in the middle of its coded pixels replaced."""
    place = (segment(data, 0xDA).start + len(data)) // 2
    return data[:place] + replacement + data[place + len(replacement) :]


PLAIN = jpeg(photograph(), quality=90)
SCAN = segment(PLAIN, 0xDA)
RESTARTS = jpeg(photograph(), quality=95, restart_marker_blocks=2)
WARNED = {
    "JFIF of version 0": with_byte(with_byte(PLAIN, 11, 0), 12, 0),
    "spectral selection of zeros": PLAIN[: SCAN.start + 11] + b"\0\0\0" + PLAIN[SCAN.start + 14 :],
    "bytes between segments": PLAIN[:20] + b"\r\n" + PLAIN[20:],
    "padding before a marker": PLAIN[:20] + b"\xff" * 5 + PLAIN[20:],
    "restart before the frame": PLAIN[:20] + b"\xff\xd3" + PLAIN[20:],
    "bytes before the end": PLAIN[:-2] + b"\0" * 90 + PLAIN[-2:],
    "bytes behind the end": PLAIN + b"appended",
    "another image behind the end": PLAIN + jpeg(photograph(seed=3)),
    "wrong Huffman code": in_scan(PLAIN, b"\x13\x37\x55\xaa\x01"),
    "zeros in the scan": in_scan(PLAIN, b"\0" * 40),
    "wrong restart": RESTARTS.replace(b"\xff\xd3", b"\xff\xd5", 1),
    "missing restart": RESTARTS.replace(b"\xff\xd2", b"", 1),
    "no segment of application data": without(PLAIN, APP0),
}


@pytest.mark.parametrize("name", WARNED)
def test_what_libjpeg_warns_of_has_the_pixels_of_tensorflow(name: str) -> None:
    assert_as_tensorflow(WARNED[name])


@pytest.mark.parametrize("name", WARNED)
def test_warnings_of_the_header_are_gone_without_oddities(name: str) -> None:
    import simplejpeg

    assert simplejpeg.decode_jpeg_header(without_oddities(WARNED[name]), strict=True)[:2] == (60, 80)


@pytest.mark.parametrize("transform", [None, 0, 1, 2, 7])
@pytest.mark.parametrize("mode", ["RGB", "CMYK"])
@pytest.mark.parametrize("subsampling", [0, 2])
@pytest.mark.parametrize("progressive", [False, True])
def test_the_channels_mean_what_they_mean_to_tensorflow(
    mode: str, transform: int | None, subsampling: int, progressive: bool
) -> None:
    data = encode(photograph(), "JPEG", "CMYK", subsampling=subsampling, progressive=progressive)
    marker = segment(data, ADOBE)
    if mode == "RGB":
        adobe = data[marker.start : marker.start + 16]
        plain = without(jpeg(photograph(), subsampling=subsampling, progressive=progressive), APP0)
        data, marker = plain[:2] + adobe + plain[2:], marker._replace(start=2)
    data = without(data, ADOBE) if transform is None else with_byte(data, marker.start + ADOBE_TRANSFORM, transform)
    assert_as_tensorflow(data)


def test_inks_without_adobes_marker_are_not_inverted() -> None:
    inks = Image.new("RGB", (32, 32), (200, 40, 90)).convert("CMYK")
    file = io.BytesIO()
    ImageChops.invert(inks).save(file, "JPEG", quality=98)  # Pillow inverts what it writes
    assert np.abs(decode(without(file.getvalue(), ADOBE)).astype(int) - (200, 40, 90)).max() < 6


@pytest.mark.parametrize("factors", [0x11, 0x12, 0x14, 0x21, 0x22, 0x24, 0x41, 0x42, 0x13, 0x31], ids=hex)
def test_every_subsampling_that_tensorflow_decodes(factors: int) -> None:
    data = jpeg(photograph(64, 64), subsampling=0)
    frame = segment(data, 0xC0)
    odd = with_byte(data, frame.start + 4 + 7, factors)
    try:
        tf.io.decode_jpeg(odd, channels=3)
    except tf.errors.InvalidArgumentError:
        with pytest.raises(CorruptExampleError):
            decode(odd)
    else:
        assert_as_tensorflow(odd)


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("warned", [False, True])
@pytest.mark.parametrize("missing", [2, 3, 30, 400])
def test_a_file_that_ends_before_its_image_is_corrupt(missing: int, warned: bool, progressive: bool) -> None:
    data = jpeg(photograph(), quality=90, progressive=progressive)
    odd = data[:20] + b"\0\0" + data[20:] if warned else data
    with pytest.raises(CorruptExampleError, match="expected a complete JPEG, found: "):
        decode(odd[:-missing])
    if warned:
        assert_as_tensorflow(odd)


def test_an_error_behind_a_warning_is_an_error() -> None:
    data = jpeg(photograph())
    with pytest.raises(CorruptExampleError):
        decode(data[:-2] + b"\0" * 9 + b"\xff\xc0" + data[-2:])  # bytes that are warned of, then a second frame


def test_the_pixel_limit_holds_for_what_is_decoded_in_spite_of_warnings() -> None:
    policy = DecodePolicy(max_pixels=60 * 80 - 1)
    for data in (*WARNED.values(), with_byte(PLAIN, segment(PLAIN, 0xC0).start + 11, 0x14)):
        with pytest.raises(ExampleTooLargeError, match="found 80x60; raise --max_image_pixels"):
            decode(data, policy)


def test_the_frame_of_a_jpeg() -> None:
    frame = read_frame(jpeg(photograph(7, 9), progressive=True))
    assert frame is not None
    assert frame == (7, 9, 3, True)
    assert read_frame(b"\xff\xd8\xff\xe0\0\4ab") is None


def test_changed_segments_give_the_pixels_of_tensorflow_or_an_exception_that_is_documented() -> None:
    command = [sys.executable, "-m", "tests.support.fuzz_jpeg", f"--count={10 * MUTATIONS}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=550, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    summary = json.loads(done.stdout)
    assert set(summary["outcomes"]) <= EXPECTED, summary["seeds"]
    assert summary["outcomes"]["equal"] > 2 * MUTATIONS
